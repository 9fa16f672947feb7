//! Schedules whose runs must not overlap: what has not ended counts until it has, and what was missed runs in turn.

use std::time::Duration;

use celeriac_broker::{
    BrokerError, CatchUp, Limit, LimitScope, Overlap, Reserved, RunResult, Schedule,
};

use super::{
    kit::{Kit, SHORT_LEASE, eventually},
    schedules::{BEAT, count, every, fresh, hostless, put, run, runs, tick, yearly},
};

/// Times that come while a run goes on: more than the runs that are kept.
const MANY: u64 = 25;

fn every_tenth(overlap: Overlap) -> Schedule {
    Schedule {
        overlap,
        ..every(Duration::from_millis(100))
    }
}

/// Which time a run is for.
fn time_of(taken: &Reserved) -> u64 {
    taken.lease.id.timestamp_ms()
}

async fn waiting(kit: &Kit) -> Option<u64> {
    kit.client.schedule("beat").await.unwrap().waiting_ms
}

/// Has many times be left out since `since`, and nothing else.
async fn leave_many_out(kit: &Kit, since: u64) {
    eventually(async || {
        let newest = runs(kit).await.first().map_or(0, |run| run.at_ms);
        newest >= since + MANY * 100
    })
    .await;
    let runs = runs(kit).await;
    assert_eq!(count(&runs, RunResult::Overlapped), runs.len(), "{runs:?}");
    assert_eq!(kit.take_all().await, []);
}

pub(crate) async fn a_run_counts_however_many_times_were_left_out(kit: Kit) {
    put(&kit, &every_tenth(Overlap::Skip)).await;
    let first = kit.take().await;
    leave_many_out(&kit, time_of(&first)).await;
    kit.succeed(&first.lease).await;
    kit.take().await;
}

pub(crate) async fn one_time_waits_however_many_were_left_out(kit: Kit) {
    put(&kit, &every_tenth(Overlap::QueueOne)).await;
    let first = kit.take().await;
    leave_many_out(&kit, time_of(&first)).await;
    assert_eq!(waiting(&kit).await, Some(time_of(&first) + 100));
    kit.succeed(&first.lease).await;
    assert_eq!(time_of(&kit.take().await), time_of(&first) + 100);
}

pub(crate) async fn a_run_counts_however_many_were_asked_for(kit: Kit) {
    let schedule = Schedule {
        overlap: Overlap::Skip,
        ..yearly()
    };
    put(&kit, &schedule).await;
    run(&kit).await;
    let first = kit.take().await;
    for _ in 0..MANY {
        run(&kit).await;
        let other = kit.take().await;
        kit.succeed(&other.lease).await;
    }
    put(&kit, &every_tenth(Overlap::Skip)).await;
    eventually(async || count(&runs(&kit).await, RunResult::Overlapped) >= 2).await;
    assert_eq!(count(&runs(&kit).await, RunResult::Fired), 0);
    kit.succeed(&first.lease).await;
    kit.take().await;
}

/// The store has a schedule that catches up three times, and has missed more than that since the one that is returned.
async fn missed(kit: Kit, overlap: Overlap) -> (Kit, u64) {
    let kit = hostless(kit).await;
    let schedule = Schedule {
        catch_up: CatchUp::All(3),
        overlap,
        ..every(BEAT)
    };
    put(&kit, &schedule).await;
    let first = kit.client.schedule("beat").await.unwrap().next_ms.unwrap();
    tokio::time::sleep(8 * BEAT).await;
    (kit, first)
}

pub(crate) async fn caught_up_times_run_one_after_another(kit: Kit) {
    let mut kit = kit;
    for overlap in [Overlap::Skip, Overlap::QueueOne] {
        let (stopped, first) = missed(kit, overlap).await;
        kit = stopped;
        let mut taken = kit.take().await;
        assert!(time_of(&taken) >= first + 450, "the latest three");
        for _ in 0..2 {
            let next = time_of(&taken) + 150;
            assert_eq!(waiting(&kit).await, Some(next), "{overlap}");
            assert_eq!(kit.take_all().await, [], "{overlap}: one at a time");
            // What waits is in the store.
            kit = hostless(kit).await;
            kit.succeed(&taken.lease).await;
            taken = kit.take().await;
            assert_eq!(time_of(&taken), next, "{overlap}");
        }
        // All are caught up: it goes on as ever.
        kit.succeed(&taken.lease).await;
        let next = kit.take().await;
        assert!(time_of(&next) > time_of(&taken));
        kit.client.remove_schedule("beat").await.unwrap();
        kit.succeed(&next.lease).await;
        for id in kit.take_all().await {
            kit.client.cancel(id).await.unwrap();
        }
    }
}

pub(crate) async fn what_was_missed_waits_for_the_run_that_a_host_left(kit: Kit) {
    let schedule = Schedule {
        catch_up: CatchUp::All(3),
        overlap: Overlap::Skip,
        ..every(BEAT)
    };
    put(&kit, &schedule).await;
    let left = kit.take_for(SHORT_LEASE).await;
    let kit = hostless(kit).await;
    tokio::time::sleep(8 * BEAT).await;
    let again = kit.take().await;
    assert_eq!((again.lease.id, again.crashes), (left.lease.id, 1));
    eventually(async || waiting(&kit).await.is_some()).await;
    let next = waiting(&kit).await;
    kit.succeed(&again.lease).await;
    let mut taken = kit.take().await;
    assert_eq!(Some(time_of(&taken)), next);
    for _ in 0..2 {
        let next = time_of(&taken) + 150;
        kit.succeed(&taken.lease).await;
        taken = kit.take().await;
        assert_eq!(time_of(&taken), next);
    }
}

pub(crate) async fn what_is_refused_has_no_other_time_wait(kit: Kit) {
    let mut kit = hostless(kit).await;
    for overlap in [Overlap::Skip, Overlap::QueueOne] {
        let schedule = Schedule {
            task: "text/nothing".parse().unwrap(),
            catch_up: CatchUp::All(3),
            overlap,
            ..every(BEAT)
        };
        put(&kit, &schedule).await;
        tokio::time::sleep(8 * BEAT).await;
        tick(&kit.host).await;
        eventually(async || runs(&kit).await.len() >= 3).await;
        let record = kit.client.schedule("beat").await.unwrap();
        let refused = count(&record.runs, RunResult::NoTask);
        assert_eq!(refused, record.runs.len(), "{:?}", record.runs);
        assert_eq!(record.waiting_ms, None);
        kit.client.remove_schedule("beat").await.unwrap();
        kit = hostless(kit).await;
    }
}

pub(crate) async fn a_run_that_is_refused_says_why_and_is_noted(kit: Kit) {
    put(&kit, &yearly()).await;
    let scope = LimitScope::Queue("default".to_owned());
    let limit = Limit {
        max_queue: Some(1),
        ..Limit::default()
    };
    kit.client.set_limit(&scope, Some(&limit)).await.unwrap();
    let first = run(&kit).await;
    let asked = kit.client.run_schedule("beat", fresh(&kit)).await;
    assert!(
        matches!(&asked, Err(BrokerError::Overloaded { queue, depth: 1, limit: 1 }) if queue == "default"),
        "{asked:?}"
    );
    for task in ["text/nothing", "nowhere/run"] {
        let schedule = Schedule {
            task: task.parse().unwrap(),
            ..yearly()
        };
        put(&kit, &schedule).await;
        let asked = kit.client.run_schedule("beat", fresh(&kit)).await;
        let is_right = match task {
            "text/nothing" => matches!(asked, Err(BrokerError::NoTask(_))),
            _ => matches!(asked, Err(BrokerError::NoModule(_))),
        };
        assert!(is_right, "{asked:?}");
    }
    assert_eq!(kit.take_all().await, [first]);
    let noted = runs(&kit).await.into_iter().rev();
    assert_eq!(
        noted.map(|run| (run.result, run.id)).collect::<Vec<_>>(),
        [
            (RunResult::Manual, Some(first)),
            (RunResult::Refused, None),
            (RunResult::NoTask, None),
            (RunResult::NoModule, None),
        ]
    );
}
