//! What goes first: bands, keys in turn, queues in proportion.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use celeriac_broker::{
    After, BrokerError, CancelResult, InvocationId, On, Options, Priority, Reserve, Reserved,
    SYSTEM_QUEUE, State, Submission,
};

use super::kit::{AGEING, Handle, Kit, SHORT_LEASE, eventually, request, within};

fn with(kit: &Kit, priority: Priority, key: Option<&str>) -> Submission {
    let mut submission = kit.submission("text/run");
    submission.options = Options {
        priority: Some(priority),
        fairness_key: key.map(str::to_owned),
        ..Options::default()
    };
    submission
}

async fn put(kit: &Kit, priority: Priority) -> InvocationId {
    kit.accept(with(kit, priority, None)).await
}

async fn put_for(kit: &Kit, key: &str) -> InvocationId {
    kit.accept(with(kit, Priority::Normal, Some(key))).await
}

/// As many reserves of one as there is something to take, at most `most`.
async fn one_by_one(kit: &Kit, most: usize) -> Vec<InvocationId> {
    let request = Reserve {
        max: 1,
        wait: Duration::ZERO,
        ..request()
    };
    let mut taken = Vec::new();
    while taken.len() < most {
        match kit.host.reserve(&request).await.unwrap().pop() {
            Some(reserved) => taken.push(reserved.lease.id),
            None => break,
        }
    }
    taken
}

async fn queued(kit: &Kit) -> u64 {
    let queues = kit.client.queues().await.unwrap();
    let default = queues.iter().find(|queue| queue.queue == "default");
    default.map_or(0, |queue| queue.queued)
}

pub(crate) async fn a_higher_band_goes_first_and_a_band_is_first_in_first_out(kit: Kit) {
    let mut waiting: [Vec<InvocationId>; 3] = Default::default();
    for _ in 0..4 {
        for (band, priority) in Priority::ALL.into_iter().enumerate().rev() {
            waiting[band].push(put(&kit, priority).await);
        }
    }
    assert_eq!(queued(&kit).await, 12);
    let mut taken = one_by_one(&kit, 2).await;
    // A high one that comes late overtakes what was there.
    let late = put(&kit, Priority::High).await;
    waiting[0].push(late);
    taken.extend(kit.take_all().await);
    assert_eq!(taken, waiting.concat());
    assert_eq!((queued(&kit).await, kit.store.ordered().await), (0, 0));
}

pub(crate) async fn what_has_aged_in_a_lower_band_gets_each_fourth_place(kit: Kit) {
    let low = [
        put(&kit, Priority::Low).await,
        put(&kit, Priority::Low).await,
    ];
    eventually(async || {
        let queues = kit.client.queues().await.unwrap();
        queues
            .iter()
            .any(|queue| queue.oldest_ms > AGEING.as_millis() as u64 + 50)
    })
    .await;
    let mut high = VecDeque::new();
    for _ in 0..12 {
        high.push_back(put(&kit, Priority::High).await);
    }
    let taken = one_by_one(&kit, 14).await;
    let places: Vec<_> = low
        .iter()
        .map(|id| taken.iter().position(|other| other == id))
        .collect();
    assert_eq!(places, [Some(3), Some(7)], "each fourth place");
    let rest: Vec<_> = taken.into_iter().filter(|id| !low.contains(id)).collect();
    assert_eq!(rest, high.make_contiguous());
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn keys_are_served_in_turn(kit: Kit) {
    let mut a = VecDeque::new();
    for _ in 0..5 {
        a.push_back(put_for(&kit, "a").await);
    }
    let b = [put_for(&kit, "b").await, put_for(&kit, "b").await];
    // What has no key has a turn of its own.
    let plain = kit.submit().await;
    assert_eq!(queued(&kit).await, 8);
    let expected = [a[0], b[0], plain, a[1], b[1], a[2], a[3], a[4]];
    let mut taken = one_by_one(&kit, 3).await;
    assert_eq!(queued(&kit).await, 5);
    taken.extend(kit.take_all().await);
    assert_eq!(taken, expected);
    assert_eq!((queued(&kit).await, kit.store.ordered().await), (0, 0));
}

pub(crate) async fn a_million_of_one_key_do_not_delay_another(kit: Kit) {
    for _ in 0..4 {
        let batch = (0..500).map(|_| with(&kit, Priority::Normal, Some("many")));
        let answers = kit.client.submit(batch.collect()).await.unwrap();
        answers
            .into_iter()
            .for_each(|answer| assert!(answer.is_ok(), "{answer:?}"));
    }
    let one = put_for(&kit, "one").await;
    assert!(one_by_one(&kit, 2).await.contains(&one));
    let mut rest = HashSet::new();
    loop {
        let taken = kit.take_all().await;
        if taken.is_empty() {
            break;
        }
        rest.extend(taken);
    }
    assert_eq!((rest.len(), kit.store.ordered().await), (1999, 0));
}

pub(crate) async fn what_comes_back_goes_first_in_its_band_and_key(kit: Kit) {
    let high = [
        put(&kit, Priority::High).await,
        put(&kit, Priority::High).await,
    ];
    let own = [put_for(&kit, "own").await, put_for(&kit, "own").await];
    let request = Reserve {
        max: 3,
        ..request()
    };
    let taken = kit.host.reserve(&request).await.unwrap();
    let leases: Vec<_> = taken.into_iter().map(|taken| taken.lease).collect();
    assert_eq!(
        leases.iter().map(|lease| lease.id).collect::<Vec<_>>(),
        [high[0], high[1], own[0]]
    );
    kit.host.release(&leases).await.unwrap();
    assert_eq!(one_by_one(&kit, 1).await, [high[0]]);
    // A host dies with the next one.
    let taken = kit.take_for(SHORT_LEASE).await;
    assert_eq!(taken.lease.id, high[1]);
    let elsewhere = Reserve {
        queues: vec!["elsewhere".to_owned()],
        wait: Duration::ZERO,
        ..super::kit::request()
    };
    eventually(async || {
        assert!(kit.host.reserve(&elsewhere).await.unwrap().is_empty());
        kit.client.status(high[1]).await.unwrap().state == State::Queued
    })
    .await;
    assert_eq!(one_by_one(&kit, 9).await, [high[1], own[0], own[1]]);
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn what_is_due_enters_its_band(kit: Kit) {
    let mut later = with(&kit, Priority::High, Some("a"));
    later.options.start = Some(Duration::from_millis(50).into());
    let later = kit.accept(later).await;
    let low = put(&kit, Priority::Low).await;
    // Only a host that reserves keeps time.
    let idle = Reserve {
        queues: vec!["elsewhere".to_owned()],
        wait: Duration::ZERO,
        ..request()
    };
    kit.host.reserve(&idle).await.unwrap();
    eventually(async || kit.client.status(later).await.unwrap().state == State::Queued).await;
    assert_eq!(one_by_one(&kit, 9).await, [later, low]);
    assert_eq!(kit.store.ordered().await, 0);
}

pub(crate) async fn what_is_cancelled_leaves_no_hole(kit: Kit) {
    let gone = [
        put(&kit, Priority::High).await,
        put(&kit, Priority::Low).await,
        put_for(&kit, "a").await,
        put_for(&kit, "b").await,
    ];
    let stays = put_for(&kit, "b").await;
    for id in gone {
        assert_eq!(
            kit.client.cancel(id).await.unwrap(),
            CancelResult::Cancelled
        );
    }
    assert_eq!(queued(&kit).await, 1);
    // A key that has been emptied begins anew.
    let again = put_for(&kit, "a").await;
    let mut taken = one_by_one(&kit, 9).await;
    taken.sort();
    let mut expected = [stays, again];
    expected.sort();
    assert_eq!(taken, expected);
    assert_eq!((queued(&kit).await, kit.store.ordered().await), (0, 0));
}

pub(crate) async fn what_an_end_lets_go_into_another_band_is_found(kit: Kit) {
    // One call takes the last of the high band, quarantines another one, and lets go what waits for the end of that.
    let culprit = put(&kit, Priority::High).await;
    for _ in 0..3 {
        assert_eq!(kit.take_for(SHORT_LEASE).await.lease.id, culprit);
    }
    let victim = put(&kit, Priority::High).await;
    assert_eq!(kit.take_for(SHORT_LEASE).await.lease.id, victim);
    let mut follows = with(&kit, Priority::High, None);
    follows.options.after = vec![After {
        id: culprit,
        on: On::Done,
    }];
    let follows = kit.accept(follows).await;
    // Nobody looks until both leases have run out.
    tokio::time::sleep(2 * SHORT_LEASE).await;
    let mut found = Vec::new();
    eventually(async || {
        found.extend(kit.take_all().await);
        found.len() == 2
    })
    .await;
    assert_eq!(found, [victim, follows]);
}

pub(crate) async fn quotas_share_and_leave_nothing_unused(kit: Kit) {
    for _ in 0..6 {
        kit.submit_to("urgent").await;
    }
    for _ in 0..8 {
        kit.submit_to("default").await;
    }
    let take = async || {
        let request = Reserve {
            queues: [SYSTEM_QUEUE, "urgent", "default"]
                .map(str::to_owned)
                .to_vec(),
            quotas: vec![6, 4, 2],
            max: 6,
            wait: Duration::ZERO,
            ..request()
        };
        let mut counts: HashMap<String, usize> = HashMap::new();
        for Reserved { lease, .. } in kit.host.reserve(&request).await.unwrap() {
            let queue = kit.client.status(lease.id).await.unwrap().queue;
            *counts.entry(queue).or_default() += 1;
        }
        ["urgent", "default"].map(|queue| counts.get(queue).copied().unwrap_or(0))
    };
    assert_eq!(take().await, [4, 2]);
    // Two are all that is left of the one: the other takes its place.
    assert_eq!(take().await, [2, 4]);
    assert_eq!(take().await, [0, 2]);
    assert_eq!(take().await, [0, 0]);
}

pub(crate) async fn a_host_that_waits_hears_of_every_band(kit: Kit) {
    for (priority, key) in [
        (Priority::High, None),
        (Priority::Low, Some("a")),
        (Priority::Normal, Some("a")),
    ] {
        let host = std::sync::Arc::clone(&kit.host);
        let waiting = tokio::spawn(async move { host.reserve(&request()).await.unwrap() });
        let id = kit.accept(with(&kit, priority, key)).await;
        let taken = within(waiting).await.unwrap();
        assert_eq!(
            taken.iter().map(|taken| taken.lease.id).collect::<Vec<_>>(),
            [id]
        );
    }
}

/// The next of a sequence that looks random; the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// One store, many rounds: whatever happens, each invocation is handed out once more than it was given back, those of a
/// band and a key in their order, and nothing is left in the end.
pub(crate) async fn random_orders_lose_nothing_and_leave_nothing_behind(kit: Kit) {
    const ROUNDS: u64 = 150;
    for seed in 0..ROUNDS {
        let mut dice = Dice(seed);
        // In the order of each lane; what comes back stands first.
        let mut lanes: HashMap<(usize, usize), VecDeque<InvocationId>> = HashMap::new();
        let mut held: Vec<(Reserved, (usize, usize))> = Vec::new();
        for _ in 0..20 {
            match dice.roll(6) {
                0..=2 => {
                    let of = (dice.roll(3), dice.roll(4));
                    let key = ["", "a", "b", "c"][of.1];
                    let key = Some(key).filter(|key| !key.is_empty());
                    let id = kit.accept(with(&kit, Priority::ALL[of.0], key)).await;
                    lanes.entry(of).or_default().push_back(id);
                }
                3 => held.extend(take_some(&kit.host, 1 + dice.roll(3), &mut lanes, seed).await),
                4 if !held.is_empty() => {
                    let (back, of) = held.swap_remove(dice.roll(held.len()));
                    kit.host
                        .release(std::slice::from_ref(&back.lease))
                        .await
                        .unwrap();
                    lanes.get_mut(&of).unwrap().push_front(back.lease.id);
                }
                _ => {
                    let of = (dice.roll(3), dice.roll(4));
                    let lane = lanes.entry(of).or_default();
                    if !lane.is_empty() {
                        let id = lane.remove(dice.roll(lane.len())).unwrap();
                        kit.client.cancel(id).await.unwrap();
                    }
                }
            }
            let waiting: usize = lanes.values().map(VecDeque::len).sum();
            assert_eq!(queued(&kit).await, waiting as u64, "seed {seed}");
        }
        held.extend(take_some(&kit.host, 1000, &mut lanes, seed).await);
        assert!(
            lanes.values().all(VecDeque::is_empty),
            "seed {seed}: {lanes:?}"
        );
        for (taken, _) in held {
            kit.succeed(&taken.lease).await;
        }
        assert_eq!(kit.store.ordered().await, 0, "seed {seed}");
    }
}

async fn take_some(
    host: &Handle,
    max: usize,
    lanes: &mut HashMap<(usize, usize), VecDeque<InvocationId>>,
    seed: u64,
) -> Vec<(Reserved, (usize, usize))> {
    let request = Reserve {
        max,
        wait: Duration::ZERO,
        ..request()
    };
    let mut taken = Vec::new();
    for reserved in host.reserve(&request).await.unwrap() {
        let id = reserved.lease.id;
        let first = lanes.iter_mut().find(|(_, lane)| lane.front() == Some(&id));
        let (of, lane) =
            first.unwrap_or_else(|| panic!("seed {seed}: {id} is not the first of a lane"));
        lane.pop_front();
        taken.push((reserved, *of));
    }
    taken
}

pub(crate) async fn refuses_keys_that_are_no_words(kit: Kit) {
    let bad = with(&kit, Priority::Normal, Some("two words"));
    let answer = kit.client.submit(vec![bad]).await.unwrap().pop().unwrap();
    assert!(
        matches!(
            answer,
            Err(BrokerError::Invalid {
                what: "fairness key",
                ..
            })
        ),
        "{answer:?}"
    );
}
