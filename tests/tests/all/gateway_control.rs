//! What operators do over HTTP, at a real host, on both engines.

use std::time::Duration;

use anyhow::{Context, Result};
use celeriac::gateway::tokens::Scope;
use celeriac_broker::testing::AofMode;
use celeriac_tests::{Stage, http::Http, until};
use serde_json::{Value, json};

use super::{
    gateway::{host, token},
    gateway_schedules::served,
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn post(http: &Http, path: &str) -> Result<Value> {
    let answer = http.send("POST", path, &[], b"").await?;
    anyhow::ensure!(answer.status == 200, "{path}: {:?}", answer.json());
    answer.json()
}

async fn patch(http: &Http, path: &str, body: Value) -> Result<(u16, Value)> {
    let json = [("content-type", "application/json")];
    let body = body.to_string();
    let answer = http.send("PATCH", path, &json, body.as_bytes()).await?;
    Ok((answer.status, answer.json()?))
}

/// The member `name` of the list `of`, by its field `field`.
async fn one(http: &Http, of: &str, field: &str, name: &str) -> Result<Value> {
    let all = http.get(&format!("/v1/{of}")).await?.json()?;
    let all = all[of].as_array().context("no list")?;
    let found = all.iter().find(|one| one[field] == name);
    Ok(found.cloned().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_hosts_are_paused_throttled_and_drained_on_both_engines() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let arguments = ["--set", "http.tokens=always", "--concurrency", "4"];
        let (process, http) = host(&stage, &arguments).await?;
        let http = http.with_token(token(&stage, &Scope::ALL).await?);
        stage.push(&["basics"]).await?;
        let noop = json!({"task": "basics/noop"});
        let switched = |is_paused: bool, has_changed: bool| json!({"is_paused": is_paused, "has_changed": has_changed});

        assert_eq!(
            post(&http, "/v1/queues/default/pause").await?,
            switched(true, true)
        );
        assert_eq!(
            post(&http, "/v1/queues/default/pause").await?,
            switched(true, false)
        );
        let waits = http.post("/v1/invocations?wait=0.3", &noop).await?;
        assert_eq!(waits.status, 202, "nothing is taken");
        let queue = one(&http, "queues", "queue", "default").await?;
        assert!(
            queue["paused_since_ms"].is_u64() && queue["queued"] == 1,
            "{queue}"
        );
        assert_eq!(queue["hosts"], 1);
        assert_eq!(
            post(&http, "/v1/queues/default/resume").await?,
            switched(false, true)
        );
        let location = waits.header("location").context("no location")?;
        let ended = http
            .get(&format!("{location}/result?wait=30"))
            .await?
            .json()?;
        assert_eq!(ended["code"], "ok");
        let queue = one(&http, "queues", "queue", "default").await?;
        assert_eq!(queue.get("paused_since_ms"), None);
        assert_eq!(
            post(&http, "/v1/queues/default/resume").await?,
            switched(false, false)
        );
        // One that nobody has used yet is paused too, and shown.
        post(&http, "/v1/queues/later/pause").await?;
        let queue = one(&http, "queues", "queue", "later").await?;
        assert!(
            queue["paused_since_ms"].is_u64() && queue["hosts"] == 0,
            "{queue}"
        );

        let name = stage.client.broker().hosts().await?.remove(0).host;
        let path = format!("/v1/hosts/{name}");
        assert_eq!(
            post(&http, &format!("{path}/pause")).await?,
            switched(true, true)
        );
        let info = one(&http, "hosts", "host", name.as_str()).await?;
        assert!(info["paused_since_ms"].is_u64(), "{info}");
        let waits = http.post("/v1/invocations?wait=0.3", &noop).await?;
        assert_eq!(waits.status, 202, "it takes nothing");
        assert_eq!(
            post(&http, &format!("{path}/resume")).await?,
            switched(false, true)
        );
        let location = waits.header("location").context("no location")?;
        let ended = http
            .get(&format!("{location}/result?wait=30"))
            .await?
            .json()?;
        assert_eq!(ended["code"], "ok");

        let (status, told) = patch(&http, &path, json!({"concurrency": 1})).await?;
        assert_eq!(
            (status, &told["concurrency"], &told["ceiling"]),
            (200, &json!(1), &json!(4))
        );
        until(PATIENCE, "the host runs one at a time", || async {
            let info = one(&http, "hosts", "host", name.as_str()).await?;
            Ok(info["concurrency"] == 1)
        })
        .await?;
        for wrong in [5, 0] {
            let (status, problem) = patch(&http, &path, json!({"concurrency": wrong})).await?;
            assert_eq!(
                (status, &problem["errors"][0]["pointer"]),
                (422, &json!("/concurrency")),
                "{wrong}"
            );
        }
        for word in ["pause", "resume", "drain"] {
            let answer = http
                .send("POST", &format!("/v1/hosts/nobody/{word}"), &[], b"")
                .await?;
            assert_eq!(
                (answer.status, &answer.json()?["code"]),
                (404, &json!("no_host")),
                "{word}"
            );
        }
        let (status, _) = patch(&http, "/v1/hosts/nobody", json!({"concurrency": 1})).await?;
        assert_eq!(status, 404);
        assert_eq!(
            http.send("POST", "/v1/queues/NO/pause", &[], b"")
                .await?
                .status,
            422
        );

        let told = post(&http, &format!("{path}/drain")).await?;
        assert_eq!(told["host"], json!(name));
        assert!(
            process.wait(PATIENCE).await?.success(),
            "it has stopped by itself"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_read_and_removed_on_both_engines() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        assert_eq!(http.get("/v1/limits").await?.json()?, json!({"limits": []}));
        let bound = json!({"max_queue": 2});
        let set = http.put("/v1/limits/queue:nobody", &bound).await?;
        assert_eq!(
            (set.status, set.json()?),
            (
                200,
                json!({"scope": "queue:nobody", "max_queue": 2, "running": 0})
            )
        );
        let rate = json!({"rate": {"count": 100, "per_ms": 60_000}, "concurrency": 5});
        let set = http
            .put("/v1/limits/task:basics%2Fsleep", &rate)
            .await?
            .json()?;
        assert_eq!(
            (&set["scope"], &set["rate"], &set["concurrency"]),
            (&json!("task:basics/sleep"), &rate["rate"], &json!(5))
        );
        assert_eq!(
            http.get("/v1/limits/task:basics%2Fsleep").await?.json()?,
            set
        );
        let all = http.get("/v1/limits").await?.json()?;
        assert_eq!(all["limits"].as_array().map(Vec::len), Some(2), "{all}");

        // It holds: what is too much is refused, and says when to come again.
        let body = json!({"task": "basics/noop", "options": {"queue": "nobody"}});
        for _ in 0..2 {
            assert_eq!(http.post("/v1/invocations", &body).await?.status, 202);
        }
        let refused = http.post("/v1/invocations", &body).await?;
        let problem = refused.json()?;
        assert_eq!(
            (refused.status, &problem["code"]),
            (503, &json!("overloaded"))
        );
        assert_eq!(refused.header("retry-after"), Some("1"));
        let batch = json!({"invocations": [body]});
        let batch = http.post("/v1/invocations/batch", &batch).await?.json()?;
        for problem in [&problem, &batch["results"][0]["problem"]] {
            let said = ["queue", "depth", "limit"].map(|member| &problem[member]);
            assert_eq!(said, [&json!("nobody"), &json!(2), &json!(2)], "{problem}");
        }
        let removed = http
            .send("DELETE", "/v1/limits/queue:nobody", &[], b"")
            .await?;
        assert_eq!(removed.status, 204);
        assert_eq!(http.post("/v1/invocations", &body).await?.status, 202);
        for method in ["GET", "DELETE"] {
            let answer = http
                .send(method, "/v1/limits/queue:nobody", &[], b"")
                .await?;
            assert_eq!(
                (answer.status, &answer.json()?["code"]),
                (404, &json!("no_limit"))
            );
        }
        for (scope, body, pointer) in [
            ("queue:a", json!({}), ""),
            ("queue:a", json!({"concurrency": 0}), "/concurrency"),
            ("queue:a", json!({"burst": 5}), "/burst"),
            (
                "queue:a",
                json!({"rate": {"count": 0, "per_ms": 1000}}),
                "/rate",
            ),
            (
                "queue:a",
                json!({"rate": {"count": 5, "per_ms": 0}}),
                "/rate",
            ),
            ("queue:a", json!({"rate": "5/s"}), "/rate"),
            ("queue:a", json!({"most": 5}), "/most"),
            ("key:*", json!({"max_queue": 5}), "/max_queue"),
        ] {
            let answer = http.put(&format!("/v1/limits/{scope}"), &body).await?;
            let problem = answer.json()?;
            assert_eq!(answer.status, 422, "{problem}");
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
        let nothing = http.put("/v1/limits/everything", &bound).await?;
        assert_eq!(
            (nothing.status, &nothing.json()?["code"]),
            (422, &json!("invalid"))
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_filter_asks_for_are_cancelled_a_page_at_a_time() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = served(&stage).await?;
        let each = |task: &str| json!({"task": task, "options": {"queue": "nobody"}});
        let mut batch = vec![each("basics/noop"); 7];
        batch.push(each("basics/echo"));
        let batch = json!({"invocations": batch});
        assert_eq!(
            http.post("/v1/invocations/batch", &batch).await?.status,
            200
        );
        let cancel = async |dry: bool| {
            let mut body = json!({"filter": {"queue": "nobody", "task": "basics/noop"}, "dry_run": dry, "limit": 3});
            let (mut matched, mut cancelled) = (0, 0);
            loop {
                let answer = http.post("/v1/invocations/cancel", &body).await?;
                anyhow::ensure!(answer.status == 200, "{:?}", answer.json());
                let answer = answer.json()?;
                matched += answer["matched"].as_u64().context("no count")?;
                cancelled += answer["cancelled"].as_u64().context("no count")?;
                match answer.get("cursor") {
                    Some(cursor) => body["cursor"] = cursor.clone(),
                    None => return Ok((matched, cancelled)),
                }
            }
        };
        assert_eq!(cancel(true).await?, (7, 0), "a dry run does nothing");
        assert_eq!(cancel(false).await?, (7, 7));
        assert_eq!(cancel(false).await?, (0, 0), "what has ended is left alone");
        let left = http
            .get("/v1/invocations?states=queued&queue=nobody")
            .await?
            .json()?;
        assert_eq!(
            left["invocations"].as_array().map(Vec::len),
            Some(1),
            "{left}"
        );
        for (body, pointer) in [
            (json!({"filter": {}}), "/filter"),
            (json!({"filter": {"state": "queued"}}), "/filter/state"),
            (json!({"filter": {"states": ["late"]}}), "/filter/states/0"),
            (json!({"filter": {"queue": "a"}, "limit": 501}), "/limit"),
        ] {
            let problem = http.post("/v1/invocations/cancel", &body).await?.json()?;
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_for_admins() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = served(&stage).await?;
    let name = stage.client.broker().hosts().await?.remove(0).host;
    let of_host = |word: &str| format!("/v1/hosts/{name}{word}");
    for scope in [Scope::Read, Scope::Submit, Scope::Upload] {
        let other = http.clone().with_token(token(&stage, &[scope]).await?);
        for (method, path) in [
            ("POST", "/v1/queues/default/pause".to_owned()),
            ("POST", "/v1/queues/default/resume".to_owned()),
            ("POST", of_host("/pause")),
            ("POST", of_host("/resume")),
            ("POST", of_host("/drain")),
            ("PATCH", of_host("")),
            ("PUT", "/v1/limits/queue:default".to_owned()),
            ("DELETE", "/v1/limits/queue:default".to_owned()),
            ("POST", "/v1/invocations/cancel".to_owned()),
        ] {
            let answer = other.send(method, &path, &[], b"").await?;
            assert_eq!(answer.status, 403, "{scope} {method} {path}");
        }
        let reads = if scope == Scope::Read { 200 } else { 403 };
        assert_eq!(other.get("/v1/limits").await?.status, reads, "{scope}");
    }
    let queue = one(&http, "queues", "queue", "default").await?;
    assert_eq!(queue.get("paused_since_ms"), None, "nothing was done");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_goes_on_to_what_was_called_when_it_says_so() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let settings = stage.dir.path().join("celeriac.toml");
        std::fs::write(&settings, "[grants.\"relay\"]\ntasks = [\"basics/*\"]\n")?;
        let settings = settings.to_str().context("a path that is text")?;
        let arguments = ["--config", settings, "--set", "http.tokens=always"];
        let (_host, http) = host(&stage, &arguments).await?;
        let http = http.with_token(token(&stage, &[Scope::Submit, Scope::Read]).await?);
        stage.push(&["basics", "relay"]).await?;
        // It ends at once; what it has called waits for an hour.
        let input = json!({"task": "basics/noop", "inputs": [null, null], "delay": 3600});
        let body = json!({"task": "relay/scatter", "input": input});
        let ended = http.post("/v1/invocations?wait=30", &body).await?.json()?;
        let called = ended["output"].as_array().context("no ids")?.clone();
        assert_eq!(called.len(), 2, "{ended}");
        let path = format!(
            "/v1/invocations/{}/cancel",
            ended["id"].as_str().context("no id")?
        );
        let state = async |id: &Value| {
            let id = id.as_str().context("no id")?;
            let status = http.get(&format!("/v1/invocations/{id}")).await?.json()?;
            anyhow::Ok(status["state"].clone())
        };
        assert_eq!(post(&http, &path).await?["result"], "already_ended");
        assert_eq!(state(&called[0]).await?, "scheduled", "alone by itself");
        post(&http, &format!("{path}?children=true")).await?;
        for id in &called {
            until(PATIENCE, "what it has called is cancelled", || async {
                Ok(state(id).await? == "cancelled")
            })
            .await?;
        }
        let answer = http
            .send("POST", &format!("{path}?children=x"), &[], b"")
            .await?;
        assert_eq!(answer.json()?["code"], "malformed");
    }
    Ok(())
}
