//! Every way an execution can end, reached by real components.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use celeriac::engine::{
    CancellationToken, Code, EngineConfig, Event, EventSink, Executor, Level, Limits, Payload,
    Stream, Verdict,
};
use support::{Bench, Notes, fault, fixture, json, request, sample};
use tokio::sync::OnceCell;

/// One engine with `basics` for all tests that change nothing about it.
async fn basics() -> &'static (Bench, celeriac::engine::Module) {
    static BASICS: OnceCell<(Bench, celeriac::engine::Module)> = OnceCell::const_new();
    BASICS
        .get_or_init(|| async {
            let bench = Bench::new();
            let module = bench.load(sample("basics")).await;
            (bench, module)
        })
        .await
}

async fn run(task: &str, input: &str, limits: Limits) -> celeriac::engine::Execution {
    let (bench, module) = basics().await;
    bench.run(module, task, input, limits).await
}

#[tokio::test]
async fn returns_json_and_what_it_used() {
    let execution = run("add", r#"{"a": 1, "b": 2}"#, Limits::default()).await;
    assert_eq!(json(&execution), "3.0");
    assert_eq!(execution.verdict.code(), Code::Ok);
    let usage = execution.usage;
    assert!(
        usage.fuel > 100 && usage.peak_memory_bytes >= 65_536 && usage.run_time > Duration::ZERO,
        "{usage:?}"
    );
    assert_eq!((usage.input_bytes, usage.output_bytes), (16, 3));
    let rows = usage.against(&Limits::default());
    assert!(
        rows.iter()
            .any(|row| row.name == "fuel" && row.used == Some(usage.fuel))
    );
}

#[tokio::test]
async fn carries_bytes_unchanged() {
    let (bench, module) = basics().await;
    let data: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    let payload = Payload::Bytes {
        content_type: "image/x-test".to_owned(),
        data,
    };
    let mut request = request("echo-bytes", "", Limits::default());
    request.input = payload.clone();
    assert_eq!(
        bench.engine.execute(module, request).await.verdict,
        Verdict::Success(payload)
    );
}

#[tokio::test]
async fn passes_a_tasks_failure_on() {
    let fault = fault(
        run(
            "fail",
            r#"{"message": "no", "retryable": true}"#,
            Limits::default(),
        )
        .await,
    );
    assert_eq!(
        (fault.code, fault.kind.as_str(), fault.message.as_str()),
        (Code::TaskError, "on-request", "no")
    );
    assert!(fault.retryable && fault.details.unwrap().contains("attempt"));
}

#[tokio::test]
async fn reports_a_panic_with_message_and_stack() {
    let fault = fault(run("panic", r#"{"message": "what a day"}"#, Limits::default()).await);
    assert_eq!(fault.code, Code::Panicked);
    assert!(fault.message.contains("what a day"), "{}", fault.message);
    assert!(
        fault.trace.unwrap().contains("panic"),
        "function names are in the trace"
    );
}

#[tokio::test]
async fn stops_a_spinning_guest_by_fuel() {
    let limits = Limits {
        fuel: 10_000_000,
        ..Limits::default()
    };
    let execution = run("spin", "null", limits).await;
    assert_eq!(execution.usage.fuel, 10_000_000);
    let fault = fault(execution);
    let hit = fault.limit.unwrap();
    assert_eq!(
        (fault.code, hit.name.as_str(), hit.allowed),
        (Code::OutOfFuel, "fuel", 10_000_000)
    );
    assert!(hit.how_to_raise.contains("fuel") && !fault.retryable);
}

#[tokio::test]
async fn stops_a_spinning_guest_by_deadline() {
    let started = Instant::now();
    let fault = fault(
        run(
            "spin",
            "null",
            Limits {
                timeout: Duration::from_millis(30),
                ..Limits::default()
            },
        )
        .await,
    );
    assert_eq!(fault.code, Code::Deadline);
    let hit = fault.limit.unwrap();
    assert!(
        hit.name == "timeout" && hit.allowed == 30 && hit.seen >= 30,
        "{hit}"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn stops_a_sleeping_guest_by_deadline() {
    let limits = Limits {
        timeout: Duration::from_millis(30),
        ..Limits::default()
    };
    assert_eq!(
        fault(run("sleep", r#"{"seconds": 60}"#, limits).await).code,
        Code::Deadline
    );
}

#[tokio::test]
async fn cancels_spinning_sleeping_and_obedient_guests() {
    let (bench, module) = basics().await;
    let inputs = [
        ("spin", "null"),
        ("sleep", r#"{"seconds": 60}"#),
        ("sleep", r#"{"seconds": 60, "steps": 60000}"#),
    ];
    for (task, input) in inputs {
        let request = request(task, input, Limits::default());
        let cancel = request.cancel.clone();
        let started = Instant::now();
        let cancelling = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            cancel.cancel();
        };
        let (execution, ()) = tokio::join!(bench.engine.execute(module, request), cancelling);
        assert!(
            execution.usage.fuel > 0,
            "what was used is known after a cancellation too"
        );
        assert_eq!(fault(execution).code, Code::Cancelled, "{task} {input}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn reports_memory_that_was_refused() {
    let limits = Limits {
        memory_bytes: 16 << 20,
        ..Limits::default()
    };
    let execution = run("alloc", r#"{"mib": 64}"#, limits).await;
    assert!(execution.usage.peak_memory_bytes <= 16 << 20);
    let fault = fault(execution);
    let hit = fault.limit.unwrap();
    assert_eq!(
        (fault.code, hit.name.as_str(), hit.allowed),
        (Code::MemoryLimit, "memory_bytes", 16 << 20)
    );
    assert!(hit.seen > 16 << 20 && hit.how_to_raise.contains("memory"));
}

#[tokio::test]
async fn reports_memory_when_the_instance_does_not_fit_at_all() {
    let fault = fault(
        run(
            "noop",
            "null",
            Limits {
                memory_bytes: 65_536,
                ..Limits::default()
            },
        )
        .await,
    );
    assert_eq!(fault.code, Code::MemoryLimit, "{fault:?}");
}

#[tokio::test]
async fn reports_memory_when_the_input_does_not_fit() {
    let input = format!("{:?}", "x".repeat(4 << 20));
    let fault = fault(
        run(
            "echo",
            &input,
            Limits {
                memory_bytes: 2 << 20,
                ..Limits::default()
            },
        )
        .await,
    );
    assert_eq!(fault.code, Code::MemoryLimit, "{fault:?}");
}

#[tokio::test]
async fn counts_tables_as_memory() {
    let bench = Bench::new();
    let fields = "(table $t 1 funcref)";
    let grow = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 20000)) (i32.const -1)) (then unreachable))";
    let module = bench.load(fixture(fields, grow)).await;
    let ok = bench.run(&module, "x", "1", Limits::default()).await;
    assert_eq!(json(&ok), "null");
    assert_eq!(
        (ok.usage.table_elements, ok.usage.peak_memory_bytes),
        (20_001, 65_536 + 20_001 * 8)
    );

    let few_bytes = Limits {
        memory_bytes: 65_536 + 1_000,
        ..Limits::default()
    };
    let hit = fault(bench.run(&module, "x", "1", few_bytes).await)
        .limit
        .unwrap();
    assert_eq!(
        (hit.name.as_str(), hit.seen),
        ("memory_bytes", 65_536 + 20_001 * 8)
    );
    let few_elements = Limits {
        table_elements: 100,
        ..Limits::default()
    };
    let hit = fault(bench.run(&module, "x", "1", few_elements).await)
        .limit
        .unwrap();
    assert_eq!((hit.name.as_str(), hit.seen), ("table_elements", 20_001));
}

#[tokio::test]
async fn refuses_input_over_limit_before_the_guest_runs() {
    let execution = run(
        "echo",
        "[1,2,3]",
        Limits {
            input_bytes: 6,
            ..Limits::default()
        },
    )
    .await;
    assert_eq!(execution.usage.fuel, 0);
    let fault = fault(execution);
    let hit = fault.limit.unwrap();
    assert_eq!(
        (fault.code, hit.allowed, hit.seen),
        (Code::InputTooLarge, 6, 7)
    );
}

#[tokio::test]
async fn refuses_output_over_limit() {
    let limits = Limits {
        output_bytes: 6,
        ..Limits::default()
    };
    let fault = fault(run("echo", "[1,2,3]", limits).await);
    let hit = fault.limit.unwrap();
    assert_eq!(
        (fault.code, hit.allowed, hit.seen),
        (Code::OutputTooLarge, 6, 7)
    );
}

/// Guards the one place that matches text of wasmtime: fails when an upgrade changes it.
#[tokio::test]
async fn refuses_output_far_over_limit_without_copying_it() {
    let input = format!("{:?}", "x".repeat(1 << 20));
    let fault = fault(
        run(
            "echo",
            &input,
            Limits {
                output_bytes: 1_000,
                ..Limits::default()
            },
        )
        .await,
    );
    assert_eq!(
        (fault.code, fault.limit.unwrap().name.as_str()),
        (Code::OutputTooLarge, "output_bytes")
    );
}

#[tokio::test]
async fn reports_a_stack_overflow_of_the_guests_own_stack() {
    let fault = fault(run("recurse", r#"{"depth": 4000000000}"#, Limits::default()).await);
    assert_eq!(fault.code, Code::StackOverflow, "{fault:?}");
}

#[tokio::test]
async fn reports_a_stack_overflow_of_the_hosts_stack() {
    let bench = Bench::new();
    let module = bench
        .load(fixture("(func $deep (call $deep))", "(call $deep)"))
        .await;
    assert_eq!(
        fault(bench.run(&module, "x", "1", Limits::default()).await).code,
        Code::StackOverflow
    );
}

#[tokio::test]
async fn reports_other_traps_and_wrong_json() {
    let bench = Bench::new();
    let module = bench
        .load(fixture(
            "",
            "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        ))
        .await;
    let trap = fault(bench.run(&module, "x", "1", Limits::default()).await);
    assert_eq!(trap.code, Code::Trap);
    assert!(trap.message.contains("divide by zero"), "{}", trap.message);

    let module = bench
        .load(fixture("", "(i32.store8 (i32.const 128) (i32.const 63))"))
        .await;
    let wrong = fault(bench.run(&module, "x", "1", Limits::default()).await);
    assert_eq!(
        (wrong.code, wrong.kind.as_str()),
        (Code::TaskError, "invalid-output")
    );
}

#[tokio::test]
async fn nothing_survives_between_invocations() {
    let bench = Bench::with_config(EngineConfig {
        concurrency: 1,
        ..EngineConfig::default()
    });
    // Traps when it finds what an earlier invocation in the same slot left, in memory or in a global.
    let fields = "(global $g (mut i32) (i32.const 0))";
    let body = "(if (i32.or (global.get $g) (i32.load (i32.const 60000))) (then unreachable))
                (global.set $g (i32.const 1)) (i32.store (i32.const 60000) (i32.const 1))";
    let module = bench.load(fixture(fields, body)).await;
    for _ in 0..20 {
        assert_eq!(
            json(&bench.run(&module, "x", "1", Limits::default()).await),
            "null"
        );
    }
}

#[tokio::test]
async fn a_full_pool_is_overloaded_and_frees_itself() {
    let config = EngineConfig {
        concurrency: 1,
        ..EngineConfig::default()
    };
    // Those that run, and those that wait for what they have called.
    let slots = config.concurrency + config.waiting();
    let bench = Bench::with_config(config);
    let module = bench.load(sample("basics")).await;
    let limits = Limits {
        timeout: Duration::from_millis(400),
        ..Limits::default()
    };
    let nap = r#"{"seconds": 60}"#;
    let sleepers = (0..slots).map(|_| bench.run(&module, "sleep", nap, limits.clone()));
    let one_more = bench.run(&module, "noop", "null", Limits::default());
    let (slept, one_more) = tokio::join!(futures_util::future::join_all(sleepers), one_more);
    for slept in slept {
        assert_eq!(fault(slept).code, Code::Deadline);
    }
    let one_more = fault(one_more);
    assert!(one_more.code == Code::Overloaded && one_more.retryable);
    assert_eq!(
        bench
            .run(&module, "noop", "null", Limits::default())
            .await
            .verdict
            .code(),
        Code::Ok
    );
}

#[tokio::test]
async fn spinning_neighbours_do_not_keep_others_from_finishing() {
    let (bench, module) = basics().await;
    let executor = Executor::new(1).unwrap();
    let cancel = CancellationToken::new();
    let spinners: Vec<_> = (0..4)
        .map(|_| {
            let (engine, module) = (bench.engine.clone(), module.clone());
            let mut request = request("spin", "null", Limits::default());
            request.cancel = cancel.clone();
            executor.spawn(async move { engine.execute(&module, request).await })
        })
        .collect();
    let (engine, module) = (bench.engine.clone(), module.clone());
    let request = request("add", r#"{"a": 1, "b": 2}"#, Limits::default());
    let started = Instant::now();
    let execution = executor
        .spawn(async move { engine.execute(&module, request).await })
        .await
        .unwrap();
    assert_eq!(json(&execution), "3.0");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    cancel.cancel();
    for spinner in spinners {
        assert_eq!(spinner.await.unwrap().verdict.code(), Code::Cancelled);
    }
}

#[tokio::test]
async fn dropping_an_execution_frees_its_slot() {
    let bench = Bench::with_config(EngineConfig {
        concurrency: 1,
        ..EngineConfig::default()
    });
    let module = bench.load(sample("basics")).await;
    for _ in 0..3 {
        let run = bench.run(&module, "spin", "null", Limits::default());
        assert!(
            tokio::time::timeout(Duration::from_millis(10), run)
                .await
                .is_err()
        );
    }
    assert_eq!(bench.engine.running(), 0);
    assert_eq!(
        bench
            .run(&module, "noop", "null", Limits::default())
            .await
            .verdict
            .code(),
        Code::Ok
    );
}

#[tokio::test]
async fn lines_of_stdout_and_stderr_become_log_records() {
    let events = events_of("print", r#"{"lines": 2}"#, Limits::default()).await;
    let record = |level, message: &str, stream| Event::Log {
        level,
        message: message.to_owned(),
        fields: String::new(),
        stream,
    };
    let expected = [
        record(Level::Info, "out 0", Stream::Stdout),
        record(Level::Warn, "err 0", Stream::Stderr),
        record(Level::Info, "out 1", Stream::Stdout),
        record(Level::Warn, "err 1", Stream::Stderr),
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn a_log_over_its_budget_is_cut_once_and_the_task_goes_on() {
    for limits in [
        Limits {
            log_lines: 3,
            ..Limits::default()
        },
        Limits {
            log_bytes: 15,
            ..Limits::default()
        },
    ] {
        let events = events_of("print", r#"{"lines": 5000}"#, limits).await;
        assert_eq!(events.len(), 4, "{events:?}");
        assert!(
            matches!(&events[3], Event::Log { stream: Stream::Host, message, .. } if message.contains("truncated"))
        );
    }
}

#[tokio::test]
async fn progress_and_partial_results_arrive_in_order() {
    let events = events_of("emit", r#"{"count": 3}"#, Limits::default()).await;
    let expected: Vec<_> = (0..3)
        .map(|n| Event::Emit(Payload::Json(format!("{{\"index\":{n}}}"))))
        .collect();
    assert_eq!(events, expected);
    let events = events_of("sleep", r#"{"seconds": 0, "steps": 2}"#, Limits::default()).await;
    let done: Vec<_> = events
        .iter()
        .filter_map(|e| {
            if let Event::Progress { done, .. } = e {
                Some(*done)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(done, [0.0, 1.0, 2.0]);
}

#[tokio::test]
async fn partial_results_over_their_budget_end_the_task() {
    let limits = Limits {
        emit_events: 2,
        ..Limits::default()
    };
    let fault = fault(run("emit", r#"{"count": 3}"#, limits).await);
    let hit = fault.limit.unwrap();
    assert_eq!(
        (fault.code, hit.name.as_str(), hit.seen),
        (Code::OutputTooLarge, "emit_events", 3)
    );
}

#[tokio::test]
async fn host_calls_over_their_budget_end_the_task() {
    let limits = Limits {
        host_calls: 50,
        ..Limits::default()
    };
    let fault = fault(run("sleep", r#"{"seconds": 0, "steps": 1000}"#, limits).await);
    assert_eq!(
        (fault.code, fault.limit.unwrap().name.as_str()),
        (Code::OutOfFuel, "host_calls")
    );
}

#[tokio::test]
async fn a_panic_of_the_host_fails_one_invocation_only() {
    struct Panics;
    impl EventSink for Panics {
        fn event(&self, _event: Event) {
            panic!("a bug in the host");
        }
    }
    let (bench, module) = basics().await;
    let mut request = request("emit", r#"{"count": 1}"#, Limits::default());
    request.sink = Arc::new(Panics);
    let fault = fault(bench.engine.execute(module, request).await);
    assert!(
        fault.code == Code::HostFault && fault.retryable,
        "{fault:?}"
    );
    assert_eq!(
        run("noop", "null", Limits::default()).await.verdict.code(),
        Code::Ok
    );
}

async fn events_of(task: &str, input: &str, limits: Limits) -> Vec<Event> {
    let (bench, module) = basics().await;
    let notes = Arc::new(Notes(Mutex::default()));
    let mut request = request(task, input, limits);
    request.sink = notes.clone();
    assert_eq!(
        bench.engine.execute(module, request).await.verdict.code(),
        Code::Ok
    );
    std::mem::take(&mut *notes.0.lock().unwrap())
}
