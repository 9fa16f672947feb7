//! Schedules: every time is fired once, by whichever host comes first, as their policies say.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use celeriac_broker::{
    BrokerError, CatchUp, InvocationId, Options, Overlap, Payload, Put, Reserve, Run, RunResult,
    Schedule, State, Timing, When,
};

use super::kit::{Handle, Kit, LONG, SHORT_LEASE, eventually, publish, request, within};

/// The interval of most cases.
pub(super) const BEAT: Duration = Duration::from_millis(150);

pub(super) fn every(interval: Duration) -> Schedule {
    Schedule {
        name: "beat".to_owned(),
        task: "text/run".parse().unwrap(),
        input: Payload::json_text("[1]"),
        options: Options::default(),
        timing: Timing::every(interval).unwrap(),
        catch_up: CatchUp::One,
        overlap: Overlap::Allow,
    }
}

/// One that does not come within any case.
pub(super) fn yearly() -> Schedule {
    Schedule {
        timing: Timing::cron("0 0 1 1 *", "Europe/Berlin").unwrap(),
        ..every(BEAT)
    }
}

pub(super) async fn put(kit: &Kit, schedule: &Schedule) -> Put {
    kit.client.put_schedule(schedule).await.unwrap()
}

pub(super) async fn runs(kit: &Kit) -> Vec<Run> {
    kit.client.schedule("beat").await.unwrap().runs
}

pub(super) fn fresh(kit: &Kit) -> InvocationId {
    kit.client.namespace().issue(0)
}

/// Asks for a run now.
pub(super) async fn run(kit: &Kit) -> InvocationId {
    let id = fresh(kit);
    kit.client.run_schedule("beat", id).await.unwrap();
    id
}

pub(super) fn count(runs: &[Run], result: RunResult) -> usize {
    runs.iter().filter(|run| run.result == result).count()
}

/// Has a handle do what falls due until it is dropped: reserves in a queue that stays empty.
pub(super) async fn tick(broker: &Handle) {
    let request = Reserve {
        queues: vec!["nobody".to_owned()],
        wait: Duration::ZERO,
        ..request()
    };
    broker.reserve(&request).await.unwrap();
}

/// The kit, without any process that does what falls due.
pub(super) async fn hostless(kit: Kit) -> Kit {
    let Kit {
        store,
        client,
        host,
        digest,
    } = kit;
    drop((client, host));
    Kit {
        client: store.open().await,
        host: store.open().await,
        store,
        digest,
    }
}

pub(crate) async fn fires_at_its_times_and_notes_what_it_did(kit: Kit) {
    tick(&kit.host).await;
    let mut schedule = every(BEAT);
    schedule.options.retries = Some(4);
    assert_eq!(put(&kit, &schedule).await, Put::Added);
    let record = kit.client.schedule("beat").await.unwrap();
    assert_eq!(record.schedule, schedule);
    let first = record.next_ms.unwrap();
    let mut taken = Vec::new();
    while taken.len() < 3 {
        taken.push(kit.take().await);
    }
    for (index, taken) in (0_u64..).zip(&taken) {
        // The id tells the time that it is for.
        assert_eq!(taken.lease.id.timestamp_ms(), first + index * 150);
        assert!(taken.reserved_at_ms >= first + index * 150);
        assert_eq!(&taken.input.data[..], b"[1]");
        assert_eq!(taken.header.options.retries, Some(4));
        assert_eq!(taken.header.options.schedule.as_deref(), Some("beat"));
        assert_eq!(taken.digest, Some(kit.digest));
    }
    let record = kit.client.schedule("beat").await.unwrap();
    let noted: Vec<_> = record.runs.iter().rev().take(3).collect();
    for (run, taken) in noted.into_iter().zip(&taken) {
        assert_eq!(run.id, Some(taken.lease.id));
        assert_eq!(run.at_ms, taken.lease.id.timestamp_ms());
        assert_eq!(run.result, RunResult::Fired);
    }
    let next = record.next_ms.unwrap();
    assert!((next - first).is_multiple_of(150) && next > record.runs[0].at_ms);
}

pub(crate) async fn many_hosts_fire_each_time_once(kit: Kit) {
    let mut hosts = Vec::new();
    for _ in 0..4 {
        let host = kit.store.open().await;
        tick(&host).await;
        hosts.push(host);
    }
    let mut schedule = every(Duration::from_millis(100));
    schedule.catch_up = CatchUp::All(100);
    put(&kit, &schedule).await;
    let first = kit.client.schedule("beat").await.unwrap().next_ms.unwrap();
    let mut ids = Vec::new();
    while ids.len() < 12 {
        ids.extend(
            kit.reserve_until_some(request())
                .await
                .into_iter()
                .map(|taken| taken.lease.id),
        );
        // A host goes, another comes: the one that leads among them.
        let host = kit.store.open().await;
        tick(&host).await;
        hosts.push(host);
        hosts.remove(0);
    }
    ids.sort_unstable();
    let times: Vec<_> = ids.iter().map(|id| id.timestamp_ms()).collect();
    let expected: Vec<_> = (0..ids.len() as u64).map(|n| first + n * 100).collect();
    assert_eq!(times, expected, "each time once, and none left out");
}

pub(crate) async fn times_without_a_host_are_caught_up_once(kit: Kit) {
    let kit = hostless(kit).await;
    put(&kit, &every(BEAT)).await;
    let first = kit.client.schedule("beat").await.unwrap().next_ms.unwrap();
    tokio::time::sleep(5 * BEAT).await;
    let taken = kit.take().await;
    let late = taken.lease.id.timestamp_ms();
    assert!(late >= first + 300, "{late} is the latest, not {first}");
    assert!(taken.reserved_at_ms >= late);
    let runs = runs(&kit).await;
    assert_eq!(runs.last().unwrap().at_ms, late, "{runs:?}");
}

pub(crate) async fn times_without_a_host_are_caught_up_one_by_one(kit: Kit) {
    let kit = hostless(kit).await;
    let mut schedule = every(BEAT);
    schedule.catch_up = CatchUp::All(3);
    put(&kit, &schedule).await;
    let first = kit.client.schedule("beat").await.unwrap().next_ms.unwrap();
    tokio::time::sleep(8 * BEAT).await;
    let mut times = Vec::new();
    while times.len() < 4 {
        times.push(kit.take().await.lease.id.timestamp_ms());
    }
    assert!(
        times[0] >= first + 450,
        "the latest three: {times:?}, {first}"
    );
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 150),
        "{times:?}"
    );
}

pub(crate) async fn a_time_is_left_out_while_an_earlier_run_goes_on(kit: Kit) {
    let mut schedule = every(BEAT);
    schedule.overlap = Overlap::Skip;
    put(&kit, &schedule).await;
    let taken = kit.take().await;
    eventually(async || count(&runs(&kit).await, RunResult::Overlapped) >= 2).await;
    assert_eq!(count(&runs(&kit).await, RunResult::Fired), 1);
    kit.succeed(&taken.lease).await;
    let next = kit.take().await;
    assert!(next.lease.id.timestamp_ms() > taken.lease.id.timestamp_ms() + 300);
    assert_eq!(count(&runs(&kit).await, RunResult::Fired), 2);
}

pub(crate) async fn one_time_waits_for_the_earlier_run(kit: Kit) {
    let mut schedule = every(BEAT);
    schedule.overlap = Overlap::QueueOne;
    put(&kit, &schedule).await;
    let first = kit.take().await;
    eventually(async || count(&runs(&kit).await, RunResult::Overlapped) >= 2).await;
    let record = kit.client.schedule("beat").await.unwrap();
    let waiting = record.waiting_ms.unwrap();
    assert_eq!(waiting, first.lease.id.timestamp_ms() + 150);
    assert_eq!(count(&record.runs, RunResult::Fired), 1);
    // No beat is needed: the end of the run lets it go. A retry is no end.
    put(
        &kit,
        &Schedule {
            timing: Timing::cron("0 0 1 1 *", "UTC").unwrap(),
            ..schedule.clone()
        },
    )
    .await;
    kit.take_all().await;
    let gone = kit.client.schedule("beat").await.unwrap();
    assert_eq!(gone.waiting_ms, None, "a time of the timing before");
}

pub(crate) async fn the_end_of_a_run_lets_go_of_the_time_that_waits(kit: Kit) {
    let mut schedule = every(Duration::from_secs(1));
    schedule.overlap = Overlap::QueueOne;
    put(&kit, &schedule).await;
    let first = kit.take().await;
    eventually(async || {
        kit.client
            .schedule("beat")
            .await
            .unwrap()
            .waiting_ms
            .is_some()
    })
    .await;
    // A retry is no end.
    kit.retry(&first, Duration::ZERO).await;
    let again = kit.take().await;
    assert_eq!(again.lease.id, first.lease.id);
    let waiting = kit
        .client
        .schedule("beat")
        .await
        .unwrap()
        .waiting_ms
        .unwrap();
    let begun = Instant::now();
    kit.succeed(&again.lease).await;
    let second = kit.take().await;
    assert_eq!(second.lease.id.timestamp_ms(), waiting);
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    // However it ends.
    eventually(async || {
        kit.client
            .schedule("beat")
            .await
            .unwrap()
            .waiting_ms
            .is_some()
    })
    .await;
    kit.client.cancel(second.lease.id).await.unwrap();
    kit.host.release(&[second.lease]).await.unwrap();
    kit.take().await;
}

pub(crate) async fn runs_overlap_where_they_may(kit: Kit) {
    put(&kit, &every(BEAT)).await;
    let (first, second) = (kit.take().await, kit.take().await);
    assert_ne!(first.lease.id, second.lease.id);
    let state = kit.client.status(first.lease.id).await.unwrap().state;
    assert_eq!(state, State::Running);
    assert_eq!(count(&runs(&kit).await, RunResult::Overlapped), 0);
}

pub(crate) async fn what_is_paused_does_not_fire_and_what_is_resumed_does(kit: Kit) {
    tick(&kit.host).await;
    put(&kit, &every(BEAT)).await;
    kit.client.set_schedule_paused("beat", true).await.unwrap();
    let paused = kit.client.schedule("beat").await.unwrap();
    assert!(paused.is_paused && paused.next_ms.is_none());
    tokio::time::sleep(3 * BEAT).await;
    assert_eq!(runs(&kit).await, paused.runs);
    // A change does not resume it.
    let mut changed = every(2 * BEAT);
    changed.input = Payload::json_text("[2]");
    assert_eq!(put(&kit, &changed).await, Put::Changed);
    assert!(kit.client.schedule("beat").await.unwrap().is_paused);
    kit.take_all().await;
    kit.client.set_schedule_paused("beat", false).await.unwrap();
    let resumed = kit.client.schedule("beat").await.unwrap();
    assert!(!resumed.is_paused);
    let taken = kit.take().await;
    assert_eq!(Some(taken.lease.id.timestamp_ms()), resumed.next_ms);
    assert_eq!(&taken.input.data[..], b"[2]");
}

pub(crate) async fn runs_now_when_somebody_asks(kit: Kit) {
    let mut schedule = yearly();
    schedule.overlap = Overlap::Skip;
    put(&kit, &schedule).await;
    let next = kit.client.schedule("beat").await.unwrap().next_ms;
    kit.client.set_schedule_paused("beat", true).await.unwrap();
    let first = run(&kit).await;
    kit.client.set_schedule_paused("beat", false).await.unwrap();
    let second = run(&kit).await;
    assert_eq!(kit.take_all().await, [first, second]);
    let record = kit.client.schedule("beat").await.unwrap();
    assert_eq!(record.next_ms, next, "asking changes no time");
    let ids: Vec<_> = record.runs.iter().map(|run| run.id).collect();
    assert_eq!(ids, [Some(second), Some(first)]);
    assert_eq!(count(&record.runs, RunResult::Manual), 2);
}

pub(crate) async fn a_run_that_is_asked_for_again_is_the_same(kit: Kit) {
    put(&kit, &yearly()).await;
    let id = run(&kit).await;
    kit.client.run_schedule("beat", id).await.unwrap();
    assert_eq!(kit.take_all().await, [id]);
    assert_eq!(runs(&kit).await.len(), 1);
    // Also when so many others came after it that it is noted no more.
    for _ in 0..20 {
        run(&kit).await;
    }
    assert!(runs(&kit).await.iter().all(|run| run.id != Some(id)));
    assert_eq!(kit.take_all().await.len(), 20);
    kit.client.run_schedule("beat", id).await.unwrap();
    assert_eq!(kit.take_all().await, []);
}

pub(crate) async fn what_is_removed_fires_no_more(kit: Kit) {
    tick(&kit.host).await;
    put(&kit, &every(BEAT)).await;
    let taken = kit.take().await;
    kit.client.remove_schedule("beat").await.unwrap();
    kit.take_all().await;
    tokio::time::sleep(3 * BEAT).await;
    assert_eq!(kit.take_all().await, []);
    // What it submitted goes on.
    kit.succeed(&taken.lease).await;
    for gone in [
        kit.client.schedule("beat").await.map(drop),
        kit.client.remove_schedule("beat").await,
        kit.client.set_schedule_paused("beat", true).await,
        kit.client.set_schedule_paused("beat", false).await,
        kit.client.run_schedule("beat", fresh(&kit)).await,
    ] {
        assert!(matches!(gone, Err(BrokerError::NoSchedule(_))), "{gone:?}");
    }
    assert_eq!(kit.client.schedules().await.unwrap(), []);
    // One of the same name is a new one.
    assert_eq!(put(&kit, &yearly()).await, Put::Added);
    assert_eq!(runs(&kit).await, []);
}

pub(crate) async fn putting_again_changes_what_is_different(kit: Kit) {
    assert_eq!(put(&kit, &yearly()).await, Put::Added);
    let before = kit.client.schedule("beat").await.unwrap();
    assert_eq!(put(&kit, &yearly()).await, Put::Unchanged);
    assert_eq!(kit.client.schedule("beat").await.unwrap(), before);
    run(&kit).await;
    // The time stays where the timing does, and runs stay anyway.
    let mut changed = yearly();
    changed.overlap = Overlap::Skip;
    assert_eq!(put(&kit, &changed).await, Put::Changed);
    let after = kit.client.schedule("beat").await.unwrap();
    assert_eq!((after.next_ms, after.runs.len()), (before.next_ms, 1));
    changed.timing = Timing::cron("0 0 1 7 *", "UTC").unwrap();
    assert_eq!(put(&kit, &changed).await, Put::Changed);
    let after = kit.client.schedule("beat").await.unwrap();
    assert_ne!(after.next_ms, before.next_ms);
    let mut other = yearly();
    other.name = "another".to_owned();
    put(&kit, &other).await;
    let all = kit.client.schedules().await.unwrap();
    let names: Vec<_> = all.iter().map(|all| all.schedule.name.as_str()).collect();
    assert_eq!(names, ["another", "beat"]);
    assert_eq!(all[1], after);
}

pub(crate) async fn the_module_is_the_one_that_the_name_points_to_when_it_fires(kit: Kit) {
    put(&kit, &yearly()).await;
    run(&kit).await;
    let moved = publish(&kit.client, "text", b"module text, the second").await;
    run(&kit).await;
    let digests = [kit.take().await.digest, kit.take().await.digest];
    assert_eq!(digests, [Some(kit.digest), Some(moved)]);
}

pub(crate) async fn a_task_that_is_missing_is_noted_and_stops_nothing(kit: Kit) {
    tick(&kit.host).await;
    let mut schedule = every(BEAT);
    schedule.task = "nowhere/run".parse().unwrap();
    put(&kit, &schedule).await;
    eventually(async || count(&runs(&kit).await, RunResult::NoModule) >= 2).await;
    let asked = kit.client.run_schedule("beat", fresh(&kit)).await;
    assert!(matches!(asked, Err(BrokerError::NoModule(_))), "{asked:?}");
    // As soon as it is there, it runs.
    publish(&kit.client, "nowhere", b"module nowhere").await;
    kit.take().await;
    schedule.task = "text/nothing".parse().unwrap();
    put(&kit, &schedule).await;
    eventually(async || count(&runs(&kit).await, RunResult::NoTask) >= 1).await;
    assert!(runs(&kit).await.len() <= 20);
}

pub(crate) async fn survives_the_end_of_every_process(kit: Kit) {
    put(&kit, &every(BEAT)).await;
    let first = kit.take().await.lease.id;
    let kit = hostless(kit).await;
    tokio::time::sleep(2 * BEAT).await;
    let next = kit.take().await.lease.id;
    assert!(next.timestamp_ms() > first.timestamp_ms());
    let known: HashSet<Option<InvocationId>> = runs(&kit).await.iter().map(|run| run.id).collect();
    assert!(known.contains(&Some(first)) && known.contains(&Some(next)));
}

pub(crate) async fn a_host_that_waits_hears_of_a_new_schedule(kit: Kit) {
    let host = kit.host.clone();
    let waits = tokio::spawn(async move { host.reserve(&request()).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    put(&kit, &every(BEAT)).await;
    let taken = within(waits).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert!(begun.elapsed() < BEAT + Duration::from_secs(1));
}

pub(crate) async fn a_run_that_crashes_comes_back_and_counts_as_one(kit: Kit) {
    let mut schedule = every(BEAT);
    schedule.overlap = Overlap::Skip;
    put(&kit, &schedule).await;
    let lost = kit.take_for(SHORT_LEASE).await;
    let again = kit.take_for(LONG).await;
    assert_eq!((again.lease.id, again.crashes), (lost.lease.id, 1));
    assert_eq!(count(&runs(&kit).await, RunResult::Fired), 1);
}

pub(crate) async fn refuses_what_makes_no_sense(kit: Kit) {
    let refused = async |change: &dyn Fn(&mut Schedule)| {
        let mut schedule = yearly();
        change(&mut schedule);
        let answer = kit.client.put_schedule(&schedule).await;
        let is_refused = matches!(
            answer,
            Err(BrokerError::Invalid { .. } | BrokerError::TooLarge { .. })
        );
        assert!(is_refused, "{answer:?}");
    };
    refused(&|schedule| schedule.name = "no names".to_owned()).await;
    refused(&|schedule| schedule.timing = Timing::EveryMs(1)).await;
    refused(&|schedule| {
        schedule.timing = Timing::Cron {
            pattern: "often".to_owned(),
            zone: "UTC".to_owned(),
        };
    })
    .await;
    refused(&|schedule| schedule.options.start = Some(When::AtMs(1))).await;
    refused(&|schedule| schedule.input = Payload::json_text(vec![b' '; 70_000])).await;
    assert_eq!(kit.client.schedules().await.unwrap(), []);
}
