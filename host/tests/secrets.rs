//! Secrets: who gets them, and that they leave an execution on no way out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::{Arc, Mutex};

use celeriac::engine::{
    Code, Denials, Denied, Event, Execution, Limits, Module, Payload, Rights, Secret, Verdict,
};
use serde_json::{Value, json};
use support::{Bench, Notes, fault, request, sample};
use tokio::sync::OnceCell;

const TOKEN: &str = "hunter22-Zürich/7+correct horse";

async fn guest() -> &'static (Bench, Module) {
    static GUEST: OnceCell<(Bench, Module)> = OnceCell::const_new();
    GUEST
        .get_or_init(|| async {
            let bench = Bench::new();
            let module = bench.load(sample("testing_secrets")).await;
            (bench, module)
        })
        .await
}

fn granted(secrets: &[(&str, &str)]) -> Rights {
    let secret =
        |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
    Rights {
        secrets: secrets.iter().map(secret).collect(),
        ..Rights::default()
    }
}

async fn run(task: &str, input: Value, rights: Rights, limits: Limits) -> (Execution, Vec<Event>) {
    let (bench, module) = guest().await;
    let notes = Arc::new(Notes::default());
    let mut request = request(task, &input.to_string(), limits);
    request.rights = Arc::new(rights);
    request.sink = notes.clone();
    let execution = bench.engine.execute(module, request).await;
    let events = std::mem::take(&mut *notes.0.lock().unwrap());
    (execution, events)
}

/// Every text and every byte that came out.
fn said(execution: &Execution, events: &[Event]) -> String {
    let mut said = Vec::new();
    let mut payload = |payload: &Payload| match payload {
        Payload::Json(text) => said.push(text.clone()),
        Payload::Bytes { content_type, data } => {
            said.push(content_type.clone());
            said.push(String::from_utf8_lossy(data).into_owned());
        }
    };
    for event in events {
        if let Event::Emit(chunk) = event {
            payload(chunk);
        }
    }
    match &execution.verdict {
        Verdict::Success(output) => payload(output),
        Verdict::Failed(fault) => {
            said.extend([fault.kind.clone(), fault.message.clone()]);
            let optional = [&fault.details, &fault.trace, &fault.stderr];
            said.extend(optional.into_iter().flatten().cloned());
        }
    }
    for event in events {
        match event {
            Event::Progress { note, .. } => said.push(note.clone()),
            Event::Log {
                message, fields, ..
            } => said.extend([message.clone(), fields.clone()]),
            Event::Emit(_) => {}
        }
    }
    said.join("\n")
}

#[tokio::test]
async fn a_secret_leaves_on_no_way_out() {
    let channels = [
        "result",
        "log",
        "stdout",
        "stderr",
        "split",
        "long-line",
        "unfinished",
        "progress",
        "emit",
        "emit-bytes",
        "failure",
        "panic",
        "trap",
        "denied",
    ];
    for channel in channels {
        let input = json!({ "secret": "token", "channel": channel });
        let rights = granted(&[("token", TOKEN), ("unused", "something else")]);
        let (execution, events) = run("leak", input, rights, Limits::default()).await;
        let said = said(&execution, &events);
        assert!(said.contains("[secret token]"), "{channel}: {said}");
        for part in [TOKEN, "hunter22", "horse"] {
            assert!(!said.contains(part), "{channel} let `{part}` out");
        }
        assert!(
            !format!("{execution:?}{events:?}").contains("hunter22"),
            "{channel}"
        );
    }
}

#[tokio::test]
async fn what_is_cut_keeps_no_part_of_a_secret() {
    for channel in ["progress-cut", "panic-cut"] {
        let input = json!({ "secret": "token", "channel": channel });
        let rights = granted(&[("token", TOKEN)]);
        let (execution, events) = run("leak", input, rights, Limits::default()).await;
        let said = said(&execution, &events);
        assert!(
            said.contains("....["),
            "{channel}: the label itself may be cut: {said}"
        );
        assert!(!said.contains("hunt"), "{channel}: {said}");
    }
    // A log that is full by then still puts no part into the failure's tail of stderr.
    let limits = Limits {
        log_bytes: 16,
        ..Limits::default()
    };
    let input = json!({ "secret": "token", "channel": "trap" });
    let (execution, events) = run("leak", input, granted(&[("token", TOKEN)]), limits).await;
    assert!(!said(&execution, &events).contains("hunt"));
    let stderr = fault(execution).stderr.unwrap();
    assert_eq!(
        stderr,
        "first line\nit is [secret token]\nand again [secret token]"
    );
}

#[tokio::test]
async fn results_without_secrets_are_json_still() {
    for awkward in [
        "a\"b\\c/d",
        "{\"k\":[1,2]}",
        "é\u{1f980}\u{7}x",
        "line one\nline two",
    ] {
        let input = json!({ "secret": "token", "channel": "result" });
        let rights = granted(&[("token", awkward)]);
        let (execution, _) = run("leak", input, rights, Limits::default()).await;
        let result: Value = serde_json::from_str(support::json(&execution)).unwrap();
        let label = "[secret token]";
        assert_eq!(
            result,
            json!({ "it": format!("<{label}>"), label: [label] }),
            "{awkward}"
        );
    }
}

#[tokio::test]
async fn bytes_are_looked_through_as_well() {
    let rights = granted(&[("token", TOKEN)]);
    let (execution, _) = run("leak-bytes", json!("token"), rights, Limits::default()).await;
    let Verdict::Success(Payload::Bytes { data, .. }) = execution.verdict else {
        panic!("{:?}", execution.verdict);
    };
    assert_eq!(data, b"\xff\x00[secret token]\xfe");
}

#[tokio::test]
async fn a_label_that_is_longer_than_its_secret_counts_against_the_output() {
    let limits = |output_bytes| Limits {
        output_bytes,
        ..Limits::default()
    };
    // Three bytes and a label of 14.
    let rights = || granted(&[("token", "abcd")]);
    let (execution, _) = run("leak-bytes", json!("token"), rights(), limits(24 + 17)).await;
    assert_eq!(execution.verdict.code(), Code::Ok);
    let (execution, _) = run("leak-bytes", json!("token"), rights(), limits(24 + 16)).await;
    assert_eq!(fault(execution).code, Code::OutputTooLarge);
}

#[tokio::test]
async fn without_secrets_nothing_is_changed() {
    let input = json!({ "secret": "token", "channel": "result" });
    let (execution, _) = run("leak", input, Rights::default(), Limits::default()).await;
    let fault = fault(execution);
    assert_eq!(fault.kind, "access-denied");
    assert!(
        !fault.retryable && fault.message.contains("`token`"),
        "{}",
        fault.message
    );
}

/// Remembers what was denied.
#[derive(Default)]
struct Log(Mutex<Vec<Denied>>);

impl Denials for Log {
    fn deny(&self, denied: &Denied) -> String {
        self.0.lock().unwrap().push(denied.clone());
        format!("not granted: {denied}")
    }
}

#[tokio::test]
async fn probing_for_secrets_gets_typed_errors_only() {
    let long = "x".repeat(10_000);
    let names = [
        "other",
        "",
        "TOKEN",
        "token ",
        "token\0",
        "../token",
        "*",
        "%",
        "HOME",
        "PATH",
        "toke",
        "[secret token]",
        long.as_str(),
        "token",
    ];
    let log = Arc::new(Log::default());
    let rights = Rights {
        denials: Some(log.clone()),
        environment: vec![("MODE".to_owned(), "test".to_owned())],
        ..granted(&[("token", TOKEN)])
    };
    let (execution, _) = run("probe", json!(names), rights, Limits::default()).await;
    let answers: Vec<String> = serde_json::from_str(support::json(&execution)).unwrap();
    let (last, denied) = answers.split_last().unwrap();
    assert_eq!(*last, format!("got {} bytes", TOKEN.len()));
    assert!(
        denied
            .iter()
            .all(|answer| answer.starts_with("denied: not granted: secret")),
        "{denied:?}"
    );
    let log = log.0.lock().unwrap();
    assert_eq!(log.len(), names.len() - 1);
    assert!(
        log.iter()
            .all(|denied| denied.kind == "secret" && denied.what.len() <= 128)
    );
}

#[tokio::test]
async fn a_secret_in_a_denied_request_is_not_logged() {
    let log = Arc::new(Log::default());
    let rights = Rights {
        denials: Some(log.clone()),
        ..granted(&[("token", TOKEN)])
    };
    let input = json!({ "secret": "token", "channel": "denied" });
    let (execution, _) = run("leak", input, rights, Limits::default()).await;
    assert_eq!(
        fault(execution).message,
        "not granted: secret `give me [secret token]`"
    );
    assert_eq!(log.0.lock().unwrap()[0].what, "give me [secret token]");
}

#[tokio::test]
async fn the_environment_holds_what_was_granted_and_nothing_else() {
    let empty = run(
        "environment",
        json!(null),
        Rights::default(),
        Limits::default(),
    )
    .await;
    assert_eq!(support::json(&empty.0), "[]");
    let rights = Rights {
        environment: vec![
            ("MODE".to_owned(), "test".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ],
        ..granted(&[("token", TOKEN)])
    };
    let (execution, _) = run("environment", json!(null), rights, Limits::default()).await;
    assert_eq!(
        support::json(&execution),
        r#"[["MODE","test"],["EMPTY",""]]"#
    );
}

#[test]
fn no_debug_output_shows_a_secret() {
    let rights = granted(&[("token", TOKEN)]);
    let shown = format!("{rights:?} {:?} {:#?}", rights.secrets, rights.secrets);
    assert!(
        shown.contains("token") && !shown.contains("hunter22"),
        "{shown}"
    );
}
