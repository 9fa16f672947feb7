//! With a fixed clock and a seed, the same module and input give the same output and burn the same fuel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use celeriac::engine::{
    Code, Determinism, Event, Execution, Executor, Limits, Module, Recording, Request, Rights,
    Verdict,
};
use support::{Bench, Notes, json, request, sample, wasi_fixture};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000_000)
}

fn rights(seed: u64) -> Arc<Rights> {
    Arc::new(Rights {
        determinism: Some(Determinism {
            seed: seed.into(),
            now: now(),
        }),
        ..Rights::default()
    })
}

/// What a run shows of itself: output, fuel, and what it printed.
#[derive(Debug, PartialEq)]
struct Shown {
    output: String,
    fuel: u64,
    host_calls: u64,
    printed: Vec<Event>,
}

fn observe(rights: Arc<Rights>) -> (Request, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let mut request = request("observe", "null", Limits::default());
    request.rights = rights;
    request.sink = notes.clone();
    (request, notes)
}

/// Many runs, at once and one after the other.
async fn many(bench: &Bench, module: &Module, rights: &Arc<Rights>) -> Vec<Shown> {
    let executor = Executor::new(2).unwrap();
    let mut shown = Vec::new();
    for _ in 0..5 {
        let running: Vec<_> = (0..8)
            .map(|_| {
                let (request, notes) = observe(rights.clone());
                let (engine, module) = (bench.engine.clone(), module.clone());
                let run = async move { engine.execute(&module, request).await };
                (executor.spawn(run), notes)
            })
            .collect();
        for (run, notes) in running {
            let execution = run.await.unwrap();
            shown.push(Shown {
                output: json(&execution).to_owned(),
                fuel: execution.usage.fuel,
                host_calls: execution.usage.host_calls,
                printed: std::mem::take(&mut *notes.0.lock().unwrap()),
            });
        }
    }
    shown
}

#[tokio::test]
async fn the_same_seed_gives_the_same_output_and_fuel() {
    let bench = Bench::new();
    let module = bench.load(sample("basics")).await;
    let shown = many(&bench, &module, &rights(7)).await;
    assert!(shown.iter().all(|one| *one == shown[0]), "{shown:#?}");
    let output: serde_json::Value = serde_json::from_str(&shown[0].output).unwrap();
    assert_eq!(output["started_at"], 1e9);
    assert_eq!(
        output["slept"], 0.0015,
        "the clock moved by the sleep, exactly"
    );
    assert_eq!(output["slept_by_wall_clock"], 0.0015);
    assert_eq!(output["allowed"], 60.0);
    assert_eq!(shown[0].printed.len(), 1);
}

/// What an execution failed with, its fuel, and what it can be run again with.
fn failure(execution: Execution) -> (String, u64, Recording) {
    let recording = execution.recording.expect("a failure is recorded");
    let Verdict::Failed(fault) = execution.verdict else {
        panic!("it was to fail");
    };
    (fault.message, execution.usage.fuel, *recording)
}

#[tokio::test]
async fn without_a_fixed_clock_the_deadline_costs_the_same_each_time_and_a_replay_has_its_very_bits()
 {
    let bench = Bench::new();
    let basics = bench.load(sample("basics")).await;
    let told = bench.load(sample("testing_replay")).await;
    let mut fuels = BTreeSet::new();
    // Whole numbers of milliseconds have all kinds of fractions in binary.
    for number in 0..50 {
        let limits = Limits {
            timeout: Duration::from_millis(60_000 + 7 * number),
            ..Limits::default()
        };
        let reads = (&basics, r#"{"message":"no"}"#, true);
        // What it says of the time is of another length each time.
        let tells = (&told, r#"{"steps":["deadline"]}"#, false);
        for (module, input, is_alike) in [reads, tells] {
            let first = bench.run(module, "fail", input, limits.clone()).await;
            let (message, fuel, recording) = failure(first);
            if is_alike {
                fuels.insert(fuel);
            }
            // As it comes back from the store.
            let recording = Recording::read(&recording.to_bytes()).unwrap();
            let mut again = request("fail", input, recording.replay_limits());
            again.rights = Arc::new(Rights {
                determinism: Some(recording.determinism()),
                ..Rights::default()
            });
            let again = bench.engine.execute(module, again).await;
            let (same_message, same_fuel, _) = failure(again);
            assert_eq!((same_message, same_fuel), (message, fuel), "{recording:?}");
        }
    }
    assert_eq!(fuels.len(), 1, "the same input burns the same: {fuels:?}");
}

#[tokio::test]
async fn the_soft_limit_is_counted_by_the_fixed_clock() {
    let bench = Bench::new();
    let module = bench.load(sample("basics")).await;
    let limits = Limits {
        soft_timeout: Duration::from_secs(1000),
        ..Limits::default()
    };
    let input = r#"{"seconds": 3600, "steps": 36}"#;
    let mut request = request("sleep", input, limits);
    request.rights = rights(1);
    let execution = bench.engine.execute(&module, request).await;
    let slept: serde_json::Value = serde_json::from_str(json(&execution)).unwrap();
    assert_eq!(slept, serde_json::json!({ "steps": 10, "cancelled": true }));
}

#[tokio::test]
async fn another_seed_or_none_gives_another_output() {
    let bench = Bench::new();
    let module = bench.load(sample("basics")).await;
    let one = many(&bench, &module, &rights(7)).await;
    let other = many(&bench, &module, &rights(8)).await;
    let field = |shown: &Shown, name: &str| {
        let output: serde_json::Value = serde_json::from_str(&shown.output).unwrap();
        output[name].clone()
    };
    for name in ["order", "random"] {
        assert_ne!(field(&one[0], name), field(&other[0], name), "{name}");
    }
    let real = many(&bench, &module, &Rights::none()).await;
    for name in ["order", "random", "started_at"] {
        assert_ne!(field(&real[0], name), field(&real[1], name), "{name}");
    }
}

#[tokio::test]
async fn a_long_sleep_returns_at_once() {
    let bench = Bench::new();
    let module = bench.load(sample("basics")).await;
    let mut request = request(
        "sleep",
        r#"{"seconds": 3600, "steps": 3}"#,
        Limits::default(),
    );
    request.rights = rights(1);
    let started = Instant::now();
    let execution = bench.engine.execute(&module, request).await;
    assert_eq!(execution.verdict.code(), Code::Ok, "{execution:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_wait_for_several_timers_ends_at_the_earliest() {
    // Timers of 5 and 2 s: only the second is ready, and the clock shows 2 s; the first is ready 3 s later.
    let run = "(local.set $handle (call $subscribe (i64.const 5000000000)))
        (i32.store (i32.const 600) (local.get $handle))
        (i32.store (i32.const 604) (call $subscribe (i64.const 2000000000)))
        (call $poll (i32.const 600) (i32.const 2) (i32.const 512))
        (if (i32.ne (i32.load (i32.const 516)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load (i32.load (i32.const 512))) (i32.const 1)) (then unreachable))
        (if (i64.ne (call $now) (i64.const 2000000000)) (then unreachable))
        (if (call $ready (local.get $handle)) (then unreachable))
        (call $block (local.get $handle))
        (if (i64.ne (call $now) (i64.const 5000000000)) (then unreachable))
        (if (i32.eqz (call $ready (local.get $handle))) (then unreachable))";
    let bench = Bench::new();
    let module = bench.load(wasi_fixture(run)).await;
    let mut request = request("task", "null", Limits::default());
    request.rights = rights(1);
    let execution = bench.engine.execute(&module, request).await;
    assert_eq!(execution.verdict.code(), Code::Ok, "{execution:?}");
}
