//! `#[task]` end to end, natively: registration, description, and running by name.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may, as tests may")]

use std::collections::BTreeMap;

use celeriac_guest::{
    Bytes, Context, Failure, Payload, debug, error, info, task,
    testing::{self, FakeContext},
    trace, warn,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Resize {
    size: Size,
}

#[derive(Deserialize, Serialize, JsonSchema)]
struct Size {
    width: u32,
}

/// Doubles a size.
///
/// Every time.
#[task(
    name = "double-size",
    queue = "slow",
    priority = "low",
    expires = "10m",
    deadline = 3600,
    result_ttl = "7d",
    retries = 3,
    backoff = "1s, 10s",
    retry_on("io", "panicked"),
    timeout = "1.5m",
    soft_timeout = "1.25m",
    limits(log_lines = 10, http_timeout = "5s"),
    fuel = "10G",
    memory = "64MiB",
    needs(http = "api.example.com", http = "www.example.com", secret = "key")
)]
fn double(ctx: &Context, input: Resize) -> Result<Size, Failure> {
    ctx.progress_note(1, 2, "half");
    Ok(Size {
        width: input
            .size
            .width
            .checked_mul(2)
            .ok_or_else(|| Failure::permanent("large"))?,
    })
}

#[task]
fn attempt(ctx: &Context) -> u32 {
    ctx.attempt()
}

#[task]
fn parse(text: String) -> std::io::Result<f64> {
    text.parse().map_err(std::io::Error::other)
}

#[task]
fn unwritable() -> BTreeMap<(u8, u8), u8> {
    BTreeMap::from([((1, 2), 3)])
}

#[task]
fn r#match(input: Bytes) -> Bytes {
    input
}

fn info_of(name: &str) -> testing::TaskInfo {
    testing::describe()
        .unwrap()
        .into_iter()
        .find(|task| task.name == name)
        .unwrap()
}

#[test]
fn describes_what_the_attribute_says() {
    let info = info_of("double-size");
    assert_eq!(info.doc, "Doubles a size.\n\nEvery time.");
    let options = info.options;
    assert_eq!((options.queue, options.retries), (Some("slow"), Some(3)));
    assert_eq!(
        (options.backoff, options.retry_on),
        (Some("1s, 10s"), ["io", "panicked"].as_slice())
    );
    assert_eq!(
        (options.timeout_seconds, options.fuel),
        (Some(90.0), Some(1e10))
    );
    assert_eq!(options.memory_bytes, Some(67_108_864.0));
    assert_eq!(
        options.limits,
        [
            ("soft_timeout", 75_000.0),
            ("log_lines", 10.0),
            ("http_timeout", 5_000.0)
        ]
    );
    assert_eq!(options.priority, Some("low"));
    assert_eq!(
        (options.expires_seconds, options.deadline_seconds),
        (Some(600.0), Some(3600.0))
    );
    assert_eq!(options.result_ttl_seconds, Some(604_800.0));
    let needs: Vec<_> = info
        .needs
        .iter()
        .map(|(k, n)| (k.as_str(), n.as_str()))
        .collect();
    assert_eq!(
        needs,
        [
            ("http", "api.example.com"),
            ("http", "www.example.com"),
            ("secret", "key")
        ]
    );
}

#[test]
fn describes_schemas() {
    let info = info_of("double-size");
    let input: Value = serde_json::from_str(&info.input_schema).unwrap();
    assert_eq!(input["required"], json!(["size"]));
    let output: Value = serde_json::from_str(&info.output_schema).unwrap();
    assert_eq!(output["properties"]["width"]["type"], "integer");
    let output: Value = serde_json::from_str(&info_of("parse").output_schema).unwrap();
    assert_eq!(output["type"], "number");
    let input: Value = serde_json::from_str(&info_of("attempt").input_schema).unwrap();
    assert_eq!(input["type"], "null");
    assert_eq!(info_of("match").input_schema, "");
}

#[test]
fn runs_by_name() {
    let input = json!({ "size": { "width": 4 } });
    assert_eq!(
        testing::run("double-size", input).unwrap(),
        Payload::Json(r#"{"width":8}"#.into())
    );
    let bytes = Bytes::new("application/json", r#"{"size":{"width":4}}"#);
    assert!(testing::run("double-size", bytes).is_ok());
    assert_eq!(
        testing::run("attempt", "ignored").unwrap(),
        Payload::Json("1".into())
    );
}

#[test]
fn says_what_is_wrong_with_an_input_and_where() {
    let failure = testing::run("double-size", json!({ "size": { "width": -1 } })).unwrap_err();
    assert_eq!(failure.kind, "invalid-input");
    assert!(!failure.is_retryable);
    assert_eq!(
        failure.details.as_deref(),
        Some(&json!({ "path": "size.width" }))
    );
    assert!(
        failure.message.starts_with("`size.width`: invalid value"),
        "{failure}"
    );

    let failure = testing::run("double-size", Bytes::new("image/png", "x")).unwrap_err();
    assert_eq!(
        failure.message,
        "this task takes JSON, not bytes of type `image/png`"
    );
    let failure = testing::run("match", json!(1)).unwrap_err();
    assert_eq!(failure.message, "this task takes raw bytes, not JSON");
}

#[test]
fn names_the_line_of_what_is_no_json() {
    let failure = Payload::Json("{\n  oops".into())
        .read::<Value>()
        .unwrap_err();
    assert_eq!(
        failure.message,
        "the input: key must be a string at line 2 column 3"
    );
    let deep = Payload::Json("[".repeat(1000)).read::<Value>().unwrap_err();
    assert!(deep.message.contains("recursion limit"), "{deep}");
}

#[test]
fn leaves_the_path_out_where_tracking_it_would_take_a_large_stack() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let read = |depth| Payload::Json(format!(r#"{{"size":{}}}"#, nested(depth))).read::<Resize>();
    let details = |depth| read(depth).map(|_| ()).unwrap_err().details;
    assert_eq!(details(2).as_deref(), Some(&json!({ "path": "size[0]" })));
    assert_eq!(details(100), None);
}

#[test]
fn refuses_text_behind_the_document() {
    let failure = testing::run("attempt", json!(null)).map(|_| Payload::Json("1 2".into()));
    let failure = failure.unwrap().read::<u32>().unwrap_err();
    assert!(failure.message.contains("trailing characters"), "{failure}");
}

#[test]
fn converts_errors_of_any_result() {
    let failure = testing::run("parse", "x").unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.is_retryable), ("io", true));
    assert_eq!(failure.message, "invalid float literal");
}

#[test]
fn an_output_without_json_form_is_a_failure() {
    let failure = testing::run("unwritable", json!(null)).unwrap_err();
    assert_eq!(failure.kind, "invalid-output");
}

#[test]
fn names_the_tasks_when_one_is_unknown() {
    let failure = testing::run("dubble", json!(null)).unwrap_err();
    assert_eq!(failure.kind, "unknown-task");
    assert!(
        failure.message.contains("attempt, double-size, match"),
        "{failure}"
    );
}

#[test]
fn records_logs_with_fields() {
    let ctx = FakeContext::new();
    let width = 3;
    trace!("a");
    debug!("b {}", 1);
    info!(width = width, files = ["x"], "c {width}");
    warn!(key = 1, "d {} {}", 1, 2);
    error!(map = BTreeMap::from([((1, 2), 3)]), "e");
    let logs = ctx.recorded_logs();
    let messages: Vec<_> = logs.iter().map(|log| log.message.as_str()).collect();
    assert_eq!(messages, ["a", "b 1", "c 3", "d 1 2", "e"]);
    assert_eq!(logs[2].fields, json!({ "width": 3, "files": ["x"] }));
    assert_eq!(logs[0].fields, Value::Null);
    assert_eq!(logs[4].fields, json!({ "map": "<key must be a string>" }));
}

#[test]
fn a_fake_context_answers_as_set() {
    let minute = std::time::Duration::from_secs(60);
    let ctx = FakeContext::new()
        .with_id("i")
        .with_task("t")
        .with_attempt(2)
        .with_remaining(minute)
        .cancelled_after(1);
    assert_eq!((ctx.id(), ctx.task(), ctx.attempt()), ("i", "t", 2));
    assert!(ctx.remaining() <= minute && ctx.remaining() > minute / 2);
    assert!(!ctx.is_cancelled());
    assert!(ctx.is_cancelled());
    assert!(
        FakeContext::new()
            .with_remaining(std::time::Duration::ZERO)
            .remaining()
            .is_zero()
    );
    let input = Resize {
        size: Size { width: 1 },
    };
    assert!(double(&ctx, input).is_ok());
    assert_eq!(ctx.recorded_progress()[0].note, "half");
}
