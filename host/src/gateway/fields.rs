//! Which field of a request's body the broker's words are about.

use celeriac_broker::BrokerError;

/// What the broker calls a thing, and where it stands in a body.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("queue", "/options/queue"),
    ("idempotency key", "/options/idempotency_key"),
    ("unique key", "/options/unique/key"),
    ("window of a unique key", "/options/unique/scope/window_ms"),
    ("fairness key", "/options/fairness_key"),
    ("concurrency key", "/options/concurrency_key"),
    ("after", "/options/after"),
    ("callbacks", "/options/callbacks"),
    ("start", "/options/start"),
    ("expiry", "/options/expires"),
    ("deadline", "/options/deadline"),
    ("start of a schedule", "/options/start"),
    ("expiry of a schedule", "/options/expires"),
    ("deadline of a schedule", "/options/deadline"),
    ("idempotency key of a schedule", "/options/idempotency_key"),
    ("unique key of a schedule", "/options/unique"),
    ("dependency of a schedule", "/options/after"),
    ("callback of a schedule", "/options/callbacks"),
    ("input of a schedule", "/input"),
    ("cron pattern", "/cron"),
    ("time zone", "/zone"),
    ("interval", "/every"),
    ("concurrency", "/concurrency"),
    ("burst", "/burst"),
    ("rate", "/rate"),
    ("scope of a bound", "/max_queue"),
];

/// The JSON pointer of the field that an error is about, where it is about one.
pub(super) fn pointer(error: &BrokerError) -> Option<&'static str> {
    let BrokerError::Invalid { what, .. } = error else {
        return None;
    };
    let found = FIELDS.iter().find(|(known, _)| known == what);
    found.map(|(_, pointer)| *pointer)
}

#[cfg(test)]
mod tests {
    use celeriac_broker::{Options, Payload, Schedule, Timing};
    use serde_json::{Value, json};

    use super::*;

    fn at(refused: Result<(), BrokerError>) -> &'static str {
        let error = refused.unwrap_err();
        pointer(&error).unwrap_or_else(|| panic!("no field for: {error}"))
    }

    const ID: &str = "01a1ff68-fe25-71bb-bb84-ddd9d8007967";

    #[test]
    fn each_option_that_is_wrong_is_named() {
        let long = "x".repeat(300);
        for (field, value) in [
            ("queue", json!("NO")),
            ("idempotency_key", json!(long)),
            ("fairness_key", json!("a b")),
            ("concurrency_key", json!("")),
            ("start", json!({"in_ms": u64::MAX})),
            ("expires", json!({"at_ms": u64::MAX})),
            ("deadline", json!({"in_ms": u64::MAX})),
            ("after", json!([{"id": ID}, {"id": ID}])),
            (
                "callbacks",
                json!(vec![json!({"on": "done", "to": "a/b"}); 17]),
            ),
        ] {
            let options: Options = serde_json::from_value(json!({ field: value })).unwrap();
            assert_eq!(at(options.check()), format!("/options/{field}"));
        }
        for (unique, pointer) in [
            (json!({"key": ""}), "/options/unique/key"),
            (
                json!({"key": "a", "scope": {"window_ms": 0}}),
                "/options/unique/scope/window_ms",
            ),
        ] {
            let options: Options = serde_json::from_value(json!({ "unique": unique })).unwrap();
            assert_eq!(at(options.check()), pointer);
        }
    }

    #[test]
    fn so_is_each_that_a_schedule_cannot_have() {
        let check = |options: Value| {
            let schedule = Schedule {
                name: "a".to_owned(),
                task: "b/c".parse().unwrap(),
                input: Payload::json_text(b"null".to_vec()),
                options: serde_json::from_value(options).unwrap(),
                timing: Timing::EveryMs(60_000),
                catch_up: Default::default(),
                overlap: Default::default(),
            };
            schedule.check()
        };
        for (field, value) in [
            ("start", json!({"at_ms": 1})),
            ("expires", json!({"at_ms": 1})),
            ("deadline", json!({"at_ms": 1})),
            ("idempotency_key", json!("a")),
            ("unique", json!({"key": "a"})),
            ("after", json!([{"id": ID}])),
            ("callbacks", json!([{"on": "done", "to": "a/b"}])),
        ] {
            assert_eq!(
                at(check(json!({ field: value }))),
                format!("/options/{field}")
            );
        }
        check(json!({"start": {"in_ms": 1}, "queue": "a"})).unwrap();
        assert_eq!(at(Timing::cron("* *", "UTC").map(drop)), "/cron");
        assert_eq!(at(Timing::cron("* * * * *", "Mars").map(drop)), "/zone");
        assert_eq!(
            at(Timing::every(std::time::Duration::ZERO).map(drop)),
            "/every"
        );
    }
}
