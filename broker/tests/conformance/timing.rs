//! Delays, times, expiry and deadlines: by the broker's clock, and exactly then.

use std::time::{Duration, Instant, SystemTime};

use celeriac_broker::{
    BrokerError, CancelResult, ClientId, Code, InvocationId, Options, QueueStats, Reserve, State,
    When,
};

use super::kit::{Kit, LONG, SHORT_LEASE, eventually, next_reply, request, within};

/// Long enough to see that something waits, on a machine that is busy.
const DELAY: Duration = Duration::from_millis(300);

/// What being late may be on a busy machine; usually it is a few milliseconds.
const SOON: Duration = Duration::from_secs(1);

/// Longer than any case takes.
const NEVER: When = When::InMs(3_600_000);

async fn submit(kit: &Kit, options: Options) -> InvocationId {
    let mut submission = kit.submission("text/run");
    submission.options = options;
    kit.accept(submission).await
}

fn starting(start: impl Into<When>) -> Options {
    Options {
        start: Some(start.into()),
        ..Options::default()
    }
}

fn expiring(expires: impl Into<When>) -> Options {
    Options {
        expires: Some(expires.into()),
        ..Options::default()
    }
}

fn ending(deadline: impl Into<When>) -> Options {
    Options {
        deadline: Some(deadline.into()),
        ..Options::default()
    }
}

async fn state(kit: &Kit, id: InvocationId) -> State {
    kit.client.status(id).await.unwrap().state
}

pub(crate) async fn starts_when_its_delay_is_over(kit: Kit) {
    let begun = Instant::now();
    let id = submit(&kit, starting(DELAY)).await;
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(status.state, State::Scheduled);
    assert_eq!(status.due_at_ms, Some(status.submitted_at_ms + 300));
    assert!(kit.take_all().await.is_empty());
    let taken = kit.take().await;
    assert_eq!((taken.lease.id, taken.attempt), (id, 1));
    assert!(begun.elapsed() >= DELAY, "{:?}", begun.elapsed());
    assert!(begun.elapsed() < DELAY + SOON, "{:?}", begun.elapsed());
    assert!(
        taken.queued_for < SOON,
        "the delay is no waiting: {taken:?}"
    );
    kit.succeed(&taken.lease).await;
    assert_eq!(state(&kit, id).await, State::Succeeded);
}

pub(crate) async fn starts_at_a_time_and_at_once_when_that_has_passed(kit: Kit) {
    let past = submit(&kit, starting(When::AtMs(0))).await;
    assert_eq!(kit.take_all().await, [past]);
    let at = SystemTime::now() + DELAY;
    let id = submit(&kit, starting(at)).await;
    assert_eq!(kit.take().await.lease.id, id);
    assert!(SystemTime::now() >= at);
}

pub(crate) async fn an_earlier_time_overtakes_a_later_one(kit: Kit) {
    submit(&kit, starting(NEVER)).await;
    let host = kit.host.clone();
    let waiting = tokio::spawn(async move { host.reserve(&request()).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    let id = submit(&kit, starting(DELAY)).await;
    assert_eq!(waiting.await.unwrap()[0].lease.id, id);
    assert!(begun.elapsed() < DELAY + SOON, "{:?}", begun.elapsed());
}

pub(crate) async fn a_full_host_holds_up_nothing_that_is_due(kit: Kit) {
    // This one knows what is due first, and then has no room.
    kit.submit().await;
    kit.take().await;
    let begun = Instant::now();
    let id = submit(&kit, starting(DELAY)).await;
    let other = kit.store.open().await;
    let taken = other.reserve(&request()).await.unwrap();
    assert_eq!(taken[0].lease.id, id);
    assert!(begun.elapsed() < DELAY + SOON, "{:?}", begun.elapsed());
}

pub(crate) async fn a_host_that_dies_holds_up_nothing_for_long(kit: Kit) {
    let Kit {
        store,
        client,
        host,
        digest,
    } = kit;
    let survivor = store.open().await;
    let waiting = tokio::spawn(async move { survivor.reserve(&request()).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let kit = Kit {
        client: store.open().await,
        host: store.open().await,
        store,
        digest,
    };
    let begun = Instant::now();
    let id = submit(&kit, starting(DELAY)).await;
    // Both have reserved: one of them led until now.
    drop((client, host));
    assert_eq!(waiting.await.unwrap()[0].lease.id, id);
    assert!(begun.elapsed() < DELAY + 2 * SOON, "{:?}", begun.elapsed());
}

pub(crate) async fn many_that_are_due_at_once_all_start_in_order(kit: Kit) {
    let start = When::from(SystemTime::now() + DELAY);
    let mut batch = Vec::new();
    for _ in 0..1200 {
        let mut submission = kit.submission("text/run");
        submission.options = starting(start);
        batch.push(submission);
    }
    let mut ids: Vec<_> = batch.iter().map(|submission| submission.id).collect();
    for answer in kit.client.submit(batch).await.unwrap() {
        answer.unwrap();
    }
    let mut taken = Vec::new();
    while taken.len() < ids.len() {
        let reserved = kit.reserve_until_some(request()).await;
        taken.extend(reserved.into_iter().map(|taken| taken.lease.id));
    }
    // Ids of one moment have an order of their own.
    taken.sort();
    ids.sort();
    assert_eq!(taken, ids);
    let earlier = submit(&kit, starting(Duration::from_millis(250))).await;
    let first = submit(&kit, starting(Duration::from_millis(150))).await;
    assert_eq!(kit.take().await.lease.id, first);
    assert_eq!(kit.take().await.lease.id, earlier);
}

async fn stats(kit: &Kit) -> QueueStats {
    let queues = kit.client.queues().await.unwrap();
    let stats = queues.into_iter().find(|stats| stats.queue == "default");
    stats.unwrap_or_default()
}

pub(crate) async fn what_is_scheduled_is_counted(kit: Kit) {
    kit.submit().await;
    for _ in 0..3 {
        submit(&kit, starting(NEVER)).await;
    }
    let soon = submit(&kit, starting(DELAY)).await;
    let found = stats(&kit).await;
    assert_eq!((found.queued, found.scheduled, found.running), (1, 4, 0));
    kit.take().await;
    assert_eq!(kit.take().await.lease.id, soon);
    let found = stats(&kit).await;
    assert_eq!((found.queued, found.scheduled, found.running), (0, 3, 2));
}

pub(crate) async fn what_is_scheduled_is_cancelled_at_once(kit: Kit) {
    let client = ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.options = starting(DELAY);
    submission.reply_to = Some(client);
    let id = kit.accept(submission).await;
    let cancelled = kit.client.cancel(id).await.unwrap();
    assert_eq!(cancelled, CancelResult::Cancelled);
    assert_eq!(next_reply(&mut replies).await.0, id);
    assert_eq!(state(&kit, id).await, State::Cancelled);
    let found = stats(&kit).await;
    assert_eq!((found.queued, found.scheduled), (0, 0));
    tokio::time::sleep(DELAY).await;
    let other = kit.submit().await;
    assert_eq!(kit.take_all().await, [other]);
}

pub(crate) async fn expires_unless_it_was_started(kit: Kit) {
    let client = ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.options = Options {
        queue: Some("nobody-serves".to_owned()),
        ..expiring(DELAY)
    };
    submission.reply_to = Some(client);
    let begun = Instant::now();
    let id = kit.accept(submission).await;
    // A host that has nothing to do with it: some host has to live.
    let host = kit.host.clone();
    let idle = tokio::spawn(async move { host.reserve(&request()).await });
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(status.expires_at_ms, Some(status.submitted_at_ms + 300));
    let (told, outcome) = next_reply(&mut replies).await;
    assert!(begun.elapsed() >= DELAY, "{:?}", begun.elapsed());
    assert!(begun.elapsed() < DELAY + SOON, "{:?}", begun.elapsed());
    let outcome = outcome.unwrap();
    assert_eq!(
        (told, outcome.code, outcome.usage.attempt),
        (id, Code::Expired, 0)
    );
    assert_eq!(state(&kit, id).await, State::Expired);
    let queues = kit.client.queues().await.unwrap();
    assert!(queues.iter().all(|stats| stats.queued == 0), "{queues:?}");
    idle.abort();
}

pub(crate) async fn expires_while_it_is_scheduled(kit: Kit) {
    // Only the clocks together can tell that it expires before it starts.
    let options = Options {
        start: Some(NEVER),
        expires: Some(When::from(SystemTime::now() + DELAY)),
        ..Options::default()
    };
    let id = submit(&kit, options).await;
    kit.take_all().await;
    eventually(async || state(&kit, id).await == State::Expired).await;
    assert_eq!(stats(&kit).await.scheduled, 0);
}

pub(crate) async fn what_was_started_does_not_expire(kit: Kit) {
    let id = submit(&kit, expiring(DELAY)).await;
    kit.take_for(SHORT_LEASE).await;
    tokio::time::sleep(DELAY).await;
    let again = kit.take().await;
    assert_eq!((again.lease.id, again.crashes), (id, 1));
    kit.retry(&again, Duration::ZERO).await;
    let last = kit.take().await;
    assert_eq!(last.attempt, 3);
    kit.succeed(&last.lease).await;
    assert_eq!(kit.code(id).await, Some(Code::Ok));
}

pub(crate) async fn what_has_expired_is_never_handed_out(kit: Kit) {
    let Kit {
        store,
        client,
        host,
        digest,
    } = kit;
    // No host lives: nobody does what falls due.
    drop((client, host));
    let kit = Kit {
        client: store.open().await,
        host: store.open().await,
        store,
        digest,
    };
    let expired = submit(&kit, expiring(Duration::from_millis(20))).await;
    let late = submit(&kit, ending(Duration::from_millis(20))).await;
    let fresh = submit(&kit, expiring(NEVER)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(kit.take_all().await, [fresh]);
    eventually(async || kit.code(expired).await == Some(Code::Expired)).await;
    eventually(async || kit.code(late).await == Some(Code::Deadline)).await;
}

pub(crate) async fn a_deadline_ends_what_is_queued(kit: Kit) {
    let client = ClientId::random();
    let mut replies = kit.client.replies(&client).await.unwrap();
    let mut submission = kit.submission("text/run");
    submission.options = Options {
        queue: Some("nobody-serves".to_owned()),
        ..ending(DELAY)
    };
    submission.reply_to = Some(client);
    let id = kit.accept(submission).await;
    let status = kit.client.status(id).await.unwrap();
    assert_eq!(status.deadline_at_ms, Some(status.submitted_at_ms + 300));
    kit.take_all().await;
    let (told, outcome) = next_reply(&mut replies).await;
    assert_eq!((told, outcome.unwrap().code), (id, Code::Deadline));
    assert_eq!(state(&kit, id).await, State::Failed);
}

pub(crate) async fn a_deadline_ends_what_waits_for_its_retry(kit: Kit) {
    let id = submit(&kit, ending(DELAY)).await;
    let taken = kit.take().await;
    kit.retry(&taken, Duration::from_secs(3600)).await;
    eventually(async || kit.code(id).await == Some(Code::Deadline)).await;
    let status = kit.client.status(id).await.unwrap();
    assert_eq!((status.state, status.attempts), (State::Failed, 1));
    assert_eq!(status.trail.len(), 1);
    assert_eq!(stats(&kit).await.scheduled, 0);
}

pub(crate) async fn a_deadline_ends_what_comes_back_after_it(kit: Kit) {
    let crashed = submit(&kit, ending(DELAY)).await;
    let given_back = submit(&kit, ending(DELAY)).await;
    let crash = kit.take_for(2 * DELAY).await.lease;
    let lease = kit.take_for(LONG).await.lease;
    assert_eq!((crash.id, lease.id), (crashed, given_back));
    tokio::time::sleep(DELAY).await;
    // What runs is its host's to stop.
    assert_eq!(state(&kit, crashed).await, State::Running);
    kit.host.release(&[lease]).await.unwrap();
    let other = Reserve {
        wait: Duration::from_millis(20),
        queues: vec!["elsewhere".to_owned()],
        ..request()
    };
    for id in [crashed, given_back] {
        eventually(async || {
            kit.host.reserve(&other).await.unwrap();
            kit.code(id).await == Some(Code::Deadline)
        })
        .await;
    }
}

pub(crate) async fn tells_a_host_what_is_left_until_the_deadline(kit: Kit) {
    kit.submit().await;
    assert_eq!(kit.take().await.remaining, None);
    submit(&kit, ending(Duration::from_secs(60))).await;
    let remaining = kit.take().await.remaining.unwrap();
    assert!(remaining <= Duration::from_secs(60), "{remaining:?}");
    assert!(remaining > Duration::from_secs(50), "{remaining:?}");
}

pub(crate) async fn leaves_no_times_behind(kit: Kit) {
    let all = Options {
        start: Some(When::InMs(20)),
        expires: Some(When::InMs(400)),
        deadline: Some(When::InMs(500)),
        ..Options::default()
    };
    let id = submit(&kit, all).await;
    let taken = kit.take().await;
    kit.succeed(&taken.lease).await;
    // Its expiry and its deadline pass, and nothing comes of them.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(kit.code(id).await, Some(Code::Ok));
    assert_eq!(stats(&kit).await.queued, 0);
    assert_eq!(kit.store.timed().await, 0);
}

pub(crate) async fn refuses_times_that_make_no_sense(kit: Kit) {
    let refused = async |options: Options| {
        let mut submission = kit.submission("text/run");
        submission.options = options;
        let answer = within(kit.client.submit(vec![submission])).await;
        let answer = answer.unwrap().pop().unwrap();
        assert!(
            matches!(answer, Err(BrokerError::Invalid { .. })),
            "{answer:?}"
        );
    };
    let late = Some(When::InMs(100));
    refused(Options {
        start: late,
        expires: Some(When::InMs(50)),
        ..Options::default()
    })
    .await;
    refused(Options {
        start: late,
        deadline: late,
        ..Options::default()
    })
    .await;
    refused(starting(When::InMs(u64::MAX))).await;
    refused(ending(When::AtMs(u64::MAX))).await;
}
