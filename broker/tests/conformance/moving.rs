//! Moving what waits from one queue to another.

use std::{collections::HashSet, time::Duration};

use celeriac_broker::{
    After, BrokerError, InvocationId, Limit, Pausable, Priority, QueueStats, Reserve, Reserved,
    State, When,
};

use super::{
    kit::{Kit, eventually, request},
    ordering::Dice,
};

const FROM: &str = "default";
const TO: &str = "other";

/// Moves everything that waits for a host, step by step; how many.
async fn move_queued(kit: &Kit, from: &str, to: &str) -> u64 {
    let (mut moved, mut cursor) = (0, None);
    loop {
        let step = kit
            .client
            .move_queued(from, to, cursor.as_deref())
            .await
            .unwrap();
        assert!(step.moved <= 250, "{step:?}");
        moved += step.moved;
        cursor = step.cursor;
        if cursor.is_none() {
            return moved;
        }
    }
}

async fn move_these(kit: &Kit, (from, to): (&str, &str), ids: &[InvocationId]) -> u64 {
    kit.client.move_these(from, to, ids, false).await.unwrap()
}

async fn stats(kit: &Kit, name: &str) -> QueueStats {
    let queues = kit.client.queues().await.unwrap();
    let found = queues.into_iter().find(|queue| queue.queue == name);
    found.unwrap_or_default()
}

/// What waits in a queue: for a host, for a time, for others.
async fn waits(kit: &Kit, name: &str) -> (u64, u64, u64) {
    let stats = stats(kit, name).await;
    (stats.queued, stats.scheduled, stats.blocked)
}

/// Everything that a host of this queue may take now.
async fn take(kit: &Kit, queue: &str) -> Vec<Reserved> {
    let asked = Reserve {
        queues: vec![queue.to_owned()],
        wait: Duration::ZERO,
        max: 10_000,
        ..request()
    };
    kit.host.reserve(&asked).await.unwrap()
}

async fn take_ids(kit: &Kit, queue: &str) -> Vec<InvocationId> {
    let taken = take(kit, queue).await;
    taken.iter().map(|taken| taken.lease.id).collect()
}

pub(crate) async fn what_waits_for_a_host_moves_in_its_order(kit: Kit) {
    let here = kit.submit_to(TO).await;
    let running = kit.submit().await;
    let lease = kit.take().await.lease;
    let of = async |priority, key: Option<&str>| {
        let mut submission = kit.submission("text/run");
        submission.options.priority = Some(priority);
        submission.options.fairness_key = key.map(str::to_owned);
        kit.accept(submission).await
    };
    let low = of(Priority::Low, None).await;
    let (a1, a2) = (
        of(Priority::Normal, Some("a")).await,
        of(Priority::Normal, Some("a")).await,
    );
    let plain = of(Priority::Normal, None).await;
    let b1 = of(Priority::Normal, Some("b")).await;
    let high = of(Priority::High, Some("a")).await;
    let gone = of(Priority::Normal, Some("b")).await;
    let mut short = kit.submission("text/run");
    short.options.expires = Some(When::InMs(300));
    let short = kit.accept(short).await;
    kit.client.cancel(gone).await.unwrap();
    assert_eq!(waits(&kit, FROM).await.0, 7);
    assert_eq!(move_queued(&kit, FROM, TO).await, 7);
    assert_eq!(
        (waits(&kit, FROM).await, waits(&kit, TO).await),
        ((0, 0, 0), (8, 0, 0))
    );
    assert!(take(&kit, FROM).await.is_empty());
    assert_eq!(kit.client.status(low).await.unwrap().queue, TO);
    // It expires where it is now.
    eventually(async || {
        take(&kit, FROM).await;
        kit.client.status(short).await.unwrap().state == State::Expired
    })
    .await;
    assert_eq!(
        take_ids(&kit, TO).await,
        [high, here, a1, plain, b1, a2, low]
    );
    // What runs is as it was, and comes back to where it was.
    kit.host
        .release(std::slice::from_ref(&lease))
        .await
        .unwrap();
    assert_eq!(take_ids(&kit, FROM).await, [running]);
    assert_eq!(kit.store.ordered().await, 0);
    assert_eq!(move_queued(&kit, FROM, TO).await, 0);
}

pub(crate) async fn thousands_move_in_steps(kit: Kit) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.extend(kit.submit_many(400).await);
    }
    let first = kit.client.move_queued(FROM, TO, None).await.unwrap();
    assert_eq!((first.moved, first.cursor.is_some()), (250, true));
    // Whoever moves may die here: both queues are whole.
    assert_eq!(
        (waits(&kit, FROM).await.0, waits(&kit, TO).await.0),
        (950, 250)
    );
    assert_eq!(move_queued(&kit, FROM, TO).await, 950);
    assert_eq!(take_ids(&kit, TO).await, ids);
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn what_waits_for_a_time_or_for_others_moves(kit: Kit) {
    let parent = kit.submit_to("elsewhere").await;
    let mut child = kit.submission("text/run");
    child.options.after = vec![After::success(parent)];
    let child = kit.accept(child).await;
    let mut later = kit.submission("text/run");
    later.options.start = Some(When::InMs(400));
    let later = kit.accept(later).await;
    let mut never = kit.submission("text/run");
    never.options.start = Some(When::InMs(3_600_000));
    let never = kit.accept(never).await;
    let ids = [child, later, never];
    assert_eq!(move_these(&kit, (FROM, TO), &ids).await, 3);
    // Once: what is not in the first queue stays where it is.
    assert_eq!(move_these(&kit, (FROM, TO), &ids).await, 0);
    assert_eq!(
        (waits(&kit, FROM).await, waits(&kit, TO).await),
        ((0, 0, 0), (0, 2, 1))
    );
    let lease = take(&kit, "elsewhere").await.remove(0).lease;
    kit.succeed(&lease).await;
    kit.client.cancel(never).await.unwrap();
    let mut taken = HashSet::new();
    eventually(async || {
        assert!(take(&kit, FROM).await.is_empty());
        taken.extend(take_ids(&kit, TO).await);
        taken.len() == 2
    })
    .await;
    assert_eq!(taken, HashSet::from([child, later]));
    assert_eq!(waits(&kit, TO).await, (0, 0, 0));
}

pub(crate) async fn what_is_held_back_moves_too(kit: Kit) {
    let scope = "task:text/run".parse().unwrap();
    let limit = Limit {
        concurrency: Some(1),
        ..Limit::default()
    };
    kit.client.set_limit(&scope, Some(&limit)).await.unwrap();
    let mut ids = kit.submit_many(4).await;
    let mut fair = kit.submission("text/run");
    fair.options.fairness_key = Some("tenant".to_owned());
    ids.push(kit.accept(fair).await);
    let first = take(&kit, FROM).await.remove(0);
    assert_eq!(first.lease.id, ids.remove(0));
    // One of them is let go, and waits for a host at the head of the queue.
    kit.succeed(&first.lease).await;
    let late = kit.submit().await;
    assert_eq!(move_queued(&kit, FROM, TO).await, 5);
    assert_eq!((waits(&kit, FROM).await.0, waits(&kit, TO).await.0), (0, 5));
    ids.push(late);
    let mut ran = Vec::new();
    for _ in 0..5 {
        assert!(take(&kit, FROM).await.is_empty());
        let taken = take(&kit, TO).await;
        assert_eq!(taken.len(), 1, "one at a time");
        kit.succeed(&taken[0].lease).await;
        ran.push(taken[0].lease.id);
    }
    // The lists are one for each key, so keys may change places.
    assert_eq!(ran.iter().collect::<HashSet<_>>(), ids.iter().collect());
    assert_eq!(ran[0], ids[0]);
    assert!(take(&kit, TO).await.is_empty());
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn some_are_picked_out_and_the_others_stay(kit: Kit) {
    let ids = kit.submit_many(6).await;
    assert_eq!(move_these(&kit, (FROM, TO), &[ids[1], ids[4]]).await, 2);
    assert_eq!((waits(&kit, FROM).await.0, waits(&kit, TO).await.0), (4, 2));
    // Back again: it has lost its place, and is there once.
    assert_eq!(move_these(&kit, (TO, FROM), &[ids[4]]).await, 1);
    kit.client.cancel(ids[2]).await.unwrap();
    assert_eq!((waits(&kit, FROM).await.0, waits(&kit, TO).await.0), (4, 1));
    let taken: HashSet<_> = take_ids(&kit, FROM).await.into_iter().collect();
    assert_eq!(taken, HashSet::from([ids[0], ids[3], ids[4], ids[5]]));
    assert_eq!(take_ids(&kit, TO).await, [ids[1]]);
    assert!(take(&kit, FROM).await.is_empty());
    assert_eq!((waits(&kit, FROM).await.0, waits(&kit, TO).await.0), (0, 0));
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn what_runs_comes_back_to_the_new_queue_when_asked(kit: Kit) {
    let ids = kit.submit_many(2).await;
    let taken = take(&kit, FROM).await;
    assert_eq!(move_these(&kit, (FROM, TO), &ids).await, 0);
    let moved = kit.client.move_these(FROM, TO, &ids, true).await.unwrap();
    assert_eq!(moved, 2);
    assert_eq!(
        (
            stats(&kit, FROM).await.running,
            stats(&kit, TO).await.running
        ),
        (0, 2)
    );
    kit.host
        .release(std::slice::from_ref(&taken[0].lease))
        .await
        .unwrap();
    kit.retry(&taken[1], Duration::ZERO).await;
    let mut back = HashSet::new();
    eventually(async || {
        assert!(take(&kit, FROM).await.is_empty());
        back.extend(take_ids(&kit, TO).await);
        back.len() == 2
    })
    .await;
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn bounds_and_pauses_hold_on_both_sides(kit: Kit) {
    for queue in [FROM, TO] {
        let limit = Limit {
            max_queue: Some(3),
            ..Limit::default()
        };
        let scope = format!("queue:{queue}").parse().unwrap();
        kit.client.set_limit(&scope, Some(&limit)).await.unwrap();
    }
    kit.client
        .pause(&Pausable::Queue(TO.to_owned()))
        .await
        .unwrap();
    kit.submit_many(2).await;
    let mut later = kit.submission("text/run");
    later.options.start = Some(When::InMs(3_600_000));
    let later = kit.accept(later).await;
    let overloaded = async |queue: &str| {
        let mut submission = kit.submission("text/run");
        submission.options.queue = Some(queue.to_owned());
        let id = submission.id;
        let answer = kit.client.submit(vec![submission]).await.unwrap().remove(0);
        let is_full = matches!(answer, Err(BrokerError::Overloaded { .. }));
        if !is_full {
            kit.client.cancel(id).await.unwrap();
        }
        is_full
    };
    assert!(overloaded(FROM).await && !overloaded(TO).await);
    move_queued(&kit, FROM, TO).await;
    move_these(&kit, (FROM, TO), &[later]).await;
    assert!(!overloaded(FROM).await && overloaded(TO).await);
    // What was accepted enters a full queue.
    let more = kit.submit_many(2).await;
    assert_eq!(move_these(&kit, (FROM, TO), &more[..1]).await, 1);
    assert_eq!(move_queued(&kit, FROM, TO).await, 1);
    assert_eq!(waits(&kit, TO).await, (4, 1, 0));
    assert!(take(&kit, TO).await.is_empty());
}

pub(crate) async fn a_queue_is_forgotten_when_nothing_is_in_it(kit: Kit) {
    let id = kit.submit_to("old").await;
    assert!(!kit.client.forget_queue("old").await.unwrap());
    move_these(&kit, ("old", TO), &[id]).await;
    move_queued(&kit, "old", TO).await;
    assert!(kit.client.forget_queue("old").await.unwrap());
    let queues = kit.client.queues().await.unwrap();
    assert!(queues.iter().all(|queue| queue.queue != "old"));
    assert!(kit.client.forget_queue("old").await.unwrap(), "again");
    // Whoever hands in to it makes it a queue again.
    let again = kit.submit_to("old").await;
    assert_eq!(waits(&kit, "old").await.0, 1);
    assert_eq!(take_ids(&kit, "old").await, [again]);
    for (from, to) in [("old", "old"), ("No", "old"), ("old", "celeriac")] {
        let refused = kit.client.move_queued(from, to, None).await;
        assert!(matches!(refused, Err(BrokerError::Invalid { .. })), "{to}");
    }
    let many = vec![id; 251];
    let refused = kit.client.move_these("old", TO, &many, false).await;
    assert!(matches!(refused, Err(BrokerError::Invalid { .. })));
}

/// However they come, go, come back, are held back, cancelled and moved to and fro: each runs once, and nothing is left.
pub(crate) async fn nothing_is_lost_or_doubled_by_moves(kit: Kit) {
    let limit = Limit {
        concurrency: Some(2),
        ..Limit::default()
    };
    let scope = "key:*".parse().unwrap();
    kit.client.set_limit(&scope, Some(&limit)).await.unwrap();
    let queues = [FROM, TO];
    for seed in 0..100 {
        let mut dice = Dice(seed);
        let (mut waiting, mut held) = (Vec::new(), Vec::<Reserved>::new());
        for _ in 0..24 {
            let (from, to) = match dice.roll(2) {
                0 => (FROM, TO),
                _ => (TO, FROM),
            };
            match dice.roll(9) {
                0 if !held.is_empty() => {
                    let taken = held.swap_remove(dice.roll(held.len()));
                    kit.succeed(&taken.lease).await;
                }
                1 if !held.is_empty() => {
                    let taken = held.swap_remove(dice.roll(held.len()));
                    kit.send_back(&taken, dice.roll(2) == 0).await;
                    waiting.push(taken.lease.id);
                }
                2 if !waiting.is_empty() => {
                    let id = waiting.swap_remove(dice.roll(waiting.len()));
                    kit.client.cancel(id).await.unwrap();
                }
                3 => {
                    let asked = Reserve {
                        queues: vec![from.to_owned()],
                        wait: Duration::ZERO,
                        max: 1 + dice.roll(3),
                        ..request()
                    };
                    for taken in kit.host.reserve(&asked).await.unwrap() {
                        let before = waiting.len();
                        waiting.retain(|id| *id != taken.lease.id);
                        assert_eq!(waiting.len() + 1, before, "seed {seed}: taken twice");
                        held.push(taken);
                    }
                }
                4 => drop(kit.client.move_queued(from, to, None).await.unwrap()),
                5 if !waiting.is_empty() => {
                    let some = [0, 1].map(|_| waiting[dice.roll(waiting.len())]);
                    let with_running = dice.roll(2) == 0;
                    kit.client
                        .move_these(from, to, &some, with_running)
                        .await
                        .unwrap();
                }
                _ => {
                    let mut submission = kit.submission("text/run");
                    let options = &mut submission.options;
                    options.queue = Some(from.to_owned());
                    options.priority = Some(Priority::ALL[dice.roll(3)]);
                    options.fairness_key = (dice.roll(2) == 0).then(|| "f".to_owned());
                    options.concurrency_key = (dice.roll(2) == 0).then(|| "k".to_owned());
                    waiting.push(kit.accept(submission).await);
                }
            }
        }
        // Everything that is left runs, each once.
        let begun = std::time::Instant::now();
        while !(held.is_empty() && waiting.is_empty()) {
            let is_late = begun.elapsed() > super::kit::LONG;
            assert!(!is_late, "seed {seed}: {waiting:?} never run");
            for taken in held.drain(..) {
                kit.succeed(&taken.lease).await;
            }
            for queue in queues {
                for taken in take(&kit, queue).await {
                    let before = waiting.len();
                    waiting.retain(|id| *id != taken.lease.id);
                    assert_eq!(waiting.len() + 1, before, "seed {seed}: taken twice");
                    held.push(taken);
                }
            }
        }
        for queue in queues {
            assert!(take(&kit, queue).await.is_empty(), "seed {seed}");
            assert_eq!(waits(&kit, queue).await, (0, 0, 0), "seed {seed}");
        }
        assert_eq!(kit.store.ordered().await, 0, "seed {seed}");
    }
}
