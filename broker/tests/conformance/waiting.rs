//! Waiting without polling: whoever waits is woken by what happens.

use std::time::{Duration, Instant};

use celeriac_broker::{HostId, Reserve, Reserved};
use tokio::task::JoinHandle;

use super::kit::{Handle, Kit, LONG, request};

/// What a wake-up may take on a busy machine; usually it is well under a millisecond.
const SOON: Duration = Duration::from_secs(1);

/// A reserve that waits; given time to begin.
async fn waiting(broker: &Handle, host: &HostId) -> JoinHandle<Vec<Reserved>> {
    let (broker, request) = (
        broker.clone(),
        Reserve {
            host: host.clone(),
            ..request()
        },
    );
    let reserve = tokio::spawn(async move { broker.reserve(&request).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!reserve.is_finished());
    reserve
}

pub(crate) async fn a_submit_from_another_process_wakes_a_reserve(kit: Kit) {
    for _ in 0..5 {
        let reserve = waiting(&kit.host, &request().host).await;
        let begun = Instant::now();
        let id = kit.submit().await;
        assert_eq!(reserve.await.unwrap()[0].lease.id, id);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

pub(crate) async fn a_release_from_another_process_wakes_a_reserve(kit: Kit) {
    let id = kit.submit().await;
    let lease = kit
        .client
        .reserve(&request())
        .await
        .unwrap()
        .pop()
        .unwrap()
        .lease;
    let reserve = waiting(&kit.host, &request().host).await;
    let begun = Instant::now();
    kit.client.release(&[lease]).await.unwrap();
    assert_eq!(reserve.await.unwrap()[0].lease.id, id);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

pub(crate) async fn an_interrupt_makes_a_reserve_return(kit: Kit) {
    let host = request().host;
    let reserve = waiting(&kit.host, &host).await;
    let begun = Instant::now();
    kit.host.interrupt(&host).await.unwrap();
    assert!(reserve.await.unwrap().is_empty());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

pub(crate) async fn an_interrupt_from_another_process_makes_a_reserve_return(kit: Kit) {
    let host = request().host;
    let (reserve, other) = (
        waiting(&kit.host, &host).await,
        waiting(&kit.host, &request().host).await,
    );
    let begun = Instant::now();
    kit.client.interrupt(&host).await.unwrap();
    assert!(reserve.await.unwrap().is_empty());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(!other.is_finished(), "another host was interrupted");
    other.abort();
}

pub(crate) async fn an_interrupt_is_not_too_early(kit: Kit) {
    let host = request().host;
    kit.host.interrupt(&host).await.unwrap();
    let begun = Instant::now();
    let asked = Reserve { host, ..request() };
    assert!(kit.host.reserve(&asked).await.unwrap().is_empty());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

pub(crate) async fn a_reserve_returns_when_its_wait_is_over(kit: Kit) {
    let wait = Duration::from_millis(200);
    let begun = Instant::now();
    assert!(
        kit.host
            .reserve(&Reserve { wait, ..request() })
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        begun.elapsed() >= wait && begun.elapsed() < LONG,
        "{:?}",
        begun.elapsed()
    );
}
