//! Every option of a submit, over HTTP: alone and in a batch, on both engines.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use celeriac_broker::{InvocationId, testing::AofMode};
use celeriac_tests::{Stage, http::Http};
use serde_json::{Value, json};

use super::gateway_schedules::served;

/// What hosts say themselves.
const OF_HOSTS: [&str; 3] = ["parent", "schedule", "retry_of"];

/// Each option with a value that is not the default.
fn each(parent: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("queue", json!("elsewhere")),
        ("timeout_ms", json!(5_000)),
        ("fuel", json!(1_000_000)),
        ("memory_bytes", json!(10_000_000)),
        ("retries", json!(3)),
        ("backoff", json!("exponential(1s, 1m)")),
        ("retry_on", json!(["busy", "trap"])),
        ("start", json!({"in_ms": 60_000})),
        ("expires", json!({"in_ms": 70_000})),
        ("deadline", json!({"at_ms": 4_000_000_000_000_u64})),
        ("after", json!([{"id": parent}])),
        ("on_unmet", json!("skip")),
        ("callbacks", json!([{"on": "done", "to": "basics/noop"}])),
        ("result_ttl_ms", json!(3_600_000)),
        ("idempotency_key", json!("order-17")),
        (
            "unique",
            json!({"key": "invoice-17", "scope": {"window_ms": 60_000}, "on_conflict": "replace"}),
        ),
        ("priority", json!("high")),
        ("fairness_key", json!("tenant@example.org")),
        ("concurrency_key", json!("account-3")),
        ("record", json!(true)),
        ("limits", json!({"soft_timeout": 1_000, "log_lines": 5})),
    ]
}

/// What was stored of the options of an invocation.
async fn stored(stage: &Stage, id: &Value) -> Result<Value> {
    let id: InvocationId = id.as_str().context("no id")?.parse()?;
    let request = stage.client.request(id).await?;
    Ok(serde_json::to_value(request.options)?)
}

async fn submit(http: &Http, options: &Value) -> Result<(u16, Value)> {
    let body = json!({"task": "basics/noop", "options": options});
    let answer = http.post("/v1/invocations", &body).await?;
    Ok((answer.status, answer.json()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_option_is_documented_taken_and_kept_on_both_engines() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        // Nothing runs: what is kept of what has succeeded is less.
        http.send("POST", "/v1/queues/default/pause", &[], b"")
            .await?;
        let (_, parent) = submit(&http, &json!({})).await?;
        let options = each(parent["id"].as_str().context("no id")?);
        let document = http.get("/v1/openapi.json").await?.json()?;
        let documented = document["components"]["schemas"]["Options"]["properties"].as_object();
        let documented: BTreeSet<_> = documented
            .context("no schema")?
            .keys()
            .map(String::as_str)
            .collect();
        let tried: BTreeSet<_> = options
            .iter()
            .map(|(name, _)| *name)
            .chain(OF_HOSTS)
            .collect();
        assert_eq!(
            documented, tried,
            "an option without a test, or a test without an option"
        );

        for (name, value) in &options {
            let (status, answer) = submit(&http, &json!({ *name: value })).await?;
            assert_eq!(status, 202, "{name}: {answer}");
            assert_eq!(stored(&stage, &answer["id"]).await?[name], *value);
        }
        // The same in one batch; the idempotency key leads to what has it.
        let batch: Vec<_> = options
            .iter()
            .map(|(name, value)| json!({"task": "basics/noop", "options": { *name: value }}))
            .collect();
        let batch = json!({"invocations": batch});
        let answer = http.post("/v1/invocations/batch", &batch).await?.json()?;
        for (index, (name, value)) in options.iter().enumerate() {
            let item = &answer["results"][index];
            assert_eq!(
                stored(&stage, &item["id"]).await?[name],
                *value,
                "{name}: {item}"
            );
        }
        for name in OF_HOSTS {
            let id = &parent["id"];
            let value = match name {
                "parent" => json!({"id": id, "depth": 1}),
                "schedule" => json!("nightly"),
                _ => id.clone(),
            };
            let (status, problem) = submit(&http, &json!({ name: value })).await?;
            assert_eq!(
                (status, &problem["errors"][0]["pointer"]),
                (422, &json!(format!("/options/{name}")))
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_is_a_conflict_that_names_who_has_it() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        let keyed = |input: u32| json!({"task": "basics/echo", "input": input, "options": {"queue": "nobody", "idempotency_key": "k"}});
        let first = http.post("/v1/invocations", &keyed(1)).await?.json()?;
        let again = http.post("/v1/invocations", &keyed(1)).await?;
        assert_eq!(
            (again.status, again.json()?),
            (202, first.clone()),
            "the same key is the same invocation"
        );
        let location = format!("/v1/invocations/{}", first["id"].as_str().context("id")?);
        assert_eq!(again.header("location"), Some(location.as_str()));
        let other = http.post("/v1/invocations", &keyed(2)).await?;
        let problem = other.json()?;
        assert_eq!(
            (other.status, &problem["code"]),
            (409, &json!("idempotency_conflict"))
        );
        assert_eq!(problem["existing"], first["id"]);

        let unique = |policy: &str| json!({"queue": "nobody", "unique": {"key": "u", "on_conflict": policy}});
        let (_, holder) = submit(&http, &unique("reject")).await?;
        let (status, problem) = submit(&http, &unique("reject")).await?;
        assert_eq!((status, &problem["code"]), (409, &json!("not_unique")));
        assert_eq!(problem["existing"], holder["id"]);
        let existing = submit(&http, &unique("return-existing")).await?;
        assert_eq!(existing, (202, holder.clone()));
        let (status, successor) = submit(&http, &unique("replace")).await?;
        assert!(
            status == 202 && successor["id"] != holder["id"],
            "{successor}"
        );
        let path = format!("/v1/invocations/{}", holder["id"].as_str().context("id")?);
        assert_eq!(http.get(&path).await?.json()?["state"], "cancelled");

        // In a batch each conflict is its own.
        let rejected = json!({"task": "basics/noop", "options": unique("reject")});
        let batch = json!({"invocations": [keyed(1), keyed(2), rejected, {"task": "basics/noop"}]});
        let results = http.post("/v1/invocations/batch", &batch).await?.json()?["results"].clone();
        assert_eq!(results[0]["id"], first["id"]);
        assert_eq!(results[1]["problem"]["existing"], first["id"]);
        assert_eq!(results[2]["problem"]["code"], "not_unique");
        assert_eq!(results[2]["problem"]["existing"], successor["id"]);
        assert!(results[3]["id"].is_string());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_cannot_be_is_refused_with_its_field_and_code() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        let nobody = stage.client.broker().namespace().issue(0);
        for (options, status, code, pointer) in [
            (
                json!({"queue": "NO"}),
                422,
                "invalid",
                Some("/options/queue"),
            ),
            (
                json!({"queue": "celeriac"}),
                422,
                "invalid",
                Some("/options/queue"),
            ),
            (
                json!({"priority": "urgent"}),
                422,
                "invalid",
                Some("/options/priority"),
            ),
            (
                json!({"fairness_key": "a b"}),
                422,
                "invalid",
                Some("/options/fairness_key"),
            ),
            (
                json!({"concurrency_key": ""}),
                422,
                "invalid",
                Some("/options/concurrency_key"),
            ),
            (
                json!({"idempotency_key": ""}),
                422,
                "invalid",
                Some("/options/idempotency_key"),
            ),
            (
                json!({"unique": {"key": ""}}),
                422,
                "invalid",
                Some("/options/unique/key"),
            ),
            (
                json!({"unique": {"key": "a", "on_conflict": "win"}}),
                422,
                "invalid",
                Some("/options/unique/on_conflict"),
            ),
            (
                json!({"backoff": "soon"}),
                422,
                "invalid",
                Some("/options/backoff"),
            ),
            (
                json!({"timeout_ms": -1}),
                422,
                "invalid",
                Some("/options/timeout_ms"),
            ),
            (
                json!({"limits": {"soft_timeout": "1s"}}),
                422,
                "invalid",
                Some("/options/limits/soft_timeout"),
            ),
            (
                json!({"start": {"in_ms": 5}, "expires": {"in_ms": 5}}),
                422,
                "invalid",
                Some("/options/expires"),
            ),
            (
                json!({"start": {"in_ms": 5}, "deadline": {"in_ms": 4}}),
                422,
                "invalid",
                Some("/options/deadline"),
            ),
            (
                json!({"after": [{"id": nobody}, {"id": nobody}]}),
                422,
                "invalid",
                Some("/options/after"),
            ),
            (json!({"after": [{"id": nobody}]}), 404, "no_parent", None),
            (
                json!({"callbacks": [{"on": "done", "to": "ftp://a"}]}),
                422,
                "invalid",
                Some("/options/callbacks/0/to"),
            ),
            (
                json!({"callbacks": [{"on": "done", "to": "basics/none"}]}),
                404,
                "no_task",
                None,
            ),
            (
                json!({"callbacks": [{"on": "done", "to": "celeriac/admit"}]}),
                403,
                "forbidden",
                None,
            ),
            (
                json!({"soft_timeout": 5}),
                422,
                "invalid",
                Some("/options/soft_timeout"),
            ),
        ] {
            let (got, problem) = submit(&http, &options).await?;
            assert_eq!(
                (got, problem["code"].as_str()),
                (status, Some(code)),
                "{options}: {problem}"
            );
            let named = problem["errors"][0]["pointer"].as_str();
            assert_eq!(named, pointer, "{options}: {problem}");
        }
        let listed = http.get("/v1/invocations?task=basics").await?.json()?;
        assert_eq!(listed["invocations"], json!([]), "nothing was stored");
    }
    Ok(())
}
