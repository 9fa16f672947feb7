//! Attempts that fail and are followed by others.

use std::time::{Duration, Instant};

use celeriac_broker::{CancelResult, ClientId, Code, Reserve, Settled, State};

use super::kit::{Kit, LONG, SHORT_LEASE, failure, log, next_reply, publish, request, retry};

/// Long enough to see that something waits, on a machine that is busy.
const PAUSE: Duration = Duration::from_millis(250);

/// Longer than any case takes.
const NEVER: Duration = Duration::from_secs(3600);

pub(crate) async fn waits_its_pause_and_runs_again(kit: Kit) {
    let id = kit.submit().await;
    let first = kit.take().await;
    assert!(first.trail.is_empty());
    let begun = Instant::now();
    assert_eq!(kit.retry(&first, PAUSE).await, Settled::Written);
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(
        (status.state, status.attempts, status.host, status.outcome),
        (State::Scheduled, 1, None, None)
    );
    let due = status.due_at_ms.unwrap();
    assert!(due >= first.reserved_at_ms + 250, "{due} {first:?}");
    assert!(kit.take_all().await.is_empty());
    let second = kit.take().await;
    assert!(begun.elapsed() >= PAUSE, "{:?}", begun.elapsed());
    assert_eq!(
        (second.lease.id, second.attempt, second.crashes),
        (id, 2, 0)
    );
    assert_eq!((&second.input, second.digest), (&first.input, first.digest));
    assert!(second.queued_for < Duration::from_secs(2));
    assert_eq!(second.trail.len(), 1);
    assert_eq!(
        (
            second.trail[0].attempt,
            second.trail[0].code,
            second.trail[0].fuel
        ),
        (1, Code::TaskError, 17)
    );
    assert_ne!(second.lease.token, first.lease.token);
    assert_eq!(kit.client.status(id).await.unwrap().due_at_ms, None);
    assert_eq!(kit.succeed(&second.lease).await, Settled::Written);
    assert_eq!(kit.code(id).await, Some(Code::Ok));
}

pub(crate) async fn tells_waiters_of_the_last_outcome_only(kit: Kit) {
    let client = ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.reply_to = Some(client.clone());
    let id = kit.accept(submission).await;
    for _ in 0..3 {
        let taken = kit.take().await;
        kit.retry(&taken, Duration::ZERO).await;
        assert_eq!(kit.client.outcome(id, Some(&client)).await.unwrap(), None);
    }
    let last = kit.take().await;
    kit.settle(&last.lease, failure(&last)).await;
    let (told, outcome) = next_reply(&mut replies).await;
    assert_eq!(told, id);
    assert_eq!(outcome.unwrap().usage.attempt, 4);
    let more = tokio::time::timeout(Duration::from_millis(50), replies.recv()).await;
    assert!(more.is_err(), "{more:?}");
}

pub(crate) async fn a_lost_lease_retries_nothing(kit: Kit) {
    let id = kit.submit().await;
    let lost = kit.take_for(SHORT_LEASE).await;
    let held = kit.take().await;
    assert_eq!(kit.retry(&lost, Duration::ZERO).await, Settled::Stale);
    assert_eq!(kit.client.status(id).await.unwrap().state, State::Running);
    kit.succeed(&held.lease).await;
    // The same attempt was settled: nothing follows an end.
    kit.retry(&held, Duration::ZERO).await;
    assert!(kit.take_all().await.is_empty());
    assert_eq!(kit.code(id).await, Some(Code::Ok));
}

pub(crate) async fn retrying_again_after_a_lost_answer_is_written(kit: Kit) {
    let id = kit.submit().await;
    let taken = kit.take().await;
    let settlement = retry(&taken, NEVER);
    for _ in 0..2 {
        let settled = kit.host.settle(vec![settlement.clone()]).await.unwrap();
        assert_eq!(settled, [Settled::Written]);
    }
    let status = kit.client.status(id).await.unwrap();
    assert_eq!((status.attempts, status.trail.len()), (1, 1));
    let queues = kit.client.queues().await.unwrap();
    let scheduled: u64 = queues.iter().map(|queue| queue.scheduled).sum();
    assert_eq!(scheduled, 1);
}

pub(crate) async fn what_shall_stop_is_not_tried_again(kit: Kit) {
    let client = ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.reply_to = Some(client);
    let id = kit.accept(submission).await;
    let taken = kit.take().await;
    kit.client.cancel(id).await.unwrap();
    // The attempt failed by itself before its host heard of the cancel.
    assert_eq!(kit.retry(&taken, NEVER).await, Settled::Written);
    assert_eq!(next_reply(&mut replies).await.0, id);
    assert_eq!(kit.code(id).await, Some(Code::TaskError));
    assert_eq!(kit.client.status(id).await.unwrap().state, State::Failed);
}

pub(crate) async fn is_cancelled_at_once_while_it_waits(kit: Kit) {
    let id = kit.submit().await;
    let taken = kit.take().await;
    kit.retry(&taken, PAUSE).await;
    let cancelled = kit.client.cancel(id).await.unwrap();
    assert_eq!(cancelled, CancelResult::Cancelled);
    let outcome = kit.client.outcome(id, None).await.unwrap().unwrap();
    assert_eq!((outcome.code, outcome.usage.attempt), (Code::Cancelled, 1));
    tokio::time::sleep(PAUSE).await;
    let other = kit.submit().await;
    assert_eq!(kit.take().await.lease.id, other);
}

pub(crate) async fn tells_crashes_from_failures(kit: Kit) {
    kit.submit().await;
    let first = kit.take().await;
    kit.retry(&first, Duration::ZERO).await;
    kit.take_for(SHORT_LEASE).await;
    let third = kit.take().await;
    assert_eq!((third.attempt, third.crashes), (3, 1));
    assert_eq!(third.trail.len(), 1);
    kit.retry(&third, Duration::ZERO).await;
    let fourth = kit.take().await;
    assert_eq!((fourth.attempt, fourth.crashes), (4, 1));
    let attempts: Vec<_> = fourth.trail.iter().map(|attempt| attempt.attempt).collect();
    assert_eq!(attempts, [1, 3]);
}

pub(crate) async fn keeps_the_trail_beside_the_outcome(kit: Kit) {
    let id = kit.submit().await;
    for _ in 0..40 {
        let taken = kit.take().await;
        kit.retry(&taken, Duration::ZERO).await;
    }
    let last = kit.take().await;
    assert_eq!(last.attempt, 41);
    kit.succeed(&last.lease).await;
    let status = kit.client.status(id).await.unwrap();
    let trail = status.trail;
    assert_eq!((status.state, status.attempts), (State::Succeeded, 41));
    assert_eq!(trail.len(), 32);
    assert_eq!((trail[0].attempt, trail[31].attempt), (1, 40));
    for attempt in &trail {
        assert_eq!(attempt.ended_at_ms, attempt.started_at_ms + 3);
    }
    assert!(trail.is_sorted_by_key(|attempt| attempt.started_at_ms));
}

pub(crate) async fn runs_the_module_of_the_first_attempt(kit: Kit) {
    let id = kit.submit().await;
    let first = kit.take().await;
    kit.retry(&first, PAUSE).await;
    let newer = publish(&kit.client, "text", b"newer").await;
    let second = kit.take().await;
    assert_eq!(second.lease.id, id);
    assert_eq!(second.digest, Some(kit.digest));
    assert_ne!(kit.digest, newer);
}

pub(crate) async fn events_name_their_attempt(kit: Kit) {
    let id = kit.submit().await;
    for pause in [Duration::ZERO, Duration::ZERO] {
        let taken = kit.take().await;
        kit.host.record(&taken.lease, vec![log("x")]).await.unwrap();
        kit.retry(&taken, pause).await;
    }
    let events = kit.client.events(id, 10).await.unwrap();
    let attempts: Vec<_> = events.iter().map(|event| event.attempt).collect();
    assert_eq!(attempts, [1, 2]);
}

pub(crate) async fn survives_the_end_of_every_process(kit: Kit) {
    let id = kit.submit().await;
    let taken = kit.take().await;
    kit.retry(&taken, PAUSE).await;
    let Kit {
        store,
        client,
        host,
        ..
    } = kit;
    drop((client, host));
    let broker = store.open().await;
    let reserved = broker
        .reserve(&Reserve {
            wait: LONG,
            ..request()
        })
        .await
        .unwrap();
    assert_eq!((reserved[0].lease.id, reserved[0].attempt), (id, 2));
    assert_eq!(reserved[0].trail.len(), 1);
}
