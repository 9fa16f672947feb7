//! How many may wait in a queue, and batches that are accepted whole.

use std::time::Duration;

use celeriac_broker::{
    BrokerError, InvocationId, Limit, LimitScope, MAX_CHUNK, Options, Priority, State, Submission,
};

use super::{
    kit::{Kit, retry},
    ordering::Dice,
};

fn scope(queue: &str) -> LimitScope {
    LimitScope::Queue(queue.to_owned())
}

async fn bound(kit: &Kit, most: u64) {
    let limit = Limit {
        max_queue: Some(most),
        ..Limit::default()
    };
    kit.client
        .set_limit(&scope("default"), Some(&limit))
        .await
        .unwrap();
}

/// Queued and scheduled.
async fn waiting(kit: &Kit) -> u64 {
    let queues = kit.client.queues().await.unwrap();
    let default = queues.iter().find(|queue| queue.queue == "default");
    default.map_or(0, |queue| queue.queued + queue.scheduled)
}

async fn offer(kit: &Kit, submission: Submission) -> Result<InvocationId, BrokerError> {
    kit.client
        .submit(vec![submission])
        .await
        .unwrap()
        .pop()
        .unwrap()
}

fn is_overloaded<T>(answer: &Result<T, BrokerError>, expected: (u64, u64)) -> bool {
    matches!(answer, Err(BrokerError::Overloaded { queue, depth, limit })
        if queue == "default" && (*depth, *limit) == expected)
}

pub(crate) async fn refuses_what_has_no_room_and_says_why(kit: Kit) {
    bound(&kit, 3).await;
    let mut batch: Vec<_> = (0..6).map(|_| kit.submission("text/run")).collect();
    batch[4].options.queue = Some("elsewhere".to_owned());
    let again = batch.clone();
    let answers = kit.client.submit(batch).await.unwrap();
    assert!(
        answers[..3].iter().all(Result::is_ok) && answers[4].is_ok(),
        "{answers:?}"
    );
    assert!(is_overloaded(&answers[3], (3, 3)) && is_overloaded(&answers[5], (3, 3)));
    let text = answers[3].clone().unwrap_err().to_string();
    assert!(text.contains("--max-queue"), "{text}");
    // What was accepted is accepted, also when it is asked for again.
    let answers = kit.client.submit(again).await.unwrap();
    assert!(answers[..3].iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(waiting(&kit).await, 3);
    // One that runs makes room for one that waits for its time.
    kit.take().await;
    let mut later = kit.submission("text/run");
    later.options.start = Some(Duration::from_secs(3600).into());
    offer(&kit, later).await.unwrap();
    assert!(is_overloaded(
        &offer(&kit, kit.submission("text/run")).await,
        (3, 3)
    ));
}

pub(crate) async fn what_another_stands_for_takes_no_room(kit: Kit) {
    bound(&kit, 3).await;
    let keyed = |key: &str| {
        let mut submission = kit.submission("text/run");
        submission.options.idempotency_key = Some(key.to_owned());
        submission
    };
    let first = offer(&kit, keyed("order-17")).await.unwrap();
    let batch = vec![
        keyed("order-17"),
        keyed("order-18"),
        keyed("order-18"),
        kit.submission("text/run"),
        keyed("order-19"),
        keyed("order-19"),
    ];
    let second = batch[1].id;
    let answers = kit.client.submit(batch).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap(), &first);
    assert_eq!(answers[1].as_ref().unwrap(), &second);
    assert_eq!(answers[2].as_ref().unwrap(), &second);
    assert!(answers[3].is_ok(), "{answers:?}");
    // Neither of those is there, so neither stands for the other.
    assert!(is_overloaded(&answers[4], (3, 3)) && is_overloaded(&answers[5], (3, 3)));
    assert_eq!(waiting(&kit).await, 3);
}

pub(crate) async fn a_bound_holds_at_once_for_every_process_and_goes_at_once(kit: Kit) {
    let ids = kit.submit_many(5).await;
    bound(&kit, 2).await;
    let limits = kit.host.limits().await.unwrap();
    assert_eq!(limits.len(), 1);
    assert_eq!(
        (limits[0].scope.clone(), limits[0].limit.max_queue),
        (scope("default"), Some(2))
    );
    let other = kit.store.open().await;
    let refused = other
        .submit(vec![kit.submission("text/run")])
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert!(is_overloaded(&refused, (5, 2)), "{refused:?}");
    bound(&kit, 6).await;
    offer(&kit, kit.submission("text/run")).await.unwrap();
    assert!(offer(&kit, kit.submission("text/run")).await.is_err());
    kit.client.set_limit(&scope("default"), None).await.unwrap();
    offer(&kit, kit.submission("text/run")).await.unwrap();
    assert!(kit.client.limits().await.unwrap().is_empty());
    assert_eq!(
        kit.client.status(ids[4]).await.unwrap().state,
        State::Queued
    );
}

pub(crate) async fn what_was_accepted_comes_back_to_a_full_queue(kit: Kit) {
    let first = kit.submit().await;
    let taken = kit.take().await;
    bound(&kit, 1).await;
    kit.submit().await;
    kit.retry(&taken, Duration::from_secs(3600)).await;
    assert_eq!(
        kit.client.status(first).await.unwrap().state,
        State::Scheduled
    );
    assert_eq!(waiting(&kit).await, 2);
    assert!(is_overloaded(
        &offer(&kit, kit.submission("text/run")).await,
        (2, 1)
    ));
}

pub(crate) async fn a_batch_is_accepted_whole_or_not_at_all(kit: Kit) {
    bound(&kit, 5).await;
    let batch = |count: usize| {
        (0..count)
            .map(|_| kit.submission("text/run"))
            .collect::<Vec<_>>()
    };
    kit.client.submit_whole(batch(3)).await.unwrap();
    let refused = kit.client.submit_whole(batch(3)).await;
    assert!(is_overloaded(&refused, (5, 5)), "{refused:?}");
    assert_eq!(waiting(&kit).await, 3, "nothing of it");
    let mut wrong = batch(2);
    wrong[1].task = "text/unheard-of".parse().unwrap();
    let refused = kit.client.submit_whole(wrong).await;
    assert!(
        matches!(refused, Err(BrokerError::NoTask(_))),
        "{refused:?}"
    );
    assert_eq!(waiting(&kit).await, 3, "nothing of it");
    // An answer that was lost is asked for again.
    let last = batch(2);
    kit.client.submit_whole(last.clone()).await.unwrap();
    kit.client.submit_whole(last).await.unwrap();
    assert_eq!(waiting(&kit).await, 5);
    let refused = kit.client.submit_whole(batch(MAX_CHUNK + 1)).await;
    assert!(
        matches!(refused, Err(BrokerError::Invalid { what: "batch", .. })),
        "{refused:?}"
    );
}

pub(crate) async fn ten_thousand_in_chunks(kit: Kit) {
    for _ in 0..10_000 / MAX_CHUNK {
        let batch = (0..MAX_CHUNK).map(|_| kit.submission("text/run")).collect();
        kit.client.submit_whole(batch).await.unwrap();
    }
    assert_eq!(waiting(&kit).await, 10_000);
}

/// However invocations come, go and come back: a queue refuses exactly when as many wait as may.
pub(crate) async fn the_depth_is_right_in_every_order(kit: Kit) {
    const MOST: u64 = 4;
    bound(&kit, MOST).await;
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (mut ids, mut held) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            match dice.roll(8) {
                0..=3 => {
                    let mut submission = kit.submission("text/run");
                    submission.options = Options {
                        priority: Some(Priority::ALL[dice.roll(3)]),
                        fairness_key: (dice.roll(2) == 0).then(|| "a".to_owned()),
                        start: (dice.roll(4) == 0).then(|| Duration::from_secs(3600).into()),
                        ..Options::default()
                    };
                    let (id, depth) = (submission.id, waiting(&kit).await);
                    let answer = offer(&kit, submission).await;
                    let is_right = match &answer {
                        Ok(_) => depth < MOST,
                        refused => depth >= MOST && is_overloaded(refused, (depth, MOST)),
                    };
                    assert!(is_right, "seed {seed}: {depth} wait: {answer:?}");
                    ids.extend(answer.is_ok().then_some(id));
                }
                4 if waiting(&kit).await > 0 => {
                    let request = celeriac_broker::Reserve {
                        max: 1,
                        wait: Duration::ZERO,
                        ..super::kit::request()
                    };
                    held.extend(kit.host.reserve(&request).await.unwrap());
                }
                5 if !held.is_empty() => {
                    let back = held.swap_remove(dice.roll(held.len()));
                    kit.host
                        .release(std::slice::from_ref(&back.lease))
                        .await
                        .unwrap();
                }
                6 if !held.is_empty() => {
                    let again = held.swap_remove(dice.roll(held.len()));
                    kit.host
                        .settle(vec![retry(&again, Duration::from_secs(3600))])
                        .await
                        .unwrap();
                }
                _ if !ids.is_empty() => {
                    let id = ids.swap_remove(dice.roll(ids.len()));
                    kit.client.cancel(id).await.unwrap();
                }
                _ => {}
            }
        }
        for id in ids {
            kit.client.cancel(id).await.unwrap();
        }
        for taken in held {
            kit.succeed(&taken.lease).await;
        }
        assert_eq!(waiting(&kit).await, 0, "seed {seed}");
    }
}
