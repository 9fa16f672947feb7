//! The tasks run natively: directly with a fake context, or by name as a host runs them.

use celeriac_guest::{
    Level, Payload,
    testing::{self, FakeContext},
};

use super::*;

#[test]
fn echoes_json_and_bytes() {
    let value: Value = testing::run("echo", json!({ "a": [1, null] }))
        .unwrap()
        .read()
        .unwrap();
    assert_eq!(value, json!({ "a": [1, null] }));
    let bytes = Bytes::new("image/png", [0, 255]);
    assert_eq!(
        testing::run("echo-bytes", bytes.clone()).unwrap(),
        Payload::Bytes(bytes)
    );
}

#[test]
fn adds_what_it_reads_and_says_what_it_cannot() {
    let sum: f64 = testing::run("add", json!({ "a": 1, "b": 2.5 }))
        .unwrap()
        .read()
        .unwrap();
    assert_eq!(sum, 3.5);
    let failure = testing::run("add", json!({ "a": 1, "b": "two" })).unwrap_err();
    assert_eq!(failure.kind, "invalid-input");
    assert!(
        failure.message.starts_with("`b`: invalid type: string"),
        "{failure}"
    );
}

#[test]
fn fails_as_asked() {
    let ctx = FakeContext::new().with_attempt(3);
    let failure = fail(
        &ctx,
        Fail {
            message: "no".into(),
            retryable: true,
        },
    )
    .unwrap_err();
    assert!(failure.is_retryable);
    assert_eq!(failure.details.as_deref(), Some(&json!({ "attempt": 3 })));
}

#[test]
fn is_flaky_as_often_as_asked() {
    let attempt = |attempt| {
        let ctx = FakeContext::new().with_attempt(attempt);
        let input = Flaky {
            failures: 2,
            retry_after: Some(0.5),
        };
        flaky(&ctx, input)
    };
    let failure = attempt(2).unwrap_err();
    assert!(failure.is_retryable);
    assert_eq!(failure.retry_after, Some(Duration::from_millis(500)));
    assert_eq!(attempt(3).unwrap(), 3);
}

#[test]
#[should_panic(expected = "boom")]
fn panics_as_asked() {
    panic(Panic {
        message: "boom".into(),
    });
}

#[test]
fn sleeps_in_steps() {
    let ctx = FakeContext::new();
    let slept = sleep(
        &ctx,
        Sleep {
            seconds: 0.002,
            steps: 2,
        },
    )
    .unwrap();
    assert_eq!(
        slept,
        Slept {
            steps: 2,
            cancelled: false
        }
    );
    let done: Vec<_> = ctx
        .recorded_progress()
        .iter()
        .map(|p| (p.done, p.total))
        .collect();
    assert_eq!(done, [(0.0, 2.0), (1.0, 2.0), (2.0, 2.0)]);
    let logs = ctx.recorded_logs();
    assert_eq!(
        (logs[0].level, &logs[0].fields["steps"]),
        (Level::Info, &json!(2))
    );
}

#[test]
fn stops_sleeping_when_cancelled() {
    let ctx = FakeContext::new().cancelled_after(1);
    let slept = sleep(
        &ctx,
        Sleep {
            seconds: 0.01,
            steps: 10,
        },
    )
    .unwrap();
    assert_eq!(
        slept,
        Slept {
            steps: 1,
            cancelled: true
        }
    );
}

#[test]
fn refuses_to_sleep_a_negative_time() {
    let failure = sleep(
        &FakeContext::new(),
        Sleep {
            seconds: -1.0,
            steps: 1,
        },
    )
    .unwrap_err();
    assert_eq!(failure.kind, "try-from-float-secs-error");
}

#[test]
fn emits_partial_results() {
    let ctx = FakeContext::new();
    assert_eq!(emit(&ctx, Emit { count: 2 }).unwrap(), 2);
    let expected = [r#"{"index":0}"#, r#"{"index":1}"#].map(|text| Payload::Json(text.into()));
    assert_eq!(ctx.emitted(), expected);
}

#[test]
fn counts_what_it_allocates_and_how_deep_it_goes() {
    assert_eq!(alloc(Alloc { mib: 3 }), 3 << 20);
    assert_eq!(recurse(Recurse { depth: 100 }), 100);
}

#[test]
fn describes_every_task() {
    let tasks = testing::describe().unwrap();
    let names: Vec<_> = tasks.iter().map(|task| task.name.as_str()).collect();
    let expected = [
        "add",
        "alloc",
        "echo",
        "echo-bytes",
        "emit",
        "fail",
        "flaky",
        "noop",
        "observe",
        "panic",
        "print",
        "random",
        "recurse",
        "report",
        "sleep",
        "spin",
        "until-told",
    ];
    assert_eq!(names, expected);
    assert!(tasks.iter().all(|task| !task.doc.is_empty()));
}
