//! Schedules over HTTP, at a real host, on both engines.

use std::time::Duration;

use anyhow::{Context, Result};
use celeriac::gateway::tokens::Scope;
use celeriac_broker::testing::AofMode;
use celeriac_tests::{HostProcess, Stage, http::Http, until};
use serde_json::{Value, json};

use super::gateway::{host, token};

/// A host with the sample module, asked by somebody who may do everything.
pub(crate) async fn served(stage: &Stage) -> Result<(HostProcess, Http)> {
    let (host, http) = host(stage, &["--set", "http.tokens=always"]).await?;
    stage.push(&["basics"]).await?;
    let token = token(stage, &Scope::ALL).await?;
    Ok((host, http.with_token(token)))
}

fn nightly() -> Value {
    json!({
        "task": "basics/add", "input": {"a": 1, "b": 2}, "cron": "30 2 * * *", "zone": "Europe/Berlin",
        "catch_up": "all 3", "overlap": "queue-one",
        "options": {"queue": "reports", "retries": 4, "expires": {"in_ms": 60_000}}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_put_read_changed_and_removed_on_both_engines() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        let path = "/v1/schedules/nightly";
        assert_eq!(http.get(path).await?.json()?["code"], "no_schedule");
        let added = http.put(path, &nightly()).await?;
        assert_eq!(added.status, 201, "{:?}", added.json());
        assert_eq!(added.header("location"), Some(path));
        let document = added.json()?;
        assert_eq!(document["change"], "added");
        // What was said comes back in the same words, so that an answer can be put again.
        let shown = http.get(path).await?.json()?;
        assert_eq!(shown, document["schedule"]);
        for (field, said) in nightly().as_object().context("an object")? {
            assert_eq!(&shown[field], said, "{field}");
        }
        assert_eq!(shown["next_ms"].as_array().map(Vec::len), Some(5));
        assert_eq!(
            (&shown["is_paused"], &shown["runs"]),
            (&json!(false), &json!([]))
        );

        let again = http.put(path, &nightly()).await?;
        assert_eq!(
            (again.status, &again.json()?["change"]),
            (200, &json!("unchanged"))
        );
        let beat = json!({"task": "basics/echo-bytes", "input_base64": "AP8Q", "content_type": "image/x-test", "every": "90m"});
        let changed = http.put(path, &beat).await?.json()?;
        assert_eq!(changed["change"], "changed");
        let shown = &changed["schedule"];
        assert_eq!(
            (
                &shown["every"],
                &shown["input_base64"],
                &shown["content_type"]
            ),
            (&json!("1h30m"), &json!("AP8Q"), &json!("image/x-test"))
        );
        assert_eq!(
            (shown.get("cron"), shown.get("zone"), shown.get("input")),
            (None, None, None)
        );
        assert_eq!(
            (&shown["catch_up"], &shown["overlap"]),
            (&json!("one"), &json!("skip"))
        );

        assert_eq!(http.send("DELETE", path, &[], b"").await?.status, 204);
        let gone = http.send("DELETE", path, &[], b"").await?;
        assert_eq!(
            (gone.status, &gone.json()?["code"]),
            (404, &json!("no_schedule"))
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fires_pauses_resumes_and_runs_at_once_on_both_engines() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        let path = "/v1/schedules/beat";
        let beat = json!({"task": "basics/add", "input": {"a": 2, "b": 3}, "every": "100ms", "overlap": "allow"});
        assert_eq!(http.put(path, &beat).await?.status, 201);
        let fired = || async {
            let runs = http.get(path).await?.json()?["runs"].clone();
            let runs = runs.as_array().cloned().unwrap_or_default();
            Ok(runs.iter().filter(|run| run["result"] == "fired").count() >= 3)
        };
        until(Duration::from_secs(30), "it fires by itself", fired).await?;

        let post = async |word: &str| http.send("POST", &format!("{path}/{word}"), &[], b"").await;
        let paused = post("pause").await?.json()?;
        assert_eq!(
            (&paused["is_paused"], &paused["next_ms"]),
            (&json!(true), &json!([]))
        );
        // Paused or not, it is run when somebody asks.
        let ended = post("run?wait=30").await?.json()?;
        assert_eq!(
            (&ended["code"], &ended["output"]),
            (&json!("ok"), &json!(5.0))
        );
        let stored = post("run").await?;
        assert_eq!(stored.status, 202);
        let location = stored.header("location").context("no location")?;
        let ended = http.get(&format!("{location}/result?wait=30")).await?;
        assert_eq!(ended.json()?["output"], 5.0);
        let runs = http.get(path).await?.json()?["runs"].clone();
        assert_eq!(
            (&runs[0]["result"], &runs[1]["result"]),
            (&json!("manual"), &json!("manual"))
        );
        // With an id the same request again is the same run.
        let id = stage.client.broker().namespace().issue(0);
        for query in ["", "?wait=30", "?wait=30"] {
            let named = json!({ "id": id });
            let answer = http.post(&format!("{path}/run{query}"), &named).await?;
            assert_eq!(answer.json()?["id"], json!(id));
        }
        let runs = http.get(path).await?.json()?["runs"].clone();
        let of_it = runs.as_array().context("runs")?.iter();
        assert_eq!(of_it.filter(|run| run["id"] == json!(id)).count(), 1);
        let misspelt = json!({ "ID": id });
        let misspelt = http.post(&format!("{path}/run"), &misspelt).await?;
        assert_eq!(misspelt.json()?["errors"][0]["pointer"], "/ID");
        let resumed = post("resume").await?.json()?;
        assert_eq!(resumed["is_paused"], false);
        let fires = || async {
            let runs = http.get(path).await?.json()?["runs"].clone();
            Ok(runs[0]["result"] == "fired")
        };
        until(Duration::from_secs(30), "it fires again", fires).await?;
        for word in ["pause", "resume", "run"] {
            let path = format!("/v1/schedules/none/{word}");
            let answer = http.send("POST", &path, &[], b"").await?;
            assert_eq!(answer.json()?["code"], "no_schedule", "{word}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_listed_a_page_at_a_time() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        let mut names = Vec::new();
        for n in 0..7 {
            let name = format!("s{n}");
            let put = json!({"task": "basics/noop", "every": "1h"});
            let answer = http.put(&format!("/v1/schedules/{name}"), &put).await?;
            assert_eq!(answer.status, 201);
            names.push(name);
        }
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let query = format!("/v1/schedules?limit=3{cursor}");
            let page = http.get(&query).await?.json()?;
            let found = page["schedules"].as_array().context("schedules")?;
            seen.extend(
                found
                    .iter()
                    .filter_map(|one| Some(one["name"].as_str()?.to_owned())),
            );
            pages += 1;
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!((seen, pages), (names, 3));
        for limit in ["0", "501", "x"] {
            let answer = http.get(&format!("/v1/schedules?limit={limit}")).await?;
            assert_eq!(answer.json()?["code"], "malformed", "{limit}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_schedule_cannot_say_is_refused_with_its_field() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = served(&stage).await?;
    let with = |field: &str, value: Value| {
        let mut body = nightly();
        body[field] = value;
        body
    };
    let mut neither = nightly();
    neither["cron"] = Value::Null;
    neither["zone"] = Value::Null;
    for (body, pointer) in [
        (neither, "/cron"),
        (with("cron", json!("* *")), "/cron"),
        (with("cron", json!("0 0 31 2 *")), "/cron"),
        (with("zone", json!("Europe/Atlantis")), "/zone"),
        (with("every", json!("1h")), "/every"),
        (json!({"task": "basics/noop", "every": "soon"}), "/every"),
        (json!({"task": "basics/noop", "every": "1ms"}), "/every"),
        (
            json!({"task": "basics/noop", "every": "1h", "zone": "UTC"}),
            "/zone",
        ),
        (with("catch_up", json!("all 1000")), "/catch_up"),
        (with("overlap", json!("never")), "/overlap"),
        (with("task", json!("no task")), "/task"),
        (with("when", json!(1)), "/when"),
        (with("input", json!({"a": "one", "b": 2})), "/input/a"),
        (
            with("options", json!({"start": {"at_ms": 5}})),
            "/options/start",
        ),
        (
            with("options", json!({"unique": {"key": "a"}})),
            "/options/unique",
        ),
        (
            with("options", json!({"idempotency_key": "a"})),
            "/options/idempotency_key",
        ),
        (
            with(
                "options",
                json!({"callbacks": [{"on": "done", "to": "a/b"}]}),
            ),
            "/options/callbacks",
        ),
        (
            with("options", json!({"queue": "celeriac"})),
            "/options/queue",
        ),
        (
            with("options", json!({"schedule": "other"})),
            "/options/schedule",
        ),
        (with("input", json!("x".repeat(70_000))), "/input"),
    ] {
        let answer = http.put("/v1/schedules/nightly", &body).await?;
        let problem = answer.json()?;
        assert_eq!(
            (answer.status, &problem["code"]),
            (422, &json!("invalid")),
            "{pointer}: {problem}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let bad_name = http.put("/v1/schedules/Nightly", &nightly()).await?;
    assert_eq!(bad_name.json()?["code"], "invalid");
    // The host's own tasks have no way in here either.
    let admit = json!({"task": "celeriac/admit", "every": "1h"});
    let refused = http.put("/v1/schedules/nightly", &admit).await?;
    assert_eq!(
        (refused.status, &refused.json()?["code"]),
        (403, &json!("forbidden"))
    );
    let listed = http.get("/v1/schedules").await?.json()?;
    assert_eq!(
        listed,
        json!({"schedules": []}),
        "nothing of all that is there"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_changed_by_admins_alone() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = served(&stage).await?;
    assert_eq!(
        http.put("/v1/schedules/nightly", &nightly()).await?.status,
        201
    );
    for scope in [Scope::Read, Scope::Submit, Scope::Upload] {
        let other = http.clone().with_token(token(&stage, &[scope]).await?);
        let reads = if scope == Scope::Read { 200 } else { 403 };
        for path in ["/v1/schedules", "/v1/schedules/nightly"] {
            assert_eq!(other.get(path).await?.status, reads, "{scope} {path}");
        }
        for (method, path) in [
            ("PUT", "/v1/schedules/nightly"),
            ("DELETE", "/v1/schedules/nightly"),
            ("POST", "/v1/schedules/nightly/pause"),
            ("POST", "/v1/schedules/nightly/resume"),
            ("POST", "/v1/schedules/nightly/run"),
        ] {
            let answer = other.send(method, path, &[], b"").await?;
            assert_eq!(answer.status, 403, "{scope} {method} {path}");
        }
    }
    Ok(())
}
