//! Handing invocations to hosts.

use std::{collections::HashSet, sync::Arc, time::Duration};

use celeriac_broker::{InvocationId, Payload, Reserve, Reserved, SYSTEM_QUEUE};

use super::kit::{Kit, LONG, SHORT_LEASE, request};

fn ids(reserved: &[Reserved]) -> Vec<InvocationId> {
    reserved.iter().map(|reserved| reserved.lease.id).collect()
}

pub(crate) async fn two_hosts_never_get_the_same_invocation(kit: Kit) {
    let submitted = kit.submit_many(1000).await;
    let drain = |broker: super::kit::Handle| async move {
        let request = Reserve {
            max: 7,
            wait: Duration::ZERO,
            ..request()
        };
        let mut taken = Vec::new();
        loop {
            let reserved = broker.reserve(&request).await.unwrap();
            if reserved.is_empty() {
                return taken;
            }
            taken.extend(ids(&reserved));
        }
    };
    let other = kit.store.open().await;
    let (a, b, c) = tokio::join!(
        tokio::spawn(drain(Arc::clone(&kit.host))),
        tokio::spawn(drain(Arc::clone(&kit.host))),
        tokio::spawn(drain(other)),
    );
    let all: Vec<_> = [a, b, c].into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(all.len(), 1000);
    assert_eq!(
        all.into_iter().collect::<HashSet<_>>(),
        submitted.into_iter().collect()
    );
}

pub(crate) async fn hands_out_the_whole_record(kit: Kit) {
    let mut submission = kit.submission("text/run");
    submission.input = Payload::bytes(
        "image/png",
        (0..=255).cycle().take(5000).collect::<Vec<u8>>(),
    );
    submission.options.fuel = Some(99);
    let id = kit.accept(submission.clone()).await;
    let taken = kit.take().await;
    assert_eq!(taken.lease.id, id);
    assert_eq!(taken.header.task, submission.task);
    assert_eq!(taken.header.options, submission.options);
    assert_eq!(taken.input, submission.input);
    assert_eq!(taken.digest, Some(kit.digest));
    assert_eq!((taken.attempt, taken.is_cancelled), (1, false));
    assert!(taken.queued_for < LONG);
}

pub(crate) async fn first_in_first_out(kit: Kit) {
    let mut submitted = kit.submit_many(50).await;
    for _ in 0..10 {
        submitted.push(kit.submit().await);
    }
    let request = Reserve {
        max: 9,
        ..request()
    };
    let mut taken = Vec::new();
    while taken.len() < 60 {
        taken.extend(ids(&kit.host.reserve(&request).await.unwrap()));
    }
    assert_eq!(taken, submitted);
}

pub(crate) async fn queues_in_the_order_of_the_request(kit: Kit) {
    let last = kit.submit_to("last").await;
    let first = kit.submit_to("first").await;
    let _elsewhere = kit.submit_to("elsewhere").await;
    let queues = [SYSTEM_QUEUE, "first", "last"].map(str::to_owned).to_vec();
    let taken = kit
        .host
        .reserve(&Reserve {
            queues,
            ..request()
        })
        .await
        .unwrap();
    assert_eq!(ids(&taken), [first, last]);
}

pub(crate) async fn a_crashed_invocation_goes_first(kit: Kit) {
    let crashed = kit.submit().await;
    let next = kit.submit().await;
    assert_eq!(kit.take_for(SHORT_LEASE).await.lease.id, crashed);
    // A host of another queue finds it, and cannot take it.
    let elsewhere = Reserve {
        wait: Duration::ZERO,
        queues: vec!["elsewhere".to_owned()],
        ..request()
    };
    super::kit::eventually(async || {
        assert!(kit.host.reserve(&elsewhere).await.unwrap().is_empty());
        kit.client.status(crashed).await.unwrap().crashes == 1
    })
    .await;
    assert_eq!(kit.take_all().await, [crashed, next]);
}

pub(crate) async fn given_back_invocations_go_first_in_their_order(kit: Kit) {
    let submitted = kit.submit_many(5).await;
    let taken = kit
        .host
        .reserve(&Reserve {
            max: 3,
            ..request()
        })
        .await
        .unwrap();
    let leases: Vec<_> = taken.into_iter().map(|taken| taken.lease).collect();
    kit.host.release(&leases).await.unwrap();
    assert_eq!(kit.take_all().await, submitted);
}

pub(crate) async fn takes_eight_mebibytes_at_once_and_at_least_one(kit: Kit) {
    for _ in 0..5 {
        let mut large = kit.submission("text/run");
        large.input = Payload::bytes("a/b", vec![7; 3 << 20]);
        kit.accept(large).await;
    }
    let first = kit.host.reserve(&request()).await.unwrap();
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|taken| taken.input.data.len() == 3 << 20));
    assert_eq!(kit.host.reserve(&request()).await.unwrap().len(), 2);
}

pub(crate) async fn takes_nothing_when_there_is_no_room(kit: Kit) {
    let id = kit.submit().await;
    let taken = super::kit::within(kit.host.reserve(&Reserve {
        max: 0,
        ..request()
    }))
    .await
    .unwrap();
    assert!(taken.is_empty());
    assert_eq!(kit.take_all().await, [id]);
}
