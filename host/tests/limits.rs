//! Every limit of an attempt, at its value and one past it, by real components.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac::engine::{Code, EngineConfig, Event, Execution, Limits, Module, Stream};
use support::{Bench, Notes, fault, fixture, request, sample, wasi_fixture};

/// Limits whose cases need files, servers or a broker: each is tested where those are.
const TESTED_ELSEWHERE: &[(&str, &str)] = &[
    ("open_files", "host/tests/files.rs"),
    ("file_bytes", "host/tests/files.rs"),
    ("scratch_bytes", "host/tests/files.rs"),
    ("scratch_files", "host/tests/files.rs"),
    ("http_requests", "host/tests/http.rs"),
    ("http_concurrent", "host/tests/http.rs"),
    ("http_header_bytes", "host/tests/http.rs"),
    ("http_request_bytes", "host/tests/http.rs"),
    ("http_response_bytes", "host/tests/http.rs"),
    ("http_first_byte_timeout", "host/tests/http.rs"),
    ("http_timeout", "host/tests/http.rs"),
    ("tcp_connections", "host/tests/tcp.rs"),
    ("tcp_bytes", "host/tests/tcp.rs"),
    ("connect_timeout", "host/tests/tcp.rs"),
    ("kv_calls", "host/tests/key_value.rs"),
    ("task_calls", "tests/tests/all/calls.rs"),
    ("soft_timeout", "tests/tests/all/calls.rs"),
    ("kv_value_bytes", "host/tests/key_value.rs"),
];

/// One limit and what comes to it.
struct Case {
    limit: &'static str,
    task: Task,
    at: At,
    past: Past,
}

/// What is run.
enum Task {
    /// A task of the samples, with its input.
    Sample(&'static str, &'static str),
    /// A component with these fields and this body.
    Plain(&'static str, &'static str),
    /// A component that calls WASI in this body.
    Wasi(&'static str),
}

/// The value at which the task still fits; one less is too little.
enum At {
    Exactly(u64),
    /// What it used when nothing was in its way.
    Used,
    /// The first value fits, the second does not: time is not exact.
    Between(u64, u64),
}

/// What happens one past the limit.
enum Past {
    /// The task ends with this code, and the hit names this limit.
    Ends(Code, &'static str),
    /// The task goes on, and less of what it said is kept.
    Keeps(fn(&[Event]) -> usize),
}

fn notes(events: &[Event]) -> usize {
    let length = |event: &Event| match event {
        Event::Progress { note, .. } => note.len(),
        _ => 0,
    };
    events.iter().map(length).sum()
}

fn records(events: &[Event]) -> usize {
    let is_the_tasks =
        |event: &&Event| matches!(event, Event::Log { stream, .. } if *stream != Stream::Host);
    events.iter().filter(is_the_tasks).count()
}

fn bytes_logged(events: &[Event]) -> usize {
    let length = |event: &Event| match event {
        Event::Log {
            stream, message, ..
        } if *stream != Stream::Host => message.len(),
        _ => 0,
    };
    events.iter().map(length).sum()
}

fn reports(events: &[Event]) -> usize {
    let is_progress = |event: &&Event| matches!(event, Event::Progress { .. });
    events.iter().filter(is_progress).count()
}

fn cases() -> Vec<Case> {
    use At::{Between, Exactly, Used};
    use Past::{Ends, Keeps};
    use Task::{Plain, Sample, Wasi};
    let case = |limit, task, at, past| Case {
        limit,
        task,
        at,
        past,
    };
    let grow = "(if (i32.eq (table.grow (ref.null func) (i32.const 100)) (i32.const -1)) (then unreachable))";
    let five_streams = "(loop $more (drop (call $stdout))
        (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 5))))";
    let write = "(call $write (call $stdout) (i32.const 1024) (i32.const 1004) (i32.const 512))";
    vec![
        case(
            "fuel",
            Sample("add", r#"{"a":1,"b":2}"#),
            Used,
            Ends(Code::OutOfFuel, "fuel"),
        ),
        case(
            "timeout",
            Sample("sleep", r#"{"seconds":0.2}"#),
            Between(60_000, 20),
            Ends(Code::Deadline, "timeout"),
        ),
        case(
            "host_calls",
            Sample("observe", "null"),
            Used,
            Ends(Code::OutOfFuel, "host_calls"),
        ),
        case(
            "random_bytes",
            Wasi("(call $random (i64.const 100) (i32.const 512))"),
            Exactly(100),
            Ends(Code::OutOfFuel, "random_bytes"),
        ),
        case(
            "memory_bytes",
            Sample("alloc", r#"{"mib":2}"#),
            Used,
            Ends(Code::MemoryLimit, "memory_bytes"),
        ),
        case(
            "table_elements",
            Plain("(table 0 funcref)", grow),
            Exactly(100),
            Ends(Code::MemoryLimit, "table_elements"),
        ),
        case(
            "handles",
            Wasi(five_streams),
            Exactly(5),
            Ends(Code::MemoryLimit, "handles"),
        ),
        case(
            "input_bytes",
            Sample("echo", r#""12345678""#),
            Exactly(10),
            Ends(Code::InputTooLarge, "input_bytes"),
        ),
        case(
            "output_bytes",
            Sample("echo", r#""12345678""#),
            Exactly(10),
            Ends(Code::OutputTooLarge, "output_bytes"),
        ),
        // 1,004 bytes in one call, 4 of which are the output's; wasmtime does not say which of both it was.
        case(
            "host_call_bytes",
            Wasi(write),
            Exactly(1_000),
            Ends(Code::OutputTooLarge, "output_bytes"),
        ),
        case(
            "log_bytes",
            Sample("print", r#"{"lines":3}"#),
            Exactly(30),
            Keeps(bytes_logged),
        ),
        case(
            "log_lines",
            Sample("print", r#"{"lines":3}"#),
            Exactly(6),
            Keeps(records),
        ),
        case(
            "progress_events",
            Sample("report", r#"{"count":5,"note":"n"}"#),
            Exactly(5),
            Keeps(reports),
        ),
        case(
            "progress_bytes",
            Sample("report", r#"{"count":5,"note":"four"}"#),
            Exactly(20),
            Keeps(notes),
        ),
        case(
            "emit_events",
            Sample("emit", r#"{"count":3}"#),
            Exactly(3),
            Ends(Code::OutputTooLarge, "emit_events"),
        ),
        case(
            "emit_bytes",
            Sample("emit", r#"{"count":3}"#),
            Exactly(33),
            Ends(Code::OutputTooLarge, "emit_bytes"),
        ),
    ]
}

/// Where the cases run: one engine, each component loaded once.
struct Ground {
    bench: Bench,
    basics: Module,
}

impl Ground {
    async fn new() -> Self {
        let bench = Bench::new();
        let basics = bench.load(sample("basics")).await;
        Self { bench, basics }
    }

    async fn module(&self, task: &Task) -> Module {
        match task {
            Task::Sample(..) => self.basics.clone(),
            Task::Plain(fields, run) => self.bench.load(fixture(fields, run)).await,
            Task::Wasi(run) => self.bench.load(wasi_fixture(run)).await,
        }
    }

    async fn run(&self, module: &Module, task: &Task, limits: Limits) -> (Execution, Vec<Event>) {
        let (name, input) = match task {
            Task::Sample(name, input) => (*name, *input),
            _ => ("task", "null"),
        };
        let notes = Arc::new(Notes::default());
        let mut request = request(name, input, limits);
        request.sink = notes.clone();
        let execution = self.bench.engine.execute(module, request).await;
        let events = std::mem::take(&mut *notes.0.lock().unwrap());
        (execution, events)
    }
}

/// The limits with one of them at `value`.
fn with(limit: &str, value: u64) -> Limits {
    let mut limits = Limits::default();
    if limit == "host_call_bytes" {
        limits.output_bytes = 4;
    }
    limits.set(limit, value).unwrap();
    limits
}

#[tokio::test]
async fn each_limit_lets_what_fits_pass_and_stops_what_is_one_more() {
    let ground = Ground::new().await;
    for case in cases() {
        let Case {
            limit, task, past, ..
        } = &case;
        let module = ground.module(task).await;
        let (free, said) = ground.run(&module, task, Limits::default()).await;
        assert_eq!(free.verdict.code(), Code::Ok, "{limit}: {free:?}");
        let (at, beyond) = match case.at {
            At::Exactly(value) => (value, value - 1),
            At::Between(enough, little) => (enough, little),
            At::Used => {
                let used = free.usage.get(limit).unwrap();
                (used, used - 1)
            }
        };
        let (fits, events) = ground.run(&module, task, with(limit, at)).await;
        assert_eq!(fits.verdict.code(), Code::Ok, "{limit} at {at}: {fits:?}");
        let (stopped, fewer) = ground.run(&module, task, with(limit, beyond)).await;
        match past {
            Past::Ends(code, name) => {
                let fault = fault(stopped);
                let hit = fault
                    .limit
                    .clone()
                    .unwrap_or_else(|| panic!("{limit}: {fault:?}"));
                assert_eq!(
                    (fault.code, hit.name.as_str()),
                    (*code, *name),
                    "{limit}: {fault:?}"
                );
                assert!(hit.seen > hit.allowed, "{limit}: {hit}");
                assert!(!hit.how_to_raise.is_empty(), "{limit}");
            }
            Past::Keeps(count) => {
                assert_eq!(stopped.verdict.code(), Code::Ok, "{limit}: {stopped:?}");
                assert_eq!(count(&events), count(&said), "{limit} at {at}");
                assert!(count(&fewer) < count(&said), "{limit} at {beyond}");
            }
        }
    }
}

#[test]
fn every_limit_has_a_case() {
    let cases = cases();
    for info in Limits::all() {
        let is_here = cases.iter().any(|case| case.limit == info.name);
        let is_elsewhere = TESTED_ELSEWHERE.iter().any(|(name, _)| *name == info.name);
        assert!(
            is_here != is_elsewhere,
            "{}: it needs one case, here or elsewhere",
            info.name
        );
    }
}

#[tokio::test]
async fn handles_that_a_guest_makes_by_itself_count_too() {
    let bench = Bench::new();
    let run = "(loop $more (drop (call $new (i32.const 1)))
        (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 18))))";
    let module = bench.load(wasi_fixture(run)).await;
    // Twice as many: as it may hold, and each of them lent to the host at once.
    let fits = bench.run(&module, "task", "null", with("handles", 9)).await;
    assert_eq!(fits.verdict.code(), Code::Ok, "{fits:?}");
    let fault = fault(bench.run(&module, "task", "null", with("handles", 8)).await);
    let hit = fault.limit.unwrap();
    assert_eq!(
        (fault.code, hit.name.as_str()),
        (Code::MemoryLimit, "handles")
    );
}

/// What a guest can make its host do at no cost of its own, round and round.
const LOOPS: [(&str, &str); 6] = [
    ("now", "(loop $more (drop (call $now)) (br $more))"),
    (
        "check-write",
        "(local.set $handle (call $stdout)) (loop $more (call $check-write (local.get $handle) (i32.const 512)) (br $more))",
    ),
    (
        "ready",
        "(local.set $handle (call $subscribe (i64.const 0))) (loop $more (drop (call $ready (local.get $handle))) (br $more))",
    ),
    (
        "block",
        "(local.set $handle (call $subscribe (i64.const 0))) (loop $more (call $block (local.get $handle)) (br $more))",
    ),
    (
        "poll",
        "(i32.store (i32.const 600) (call $subscribe (i64.const 0)))
         (loop $more (call $poll (i32.const 600) (i32.const 1) (i32.const 512)) (br $more))",
    ),
    (
        "sleep",
        "(loop $more (local.set $handle (call $subscribe (i64.const 0)))
         (call $block (local.get $handle)) (call $drop (local.get $handle)) (br $more))",
    ),
];

#[tokio::test]
async fn a_loop_of_host_calls_ends_at_its_deadline_when_cancelled_and_by_its_number() {
    let bench = Bench::new();
    for (name, run) in LOOPS {
        let module = bench.load(wasi_fixture(run)).await;
        let mut limits = with("timeout", 50);
        limits.host_calls = u64::MAX;
        let started = Instant::now();
        let late = fault(bench.run(&module, "task", "null", limits).await);
        assert_eq!(late.code, Code::Deadline, "{name}: {late:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}");

        let mut cancelled = request("task", "null", with("host_calls", u64::MAX));
        let cancel = cancelled.cancel.clone();
        let started = Instant::now();
        let (ended, ()) = tokio::join!(bench.engine.execute(&module, cancelled.clone()), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            cancel.cancel();
        });
        cancelled.limits.host_calls = 1_000;
        assert_eq!(fault(ended).code, Code::Cancelled, "{name}");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}");

        let many = fault(
            bench
                .run(&module, "task", "null", with("host_calls", 1_000))
                .await,
        );
        let hit = many.limit.unwrap();
        assert_eq!(
            (many.code, hit.name.as_str(), hit.seen),
            (Code::OutOfFuel, "host_calls", 1_001),
            "{name}"
        );
    }
}

#[tokio::test]
async fn bytes_through_wasi_cost_fuel() {
    let bench = Bench::new();
    let run = |bytes: u32| {
        format!("(call $write (call $stdout) (i32.const 1024) (i32.const {bytes}) (i32.const 512))")
    };
    let little = bench.load(wasi_fixture(&run(10))).await;
    let much = bench.load(wasi_fixture(&run(10_010))).await;
    let little = bench.run(&little, "task", "null", Limits::default()).await;
    let much = bench.run(&much, "task", "null", Limits::default()).await;
    assert_eq!(much.usage.fuel - little.usage.fuel, 10_000);
}

#[tokio::test]
async fn what_a_guest_asks_for_is_bounded_before_it_is_allocated() {
    let bench = Bench::new();
    // Standard input is empty, so that reading from it says so; more zeroes than the stream takes trap.
    let read = "(call $read (call $stdin) (i64.const 0x7fffffffffffffff) (i32.const 512))
        (if (i32.ne (i32.load8_u (i32.const 512)) (i32.const 1)) (then unreachable))";
    let module = bench.load(wasi_fixture(read)).await;
    let ended = bench.run(&module, "task", "null", Limits::default()).await;
    assert_eq!(ended.verdict.code(), Code::Ok, "{ended:?}");

    let zeroes = "(call $write-zeroes (call $stdout) (i64.const 0x7fffffffffff) (i32.const 512))";
    let module = bench.load(wasi_fixture(zeroes)).await;
    let ended = fault(bench.run(&module, "task", "null", Limits::default()).await);
    assert_eq!(ended.limit.unwrap().name, "fuel", "a byte costs a unit");

    let random = "(call $random (i64.const 2000000) (i32.const 512))";
    let module = bench.load(wasi_fixture(random)).await;
    let ended = fault(bench.run(&module, "task", "null", Limits::default()).await);
    assert!(
        ended.code == Code::Trap && ended.message.contains("at most 1048576"),
        "{ended:?}"
    );

    // A list of 300 times the same handle: no task can hold so many.
    let poll = "(local.set $handle (call $subscribe (i64.const 0)))
        (loop $more (i32.store (i32.add (i32.const 1024) (i32.mul (local.get $turn) (i32.const 4))) (local.get $handle))
        (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 300))))
        (call $poll (i32.const 1024) (i32.const 300) (i32.const 512))";
    let module = bench.load(wasi_fixture(poll)).await;
    let ended = fault(bench.run(&module, "task", "null", Limits::default()).await);
    let hit = ended.limit.unwrap();
    assert_eq!(
        (ended.code, hit.name.as_str(), hit.seen),
        (Code::MemoryLimit, "handles", 300)
    );
    let fits = bench
        .run(&module, "task", "null", with("handles", 300))
        .await;
    assert_eq!(fits.verdict.code(), Code::Ok, "{fits:?}");
}

#[tokio::test]
async fn the_operators_stack_bounds_recursion() {
    let deep = |calls: u32| {
        let fields = "(func $down (param i32) (result i64)
            (if (result i64) (local.get 0)
              (then (i64.add (call $down (i32.sub (local.get 0) (i32.const 1))) (i64.const 1)))
              (else (i64.const 0))))";
        fixture(fields, &format!("(drop (call $down (i32.const {calls})))"))
    };
    let small = Bench::with_config(EngineConfig {
        concurrency: 1,
        wasm_stack_bytes: 64 << 10,
        ..EngineConfig::default()
    });
    let usual = Bench::new();
    for (calls, on_small, on_usual) in [
        (100, Code::Ok, Code::Ok),
        (6_000, Code::StackOverflow, Code::Ok),
        (1_000_000, Code::StackOverflow, Code::StackOverflow),
    ] {
        for (bench, expected) in [(&small, on_small), (&usual, on_usual)] {
            let module = bench.load(deep(calls)).await;
            let ended = bench.run(&module, "task", "null", Limits::default()).await;
            assert_eq!(ended.verdict.code(), expected, "{calls} calls: {ended:?}");
        }
    }
}
