//! The vectors that every client runs: `clients/conformance`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by panicking"
)]

use std::{fs, path::Path};

use celeriac_client::{
    Client, Error, InvocationId, When,
    broker::{BrokerError, Header, Namespace, Options, Outcome, OutcomeHead, Payload, TaskRef},
};
use serde_json::{Value, json};

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../conformance/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    let items = value.as_array().unwrap();
    assert!(!items.is_empty());
    items.iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn namespace(key: &Value) -> Namespace {
    Namespace {
        key: text(key).to_owned(),
        partitions: 1,
    }
}

#[test]
fn ids() {
    let ids = vectors("ids");
    for made in list(&ids["made"]) {
        let id: InvocationId = text(&made["id"]).parse().unwrap();
        assert!(namespace(&made["key"]).issued(id), "{made}");
        assert_eq!(Some(id.timestamp_ms()), made["ms"].as_u64());
        assert_eq!(Some(u64::from(id.partition())), made["partition"].as_u64());
        assert_eq!(id.to_string(), text(&made["id"]));
    }
    for foreign in list(&ids["foreign"]) {
        let id = text(&foreign["id"]).parse().unwrap();
        assert!(!namespace(&foreign["key"]).issued(id), "{foreign}");
    }
    for invalid in list(&ids["invalid"]) {
        assert!(text(invalid).parse::<InvocationId>().is_err(), "{invalid}");
    }
}

#[test]
fn names() {
    let names = vectors("names");
    for vector in list(&names["tasks"]) {
        let task: TaskRef = text(&vector["text"]).parse().unwrap();
        assert_eq!(task.module.to_string(), text(&vector["module"]));
        assert_eq!(task.task, text(&vector["task"]));
        assert_eq!(task.to_string(), text(&vector["text"]));
    }
    for invalid in list(&names["invalid"]) {
        assert!(text(invalid).parse::<TaskRef>().is_err(), "{invalid}");
    }
}

#[test]
fn spans() {
    let spans = vectors("spans");
    for (span, ms) in spans["spans"].as_object().unwrap() {
        assert_eq!(
            span.parse::<When>().unwrap(),
            When::InMs(ms.as_u64().unwrap()),
            "{span}"
        );
    }
    for invalid in list(&spans["invalid"]) {
        assert!(text(invalid).parse::<When>().is_err(), "{invalid}");
    }
}

#[tokio::test]
async fn options() {
    let options = vectors("options");
    for vector in list(&options["options"]) {
        let header = match vector["wire"] == json!({}) {
            true => json!({"task": "a/b", "content_type": "application/json"}),
            false => {
                json!({"task": "a/b", "content_type": "application/json", "options": vector["wire"]})
            }
        };
        let read: Header = serde_json::from_value(header.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), header);
    }
    let directory = tempfile::tempdir().unwrap();
    let client = Client::connect(&format!("embedded:{}", directory.path().display()))
        .await
        .unwrap();
    for invalid in list(&options["invalid"]) {
        let read: Options = serde_json::from_value(invalid.clone()).unwrap();
        let call = client.task("celeriac/admit").unwrap().options(read);
        let error = call.submit(&json!({})).await.unwrap_err();
        let is_invalid = matches!(error, Error::Broker(BrokerError::Invalid { .. }));
        assert!(is_invalid, "{invalid}: {error}");
    }
    for unreadable in list(&options["unreadable"]) {
        let read = serde_json::from_value::<Options>(unreadable.clone());
        assert!(read.is_err(), "{unreadable}: {read:?}");
    }
}

#[test]
fn outcomes() {
    let outcomes = vectors("outcomes");
    for vector in list(&outcomes["outcomes"]) {
        let result = text(&vector["result"]);
        let (head, output) = result
            .split_once('\n')
            .unwrap_or((result, text(&vector["apart"])));
        let read: OutcomeHead = serde_json::from_str(head).unwrap();
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(head).unwrap());
        let outcome = Outcome::from_parts(read, Some(output.to_owned().into()));
        assert_eq!(outcome.code.as_str(), text(&vector["code"]));
        assert_eq!(outcome.state().as_str(), text(&vector["state"]));
        match (&outcome.output, &outcome.failure) {
            (Some(output), None) => check_output(output, vector),
            (None, Some(failure)) => {
                assert_eq!(failure.kind, text(&vector["kind"]));
                assert_eq!(failure.message, text(&vector["message"]));
                assert_eq!(Some(failure.retryable), vector["retryable"].as_bool());
            }
            _ => panic!("an outcome has an output or a failure: {vector}"),
        }
    }
}

fn check_output(output: &Payload, vector: &Value) {
    match vector.get("text") {
        Some(expected) => assert_eq!(&*output.data, text(expected).as_bytes()),
        None => assert_eq!(output.parse::<Value>().unwrap(), vector["output"]),
    }
}
