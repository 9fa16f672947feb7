//! Limits that hold across all hosts: on what runs at once, and on what starts in a time.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use celeriac_broker::{
    BrokerError, InvocationId, Limit, LimitScope, Options, Priority, Rate, Reserve, Reserved,
    SYSTEM_QUEUE, State, Submission,
};

use super::{
    kit::{Handle, Kit, LONG, SHORT_LEASE, eventually, request, retry, within},
    ordering::Dice,
};

async fn limit(kit: &Kit, scope: &str, concurrency: u32) {
    let limit = Limit {
        concurrency: Some(concurrency),
        ..Limit::default()
    };
    kit.client
        .set_limit(&scope.parse().unwrap(), Some(&limit))
        .await
        .unwrap();
}

async fn rate(kit: &Kit, scope: &str, (count, per_ms): (u32, u64), burst: Option<u32>) {
    let limit = Limit {
        rate: Some(Rate { count, per_ms }),
        burst,
        ..Limit::default()
    };
    kit.client
        .set_limit(&scope.parse().unwrap(), Some(&limit))
        .await
        .unwrap();
}

async fn running(kit: &Kit, scope: &str) -> u64 {
    let scope: LimitScope = scope.parse().unwrap();
    let limits = kit.client.limits().await.unwrap();
    limits
        .iter()
        .find(|limited| limited.scope == scope)
        .map_or(0, |limited| limited.running)
}

fn keyed(kit: &Kit, key: &str) -> Submission {
    let mut submission = kit.submission("text/run");
    submission.options.concurrency_key = Some(key.to_owned());
    submission
}

/// Everything that may be taken now, without waiting.
async fn take(broker: &Handle, max: usize) -> Vec<Reserved> {
    let request = Reserve {
        queues: [SYSTEM_QUEUE, "default", "other"]
            .map(str::to_owned)
            .to_vec(),
        wait: Duration::ZERO,
        max,
        ..request()
    };
    broker.reserve(&request).await.unwrap()
}

fn ids(taken: &[Reserved]) -> Vec<InvocationId> {
    taken.iter().map(|taken| taken.lease.id).collect()
}

pub(crate) async fn a_queue_runs_so_many_at_once(kit: Kit) {
    limit(&kit, "queue:default", 2).await;
    let ids_in = kit.submit_many(5).await;
    let elsewhere = kit.submit_to("other").await;
    let other = kit.store.open().await;
    let first = take(&kit.host, 1).await;
    let second = take(&other, 100).await;
    assert_eq!(ids(&first), ids_in[..1]);
    assert_eq!(
        ids(&second),
        [ids_in[1], elsewhere],
        "another queue is not held back"
    );
    assert!(take(&kit.host, 100).await.is_empty());
    assert_eq!(running(&kit, "queue:default").await, 2);
    kit.succeed(&first[0].lease).await;
    assert_eq!(ids(&take(&kit.host, 100).await), ids_in[2..3]);
    // Given back without an attempt, and scheduled for another one.
    kit.host
        .release(std::slice::from_ref(&second[0].lease))
        .await
        .unwrap();
    let again = take(&kit.host, 100).await;
    assert_eq!(ids(&again), ids_in[1..2]);
    kit.host
        .settle(vec![retry(&again[0], Duration::from_secs(3600))])
        .await
        .unwrap();
    assert_eq!(ids(&take(&kit.host, 100).await), ids_in[3..4]);
}

pub(crate) async fn a_task_runs_so_many_at_once_and_holds_up_no_other(kit: Kit) {
    limit(&kit, "task:text/run", 1).await;
    let mut run = kit.submit_many(3).await;
    run.push(kit.submit_to("other").await);
    let mut free = kit.submission("text/slow");
    free.options.queue = Some("default".to_owned());
    let free = kit.accept(free).await;
    let taken = take(&kit.host, 100).await;
    assert_eq!(ids(&taken), [run[0], free]);
    assert!(take(&kit.host, 100).await.is_empty());
    // What is held back counts as queued, in its queue.
    let queues = kit.client.queues().await.unwrap();
    let queued = |name: &str| {
        queues
            .iter()
            .find(|queue| queue.queue == name)
            .map(|queue| queue.queued)
    };
    assert_eq!((queued("default"), queued("other")), (Some(2), Some(1)));
    let mut lease = taken[0].lease.clone();
    let mut rest = HashSet::new();
    for _ in 0..3 {
        kit.succeed(&lease).await;
        let next = take(&kit.host, 100).await;
        assert_eq!(next.len(), 1);
        rest.insert(next[0].lease.id);
        lease = next[0].lease.clone();
    }
    assert_eq!(rest, run[1..].iter().copied().collect());
    kit.succeed(&lease).await;
    assert_eq!(
        (
            running(&kit, "task:text/run").await,
            kit.store.ordered().await
        ),
        (0, 0)
    );
}

pub(crate) async fn each_key_runs_so_many_at_once_and_one_may_differ(kit: Kit) {
    limit(&kit, "key:*", 1).await;
    limit(&kit, "key:big", 2).await;
    let mut expected = Vec::new();
    for key in ["a", "a", "b", "big", "big", "big"] {
        expected.push(kit.accept(keyed(&kit, key)).await);
    }
    let plain = kit.submit().await;
    let taken = take(&kit.host, 100).await;
    assert_eq!(
        ids(&taken),
        [expected[0], expected[2], expected[3], expected[4], plain]
    );
    kit.succeed(&taken[0].lease).await;
    assert_eq!(ids(&take(&kit.host, 100).await), [expected[1]]);
    kit.succeed(&taken[2].lease).await;
    assert_eq!(ids(&take(&kit.host, 100).await), [expected[5]]);
}

pub(crate) async fn a_host_that_waits_is_woken_when_there_is_room(kit: Kit) {
    for scope in ["queue:default", "task:text/run", "key:a"] {
        limit(&kit, scope, 1).await;
        let first = kit.accept(keyed(&kit, "a")).await;
        let second = kit.accept(keyed(&kit, "a")).await;
        let taken = take(&kit.host, 100).await;
        assert_eq!(ids(&taken), [first], "{scope}");
        let host = Arc::clone(&kit.host);
        let waiting = tokio::spawn(async move { host.reserve(&request()).await.unwrap() });
        let other = kit.store.open().await;
        other
            .settle(vec![celeriac_broker::Settlement::end(
                taken[0].lease.clone(),
                super::kit::success("x"),
            )])
            .await
            .unwrap();
        let mut next = within(waiting).await.unwrap();
        while next.is_empty() {
            next = kit.host.reserve(&request()).await.unwrap();
        }
        assert_eq!(ids(&next), [second], "{scope}");
        kit.succeed(&next[0].lease).await;
        kit.client
            .set_limit(&scope.parse().unwrap(), None)
            .await
            .unwrap();
    }
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn a_dead_host_gives_back_what_it_held(kit: Kit) {
    limit(&kit, "queue:default", 2).await;
    limit(&kit, "key:a", 1).await;
    let first = kit.accept(keyed(&kit, "a")).await;
    let second = kit.accept(keyed(&kit, "a")).await;
    let taken = kit.take_for(SHORT_LEASE).await;
    assert_eq!(taken.lease.id, first);
    let begun = Instant::now();
    let again = loop {
        let again = take(&kit.host, 100).await;
        if !again.is_empty() {
            break again;
        }
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(ids(&again), [first], "it goes first, and is counted once");
    assert_eq!(
        (
            running(&kit, "key:a").await,
            running(&kit, "queue:default").await
        ),
        (1, 1)
    );
    // The dead host comes back: what it says frees nothing.
    kit.succeed(&taken.lease).await;
    assert!(take(&kit.host, 100).await.is_empty());
    kit.succeed(&again[0].lease).await;
    assert_eq!(ids(&take(&kit.host, 100).await), [second]);
}

pub(crate) async fn survives_the_end_of_every_process(mut kit: Kit) {
    limit(&kit, "task:text/run", 1).await;
    let waiting = kit.submit_many(3).await;
    let taken = take(&kit.host, 100).await;
    kit.host = kit.store.open().await;
    kit.client = kit.store.open().await;
    assert!(take(&kit.host, 100).await.is_empty());
    kit.succeed(&taken[0].lease).await;
    assert_eq!(ids(&take(&kit.host, 100).await), waiting[1..2]);
}

pub(crate) async fn what_is_cancelled_or_expires_while_it_is_held_back_blocks_nobody(kit: Kit) {
    limit(&kit, "task:text/run", 1).await;
    let first = kit.submit().await;
    let cancelled = [kit.submit().await, kit.submit().await];
    let mut short = kit.submission("text/run");
    short.options.expires = Some(Duration::from_millis(50).into());
    let short = kit.accept(short).await;
    let last = kit.submit().await;
    let taken = take(&kit.host, 100).await;
    assert_eq!(ids(&taken), [first]);
    kit.client.cancel(cancelled[0]).await.unwrap();
    eventually(async || kit.client.status(short).await.unwrap().state == State::Expired).await;
    kit.succeed(&taken[0].lease).await;
    // Let go already, and cancelled then.
    kit.client.cancel(cancelled[1]).await.unwrap();
    let next = kit.reserve_until_some(request()).await;
    assert_eq!(ids(&next), [last]);
    kit.succeed(&next[0].lease).await;
    assert_eq!(
        (
            running(&kit, "task:text/run").await,
            kit.store.ordered().await
        ),
        (0, 0)
    );
}

pub(crate) async fn a_limit_that_is_raised_or_removed_lets_go_at_once(kit: Kit) {
    limit(&kit, "task:text/run", 1).await;
    kit.submit_many(10).await;
    assert_eq!(take(&kit.host, 100).await.len(), 1);
    limit(&kit, "task:text/run", 4).await;
    assert_eq!(take(&kit.host, 100).await.len(), 3);
    kit.client
        .set_limit(&"task:text/run".parse().unwrap(), None)
        .await
        .unwrap();
    assert_eq!(take(&kit.host, 100).await.len(), 6);
    assert_eq!(kit.store.ordered().await, 0);
    limit(&kit, "key:*", 1).await;
    for _ in 0..5 {
        kit.accept(keyed(&kit, "a")).await;
    }
    assert_eq!(take(&kit.host, 100).await.len(), 1);
    kit.client
        .set_limit(&LimitScope::EachKey, None)
        .await
        .unwrap();
    assert_eq!(take(&kit.host, 100).await.len(), 4);
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn what_is_held_back_in_many_queues_goes_on_in_all_of_them(kit: Kit) {
    rate(&kit, "task:text/run", (1, 3_600_000), None).await;
    let queues: Vec<_> = (0..250).map(|number| format!("q{number}")).collect();
    for queue in &queues {
        kit.submit_to(queue).await;
    }
    let request = Reserve {
        queues,
        wait: Duration::ZERO,
        max: 1_000,
        ..request()
    };
    assert_eq!(kit.host.reserve(&request).await.unwrap().len(), 1);
    kit.client
        .set_limit(&"task:text/run".parse().unwrap(), None)
        .await
        .unwrap();
    let left = tokio::sync::Mutex::new(249);
    eventually(async || {
        let mut left = left.lock().await;
        *left -= kit.host.reserve(&request).await.unwrap().len();
        *left == 0
    })
    .await;
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn what_is_held_back_counts_for_the_age_of_the_oldest(kit: Kit) {
    limit(&kit, "task:text/run", 1).await;
    kit.submit_many(4).await;
    let oldest = async || {
        let queues = kit.client.queues().await.unwrap();
        let default = queues.iter().find(|queue| queue.queue == "default");
        default.map_or(0, |queue| queue.oldest_ms)
    };
    // All others are held back; then one of them has been let go.
    let first = take(&kit.host, 100).await;
    assert_eq!(first.len(), 1);
    eventually(async || oldest().await > 0).await;
    kit.succeed(&first[0].lease).await;
    eventually(async || oldest().await > 0).await;
}

pub(crate) async fn bands_and_keys_hold_among_those_that_are_held_back(kit: Kit) {
    limit(&kit, "task:text/run", 1).await;
    let first = kit.submit().await;
    let make = |priority, key: Option<&str>| {
        let mut submission = kit.submission("text/run");
        submission.options = Options {
            priority: Some(priority),
            fairness_key: key.map(str::to_owned),
            ..Options::default()
        };
        submission
    };
    let mut a = Vec::new();
    for _ in 0..3 {
        a.push(kit.accept(make(Priority::Normal, Some("a"))).await);
    }
    let b = kit.accept(make(Priority::Normal, Some("b"))).await;
    let mut taken = take(&kit.host, 100).await;
    assert_eq!(ids(&taken), [first]);
    let high = kit.accept(make(Priority::High, None)).await;
    assert!(take(&kit.host, 100).await.is_empty());
    let mut order = Vec::new();
    while let Some(running) = taken.pop() {
        kit.succeed(&running.lease).await;
        taken = take(&kit.host, 100).await;
        order.extend(ids(&taken));
    }
    let place = |id: InvocationId| order.iter().position(|other| *other == id).unwrap();
    assert_eq!((order.len(), place(high)), (5, 0), "{order:?}");
    assert!(place(b) <= 2, "keys in turn: {order:?}");
    assert!(
        place(a[0]) < place(a[1]) && place(a[1]) < place(a[2]),
        "{order:?}"
    );
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn a_rate_lets_so_many_start_and_goes_on_by_itself(kit: Kit) {
    for scope in ["queue:default", "task:text/run", "key:a"] {
        rate(&kit, scope, (20, 1000), Some(3)).await;
        for _ in 0..9 {
            kit.accept(keyed(&kit, "a")).await;
        }
        let begun = Instant::now();
        let first = take(&kit.host, 100).await;
        // What the rate allows while this test goes on comes on top.
        let most = 3 + (begun.elapsed().as_millis() as usize + 100) / 50;
        assert!(
            (3..=most).contains(&first.len()),
            "{scope}: {}",
            first.len()
        );
        let mut all = first;
        while all.len() < 9 {
            all.extend(kit.reserve_until_some(request()).await);
        }
        let least = Duration::from_millis(50 * 6 - 60);
        assert!(begun.elapsed() >= least, "{scope}: {:?}", begun.elapsed());
        for taken in all {
            kit.succeed(&taken.lease).await;
        }
        kit.client
            .set_limit(&scope.parse().unwrap(), None)
            .await
            .unwrap();
    }
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn refuses_limits_that_make_no_sense(kit: Kit) {
    let nonsense = [
        (
            "queue:a",
            Limit {
                concurrency: Some(0),
                ..Limit::default()
            },
        ),
        (
            "key:*",
            Limit {
                max_queue: Some(1),
                ..Limit::default()
            },
        ),
        (
            "queue:a",
            Limit {
                burst: Some(1),
                ..Limit::default()
            },
        ),
    ];
    for (scope, limit) in nonsense {
        let refused = kit
            .client
            .set_limit(&scope.parse().unwrap(), Some(&limit))
            .await;
        assert!(
            matches!(refused, Err(BrokerError::Invalid { .. })),
            "{scope}: {refused:?}"
        );
    }
    assert!(kit.client.limits().await.unwrap().is_empty());
}

/// What runs, by the scopes that it counts against.
#[derive(Default)]
struct Running(HashMap<String, usize>);

impl Running {
    fn add(&mut self, scopes: &[String], seed: u64) {
        for scope in scopes {
            let running = self.0.entry(scope.clone()).or_default();
            *running += 1;
            let most = if scope.starts_with("queue") { 4 } else { 2 };
            assert!(*running <= most, "seed {seed}: {running} run in {scope}");
        }
    }

    fn remove(&mut self, scopes: &[String]) {
        for scope in scopes {
            *self.0.get_mut(scope).unwrap() -= 1;
        }
    }
}

/// However they come, go, come back and are cancelled, on several hosts: no limit is exceeded, what may run does run, and
/// nothing is left in the end.
pub(crate) async fn counts_never_exceed_and_never_leak(kit: Kit) {
    let scopes = ["queue:default", "task:text/run", "key:*"];
    limit(&kit, scopes[0], 4).await;
    limit(&kit, scopes[1], 2).await;
    limit(&kit, scopes[2], 2).await;
    let hosts = [Arc::clone(&kit.host), kit.store.open().await];
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut counted: HashMap<InvocationId, Vec<String>> = HashMap::new();
        let (mut waiting, mut held, mut count) =
            (Vec::new(), Vec::<Reserved>::new(), Running::default());
        for step in 0..24 {
            match dice.roll(if step < 18 { 7 } else { 5 }) {
                0 if !held.is_empty() => {
                    let taken = held.swap_remove(dice.roll(held.len()));
                    count.remove(&counted[&taken.lease.id]);
                    kit.succeed(&taken.lease).await;
                }
                1 if !held.is_empty() => {
                    let taken = held.swap_remove(dice.roll(held.len()));
                    count.remove(&counted[&taken.lease.id]);
                    kit.send_back(&taken, dice.roll(2) == 0).await;
                    waiting.push(taken.lease.id);
                }
                2 if !waiting.is_empty() => {
                    let id = waiting.swap_remove(dice.roll(waiting.len()));
                    kit.client.cancel(id).await.unwrap();
                }
                3 | 4 => {
                    for taken in take(&hosts[dice.roll(2)], 1 + dice.roll(4)).await {
                        waiting.retain(|id| *id != taken.lease.id);
                        count.add(&counted[&taken.lease.id], seed);
                        held.push(taken);
                    }
                }
                _ => {
                    let (task, key) = (["run", "slow"][dice.roll(2)], ["", "a", "b"][dice.roll(3)]);
                    let queue = ["default", "other"][dice.roll(2)];
                    let mut submission = kit.submission(&format!("text/{task}"));
                    submission.options = Options {
                        queue: Some(queue.to_owned()),
                        priority: Some(Priority::ALL[dice.roll(3)]),
                        fairness_key: (dice.roll(2) == 0).then(|| "f".to_owned()),
                        concurrency_key: Some(key.to_owned()).filter(|key| !key.is_empty()),
                        ..Options::default()
                    };
                    let mut scopes = Vec::new();
                    scopes.extend((queue == "default").then(|| "queue:default".to_owned()));
                    scopes.extend((task == "run").then(|| "task:text/run".to_owned()));
                    scopes.extend((!key.is_empty()).then(|| format!("key:{key}")));
                    let id = kit.accept(submission).await;
                    counted.insert(id, scopes);
                    waiting.push(id);
                }
            }
        }
        // Everything that is left runs: nothing was held back for ever.
        let begun = Instant::now();
        while !(held.is_empty() && waiting.is_empty()) {
            assert!(begun.elapsed() < LONG, "seed {seed}: {waiting:?} never run");
            for taken in held.drain(..) {
                count.remove(&counted[&taken.lease.id]);
                kit.succeed(&taken.lease).await;
            }
            for taken in take(&hosts[0], 100).await {
                waiting.retain(|id| *id != taken.lease.id);
                count.add(&counted[&taken.lease.id], seed);
                held.push(taken);
            }
        }
        for scope in &scopes[..2] {
            assert_eq!(running(&kit, scope).await, 0, "seed {seed}");
        }
        take(&hosts[0], 100).await;
        assert_eq!(
            kit.store.ordered().await,
            limited_marks(&kit).await,
            "seed {seed}"
        );
    }
}

/// What a store keeps for the order while nothing waits and a queue has a limit.
async fn limited_marks(kit: &Kit) -> usize {
    match kit.client.address().starts_with("redis") {
        true => 1,
        false => 0,
    }
}
