//! Pausing queues and hosts, and telling hosts what to do.

use std::time::Duration;

use celeriac_broker::{BrokerError, Control, HostId, HostInfo, Pausable, Reserve, State};

use super::kit::{Kit, request, within};

fn queue(name: &str) -> Pausable {
    Pausable::Queue(name.to_owned())
}

fn now(host: &HostId) -> Reserve {
    Reserve {
        host: host.clone(),
        wait: Duration::ZERO,
        ..request()
    }
}

/// Makes a host known, as one that runs is.
async fn announce(kit: &Kit, asked: &Reserve) {
    let info = HostInfo {
        host: asked.host.clone(),
        machine: "here".to_owned(),
        pid: 7,
        queues: asked.queues.clone(),
        concurrency: 4,
        ceiling: 4,
        is_draining: false,
        version: "1".to_owned(),
        started_at_ms: 5,
        running: 0,
        seen_ms_ago: 0,
    };
    kit.host.announce(&info, false).await.unwrap();
}

pub(crate) async fn nothing_is_taken_from_a_paused_queue(kit: Kit) {
    let running = kit.submit().await;
    let lease = kit.take().await.lease;
    assert!(kit.client.pause(&queue("default")).await.unwrap());
    assert!(!kit.client.pause(&queue("default")).await.unwrap());
    let waits = kit.submit().await;
    assert!(kit.take_all().await.is_empty());
    // What runs goes on to its end, and what waits can be cancelled.
    kit.succeed(&lease).await;
    assert_eq!(
        kit.client.status(running).await.unwrap().state,
        State::Succeeded
    );
    let doomed = kit.submit().await;
    kit.client.cancel(doomed).await.unwrap();
    assert!(kit.client.resume(&queue("default")).await.unwrap());
    assert!(!kit.client.resume(&queue("default")).await.unwrap());
    assert_eq!(kit.take_all().await, [waits]);
    let refused = kit.client.pause(&queue("No Queue")).await;
    assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
}

pub(crate) async fn a_paused_queue_wakes_nobody_and_a_resume_wakes_at_once(kit: Kit) {
    let asked = Reserve {
        queues: vec!["default".to_owned(), "other".to_owned()],
        ..request()
    };
    announce(&kit, &asked).await;
    kit.client.pause(&queue("default")).await.unwrap();
    // The host learns of the pause with a look of its own.
    assert!(
        kit.host
            .reserve(&now(&asked.host))
            .await
            .unwrap()
            .is_empty()
    );
    let waiting = tokio::spawn({
        let (host, asked) = (kit.host.clone(), asked.clone());
        async move {
            loop {
                let reserved = host.reserve(&asked).await.unwrap();
                if !reserved.is_empty() {
                    return reserved;
                }
            }
        }
    });
    let paused = kit.submit().await;
    // What is submitted to the other queue is taken while this one waits.
    let other = kit.submit_to("other").await;
    let taken = within(waiting).await.unwrap();
    assert_eq!(
        taken.iter().map(|taken| taken.lease.id).collect::<Vec<_>>(),
        [other]
    );
    assert_eq!(
        kit.client.status(paused).await.unwrap().state,
        State::Queued
    );
    let waiting = tokio::spawn({
        let (host, asked) = (kit.host.clone(), asked.clone());
        async move {
            loop {
                let reserved = host.reserve(&asked).await.unwrap();
                if !reserved.is_empty() {
                    return reserved;
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let begun = std::time::Instant::now();
    kit.client.resume(&queue("default")).await.unwrap();
    assert_eq!(within(waiting).await.unwrap()[0].lease.id, paused);
    // No wait of ten seconds had to run out for it.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

pub(crate) async fn a_paused_host_takes_nothing_and_others_go_on(kit: Kit) {
    let (idle, busy) = (request().host, request().host);
    let what = Pausable::Host(idle.clone());
    kit.client.pause(&what).await.unwrap();
    let first = kit.submit().await;
    assert!(kit.host.reserve(&now(&idle)).await.unwrap().is_empty());
    assert_eq!(
        kit.host.reserve(&now(&busy)).await.unwrap()[0].lease.id,
        first
    );
    let second = kit.submit().await;
    assert!(kit.host.reserve(&now(&idle)).await.unwrap().is_empty());
    kit.client.resume(&what).await.unwrap();
    let asked = Reserve {
        host: idle,
        ..request()
    };
    assert_eq!(kit.reserve_until_some(asked).await[0].lease.id, second);
}

pub(crate) async fn pauses_are_listed_and_outlive_processes(kit: Kit) {
    assert!(kit.client.paused().await.unwrap().is_empty());
    let all = [queue("b"), queue("a"), Pausable::Host(request().host)];
    for what in &all {
        kit.client.pause(what).await.unwrap();
    }
    let again = kit.store.open().await;
    let listed = again.paused().await.unwrap();
    let names: Vec<_> = listed.iter().map(|pause| pause.what.clone()).collect();
    assert_eq!(names, [queue("a"), queue("b"), all[2].clone()]);
    assert!(
        listed
            .iter()
            .all(|pause| pause.since_ms > 1_600_000_000_000)
    );
    again.resume(&queue("a")).await.unwrap();
    assert_eq!(kit.client.paused().await.unwrap().len(), 2);
}

pub(crate) async fn a_host_hears_what_it_is_told(kit: Kit) {
    let host = request().host;
    assert!(!kit.client.tell(&host, Control::Drain).await.unwrap());
    let mut controls = kit.host.controls(&host).await.unwrap();
    for teller in [&kit.client, &kit.host] {
        for word in [Control::Concurrency(3), Control::Drain] {
            assert!(teller.tell(&host, word.clone()).await.unwrap());
            // A word may be heard twice.
            loop {
                let heard = within(controls.recv()).await.unwrap();
                if heard == word {
                    break;
                }
            }
        }
    }
}
