//! Leases: who holds them, what happens when they run out.

use std::time::{Duration, Instant};

use celeriac_broker::{BrokerError, Code, Reserve, Settled, State};

use super::kit::{Kit, LONG, SHORT_LEASE, admission, log, publication, request};

pub(crate) async fn comes_back_after_each_crash_until_it_is_settled(kit: Kit) {
    let id = kit.submit().await;
    for attempt in 1..=2 {
        let taken = kit.take_for(SHORT_LEASE).await;
        assert_eq!((taken.lease.id, taken.attempt), (id, attempt));
    }
    let last = kit.take().await;
    assert_eq!((last.lease.id, last.attempt), (id, 3));
    assert_eq!(kit.succeed(&last.lease).await, Settled::Written);
    assert_eq!(kit.code(id).await, Some(Code::Ok));
}

pub(crate) async fn a_dead_hosts_invocation_runs_elsewhere_within_the_lease_and_a_second(kit: Kit) {
    let lease = Duration::from_millis(400);
    let id = kit.submit().await;
    let begun = Instant::now();
    assert_eq!(kit.take_for(lease).await.lease.id, id);
    let again = kit.take().await;
    let took = begun.elapsed();
    assert_eq!((again.lease.id, again.attempt), (id, 2));
    assert!(
        took >= lease - Duration::from_millis(20),
        "taken while it was leased: {took:?}"
    );
    assert!(
        took < lease + Duration::from_secs(1),
        "taken too late: {took:?}"
    );
}

pub(crate) async fn a_host_that_waits_sees_a_lease_run_out(kit: Kit) {
    let id = kit.submit().await;
    kit.take_for(SHORT_LEASE).await;
    // One reserve, whose own wait and lease are much longer.
    let taken = kit.host.reserve(&request()).await.unwrap();
    assert_eq!(taken[0].lease.id, id);
}

pub(crate) async fn a_live_host_keeps_its_lease_by_renewing(kit: Kit) {
    kit.submit().await;
    let asked = Reserve {
        lease: Duration::from_millis(500),
        ..request()
    };
    let taken = kit.host.reserve(&asked).await.unwrap().pop().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1200) {
        let leases = std::slice::from_ref(&taken.lease);
        let renewed = kit
            .host
            .renew(&asked.host, leases, asked.lease)
            .await
            .unwrap();
        assert!(renewed.lost.is_empty() && renewed.cancelled.is_empty());
        let other = Reserve {
            wait: Duration::from_millis(40),
            ..request()
        };
        assert!(kit.client.reserve(&other).await.unwrap().is_empty());
    }
    assert_eq!(kit.succeed(&taken.lease).await, Settled::Written);
}

pub(crate) async fn quarantines_what_has_killed_three_hosts(kit: Kit) {
    let client = celeriac_broker::ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.reply_to = Some(client);
    let id = kit.accept(submission).await;
    for _ in 0..3 {
        kit.take_for(SHORT_LEASE).await;
    }
    let waiting = tokio::spawn({
        let host = kit.host.clone();
        async move { host.reserve(&request()).await.unwrap() }
    });
    let (told, _) = super::kit::next_reply(&mut replies).await;
    assert_eq!(told, id);
    let outcome = kit.client.outcome(id, None).await.unwrap().unwrap();
    assert_eq!(outcome.code, Code::Quarantined);
    assert_eq!(outcome.usage.attempt, 3);
    assert_eq!(outcome.usage.module, Some(kit.digest));
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(
        (status.state, status.crashes, status.attempts),
        (State::Failed, 3, 3)
    );
    // It does not come back: what wakes the waiting host is something else.
    let next = kit.submit().await;
    assert_eq!(waiting.await.unwrap()[0].lease.id, next);
}

pub(crate) async fn counts_crashes_apart_from_attempts(kit: Kit) {
    let id = kit.submit().await;
    kit.take_for(SHORT_LEASE).await;
    let second = kit.take().await;
    kit.host.release(&[second.lease]).await.unwrap();
    let third = kit.take().await;
    let status = kit.client.status(id).await.unwrap();
    assert_eq!((status.attempts, status.crashes), (2, 1));
    kit.settle(
        &third.lease,
        celeriac_broker::Outcome::failed(Code::TaskError, "no"),
    )
    .await;
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(
        (status.attempts, status.crashes, status.state),
        (2, 1, State::Failed)
    );
}

pub(crate) async fn giving_back_is_no_crash_and_no_attempt(kit: Kit) {
    let id = kit.submit().await;
    for _ in 0..5 {
        let taken = kit.take().await;
        assert_eq!(taken.attempt, 1);
        kit.host.release(&[taken.lease]).await.unwrap();
    }
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(
        (status.state, status.attempts, status.crashes),
        (State::Queued, 0, 0)
    );
    let taken = kit.take().await;
    assert_eq!(kit.succeed(&taken.lease).await, Settled::Written);
}

pub(crate) async fn a_lost_lease_is_refused_everywhere(kit: Kit) {
    let digest = kit.client.put_blob("new".into()).await.unwrap();
    let mut submission = kit.submission("celeriac/admit");
    submission.options = Default::default();
    let id = kit.accept(submission).await;
    let lost = kit.take_for(SHORT_LEASE).await.lease;
    let held = kit.take().await.lease;
    assert_eq!((lost.id, held.id), (id, id));
    let refused = kit.host.record(&lost, vec![log("late")]).await.unwrap_err();
    assert!(
        matches!(refused, BrokerError::StaleLease(stale) if stale == id),
        "{refused}"
    );
    let refused = kit
        .host
        .publish(&lost, publication(digest, "late"))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, BrokerError::StaleLease(stale) if stale == id),
        "{refused}"
    );
    assert_eq!(kit.succeed(&lost).await, Settled::Stale);
    assert!(kit.client.events(id, 10).await.unwrap().is_empty());
    assert!(
        kit.client
            .module(&super::kit::module_ref("late"))
            .await
            .is_err()
    );
    kit.host.record(&held, vec![log("in time")]).await.unwrap();
    kit.host
        .publish(&held, publication(digest, "early"))
        .await
        .unwrap();
}

pub(crate) async fn renewing_names_what_is_lost(kit: Kit) {
    let asked = Reserve {
        lease: SHORT_LEASE,
        ..request()
    };
    let ids = kit.submit_many(2).await;
    let taken = kit.host.reserve(&asked).await.unwrap();
    let leases: Vec<_> = taken.into_iter().map(|taken| taken.lease).collect();
    let now_held = kit
        .reserve_until_some(Reserve {
            max: 1,
            ..request()
        })
        .await;
    let lost = now_held[0].lease.id;
    let renewed = kit.host.renew(&asked.host, &leases, LONG).await.unwrap();
    assert!(renewed.lost.contains(&lost), "{renewed:?}");
    kit.succeed(&now_held[0].lease).await;
    let renewed = kit.host.renew(&asked.host, &leases, LONG).await.unwrap();
    assert!(
        renewed.lost.contains(&lost) && ids.contains(&lost),
        "{renewed:?}"
    );
}

pub(crate) async fn giving_back_a_lost_lease_changes_nothing(kit: Kit) {
    let id = kit.submit().await;
    let lost = kit.take_for(SHORT_LEASE).await.lease;
    let held = kit.take().await.lease;
    kit.host.release(&[lost]).await.unwrap();
    assert_eq!(kit.client.status(id).await.unwrap().state, State::Running);
    assert!(kit.take_all().await.is_empty());
    assert_eq!(kit.succeed(&held).await, Settled::Written);
}

pub(crate) async fn a_host_that_starts_again_does_not_hold_the_old_lease(kit: Kit) {
    let (first, second) = (request().host, request().host);
    assert_ne!(first, second);
    let digest = kit.client.put_blob("m".into()).await.unwrap();
    let lease = admission(&kit.client, digest, "m").await;
    // The same process name with a new id: its own tokens are others.
    kit.host
        .release(std::slice::from_ref(&lease))
        .await
        .unwrap();
    let again = kit.take().await.lease;
    assert_eq!(again.id, lease.id);
    assert_ne!(again.token, lease.token);
    assert_eq!(kit.succeed(&lease).await, Settled::Stale);
}
