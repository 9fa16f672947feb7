//! The HTTP gateway, asked as its clients ask: over a socket, at a real host, on both engines.

use std::time::Duration;

use anyhow::{Context, Result};
use celeriac::gateway::tokens::{self, Scope};
use celeriac_broker::testing::AofMode;
use celeriac_tests::{HostProcess, Stage, http::Http, sample, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A host that answers HTTP at a port of its own.
pub(crate) async fn host(stage: &Stage, arguments: &[&str]) -> Result<(HostProcess, Http)> {
    let log = stage.dir.path().join("gateway.log");
    let arguments = [&["--http", "127.0.0.1:0"], arguments].concat();
    let host = stage.host_logging(&arguments, &log).await?;
    let text = std::fs::read_to_string(&log)?;
    let address = text
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("no address in {text}"))?;
    Ok((host, Http::new(address)))
}

/// A token with these scopes.
pub(crate) async fn token(stage: &Stage, scopes: &[Scope]) -> Result<String> {
    let broker = stage.client.broker().as_ref();
    Ok(tokens::issue(broker, "test", scopes.to_vec(), None)
        .await?
        .0)
}

async fn submit(http: &Http, query: &str, task: &str, input: Value) -> Result<Value> {
    let body = json!({"task": task, "input": input});
    let answer = http.post(&format!("/v1/invocations{query}"), &body).await?;
    anyhow::ensure!(answer.status < 300, "{:?}", answer.json());
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_uploaded_called_and_awaited_on_both_engines() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, mut http) = host(&stage, &[]).await?;
        if stage.redis.is_some() {
            assert_eq!(
                http.get("/v1/modules").await?.status,
                401,
                "Redis is never open"
            );
            http = http.with_token(token(&stage, &Scope::ALL).await?);
        }
        assert_eq!(http.get("/v1/readyz").await?.status, 200);
        assert_eq!(http.get("/livez").await?.status, 200);
        let upload = http
            .send("PUT", "/v1/modules/basics", &[], &sample("basics")?)
            .await?;
        assert_eq!(upload.status, 200, "{:?}", upload.json());
        assert!(upload.json()?["tasks"].is_array());

        let ended = submit(&http, "?wait=30", "basics/add", json!({"a": 1, "b": 2})).await?;
        assert_eq!(
            (&ended["code"], &ended["output"]),
            (&json!("ok"), &json!(3.0))
        );

        // Without waiting: stored, found by its Location, awaited later.
        let body = json!({"task": "basics/echo", "input": null});
        let answer = http.post("/v1/invocations", &body).await?;
        assert_eq!(answer.status, 202);
        let location = answer.header("location").context("no location")?.to_owned();
        let ended = http.get(&format!("{location}/result?wait=30")).await?;
        assert_eq!(ended.json()?["output"], Value::Null);
        assert!(ended.json()?.get("output").is_some(), "null is an output");
        let status = http.get(&location).await?.json()?;
        assert_eq!(status["state"], "succeeded");

        // A task that fails is an answer; its output is not there.
        let failed = submit(&http, "?wait=30", "basics/fail", json!({"message": "no"})).await?;
        assert_eq!(
            (&failed["code"], &failed["failure"]["message"]),
            (&json!("task_error"), &json!("no"))
        );
        let id = failed["id"].as_str().context("id")?;
        let output = http.get(&format!("/v1/invocations/{id}/output")).await?;
        assert_eq!(
            (output.status, &output.json()?["code"]),
            (409, &json!("task_error"))
        );

        let listed = http
            .get("/v1/invocations?states=failed&task=basics/fail")
            .await?
            .json()?;
        assert_eq!(listed["invocations"][0]["id"], id);
        assert_eq!(http.get("/v1/queues").await?.status, 200);
        assert_eq!(
            http.get("/v1/hosts").await?.json()?["hosts"]
                .as_array()
                .map(Vec::len),
            Some(1)
        );
        let task = http.get("/v1/modules/basics/tasks/add").await?.json()?;
        assert_eq!(task["input_schema"]["required"], json!(["a", "b"]));
        assert_eq!(
            http.send("DELETE", "/v1/modules/basics", &[], b"")
                .await?
                .status,
            204
        );
        assert_eq!(
            http.get("/v1/modules/basics").await?.json()?["code"],
            "no_module"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_travel_as_they_are_and_the_same_id_runs_once() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &[]).await?;
    stage.push(&["basics"]).await?;
    let id = stage.client.broker().namespace().issue(0);
    let body = json!({"task": "basics/echo-bytes", "input_base64": "AP8Q", "content_type": "image/x-test", "id": id});
    let first = http.post("/v1/invocations?wait=30", &body).await?.json()?;
    assert_eq!(
        (&first["output_base64"], &first["content_type"]),
        (&json!("AP8Q"), &json!("image/x-test"))
    );
    let again = http.post("/v1/invocations?wait=30", &body).await?.json()?;
    assert_eq!(again, first, "not run again");
    let raw = http.get(&format!("/v1/invocations/{id}/output")).await?;
    assert_eq!(
        (raw.status, raw.body.as_slice()),
        (200, [0, 255, 16].as_slice())
    );
    assert_eq!(raw.header("content-type"), Some("image/x-test"));
    assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
    let made_up = json!({"task": "basics/noop", "id": "019ab000-0000-7000-8000-000000000000"});
    assert_eq!(http.post("/v1/invocations", &made_up).await?.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_does_not_fit_is_refused_with_its_field_before_it_is_stored() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &[]).await?;
    stage.push(&["basics"]).await?;
    let wrong = json!({"task": "basics/add", "input": {"a": "one"}});
    let answer = http.post("/v1/invocations", &wrong).await?;
    let problem = answer.json()?;
    assert_eq!((answer.status, &problem["code"]), (422, &json!("invalid")));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| &error["pointer"])
        .collect();
    assert!(
        pointers.contains(&&json!("/input/a")) && pointers.contains(&&json!("/input/b")),
        "{problem}"
    );

    // What is for people names the same place as what is for programs.
    for (input, place) in [
        (json!({"a": 1, "b": "x"}), "/input/b"),
        (json!([]), "/input"),
    ] {
        let one = json!({"task": "basics/add", "input": input});
        let alone = http.post("/v1/invocations", &one).await?.json()?;
        let batch = json!({"invocations": [one]});
        let batch = http.post("/v1/invocations/batch", &batch).await?.json()?;
        let within = &batch["results"][0]["problem"];
        for (problem, place) in [
            (&alone, place.to_owned()),
            (within, format!("/invocations/0{place}")),
        ] {
            assert_eq!(problem["errors"][0]["pointer"], place, "{problem}");
            let detail = problem["detail"].as_str().context("detail")?;
            assert!(detail.starts_with(&format!("`{place}`: ")), "{detail}");
        }
    }

    let batch = json!({"invocations": [{"task": "basics/noop"}, wrong, {"task": "basics/none"}]});
    let results = http.post("/v1/invocations/batch", &batch).await?.json()?;
    assert!(results["results"][0]["id"].is_string());
    assert_eq!(
        results["results"][1]["problem"]["errors"][0]["pointer"]
            .as_str()
            .map(|at| at.starts_with("/invocations/1/input/")),
        Some(true)
    );
    assert_eq!(results["results"][2]["problem"]["code"], "no_task");
    let listed = http.get("/v1/invocations").await?.json()?;
    assert_eq!(
        listed["invocations"].as_array().map(Vec::len),
        Some(2),
        "the upload and the one that fits: {listed}"
    );

    let misspelt = json!({"task": "basics/noop", "options": {"retrys": 1}});
    let problem = http.post("/v1/invocations", &misspelt).await?.json()?;
    assert_eq!(problem["errors"][0]["pointer"], "/options/retrys");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_a_query_has_not_is_refused_and_nothing_is_done() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &[]).await?;
    stage.push(&["basics"]).await?;
    let id = stage.client.broker().namespace().issue(0);
    let body = json!({"task": "basics/noop", "id": id}).to_string();
    for (method, path, word, known) in [
        ("POST", "/v1/invocations?wiat=3", "wiat", "`wait`"),
        ("POST", "/v1/invocations?wait=3&Wait=3", "Wait", "`wait`"),
        ("POST", "/v1/invocations/batch?wait=3", "wait", "none"),
        ("PUT", "/v1/modules/basics?wiat=3", "wiat", "`wait`"),
        (
            "POST",
            "/v1/invocations/ID/cancel?child=true",
            "child",
            "`children`",
        ),
        ("POST", "/v1/schedules/beat/run?wiat=3", "wiat", "`wait`"),
        ("POST", "/v1/dead-letters/ID/retry?wiat=3", "wiat", "`wait`"),
        ("GET", "/v1/invocations?state=failed", "state", "`states`"),
        ("GET", "/v1/invocations/ID/result?w%61it=0&x", "x", "`wait`"),
        ("GET", "/v1/invocations/ID/output?wiat=3", "wiat", "`wait`"),
        (
            "GET",
            "/v1/invocations/ID/events?kind=result",
            "kind",
            "`kinds`",
        ),
        ("GET", "/v1/replies?kinds=result", "kinds", "none"),
        ("GET", "/v1/modules?limit=3", "limit", "none"),
        ("GET", "/v1/schedules?after=a", "after", "`cursor`"),
        ("GET", "/v1/dead-letters?code=trap", "code", "`codes`"),
        ("DELETE", "/v1/modules/basics?force=1", "force", "none"),
    ] {
        let path = path.replace("ID", &id.to_string());
        let json = [("content-type", "application/json")];
        let answer = http.send(method, &path, &json, body.as_bytes()).await?;
        assert_eq!(answer.status, 400, "{method} {path}");
        let problem = answer.json()?;
        let detail = problem["detail"].as_str().context("detail")?;
        assert_eq!(problem["code"], "malformed", "{path}");
        assert!(
            detail.contains(&format!("`{word}`")) && detail.contains(known),
            "{path}: {detail}"
        );
    }
    let listed = http.get("/v1/invocations?task=basics").await?.json()?;
    assert_eq!(listed["invocations"], json!([]), "nothing was stored");
    assert_eq!(http.get("/v1/modules/basics?").await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_order_and_go_on_after_the_last_that_was_seen() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = host(&stage, &[]).await?;
        let http = http.with_token(token(&stage, &[Scope::Submit, Scope::Read]).await?);
        stage.push(&["basics"]).await?;
        let body = json!({"task": "basics/sleep", "input": {"seconds": 0.3, "steps": 3}});
        let id = http.post("/v1/invocations", &body).await?.json()?["id"].clone();
        let path = format!("/v1/invocations/{}/events", id.as_str().context("id")?);
        let mut stream = http.events(&path, &[]).await?;
        let mut seen = Vec::new();
        while let Some(event) = stream.next().await? {
            seen.push(event);
        }
        let last = seen.last().context("no events")?;
        assert_eq!((last.name.as_str(), last.id.as_str()), ("result", "end"));
        assert_eq!(last.data["code"], "ok");
        let progress: Vec<_> = seen
            .iter()
            .filter(|event| event.name == "progress")
            .collect();
        assert!(
            progress.len() >= 3 && progress[0].data["done"].is_number(),
            "{seen:?}"
        );

        let headers = [("last-event-id", progress[0].id.as_str())];
        let mut rest = http.events(&path, &headers).await?;
        let mut follows = Vec::new();
        while let Some(event) = rest.next().await? {
            follows.push(event);
        }
        let after = seen
            .iter()
            .position(|event| event.id == progress[0].id)
            .context("it was there")?;
        assert_eq!(follows, seen[after + 1..]);
        let only = http
            .events(&format!("{path}?kinds=result"), &[])
            .await?
            .next()
            .await?;
        assert_eq!(only.context("a result")?.name, "result");
        // The end is told whatever was picked, or a browser would come back for ever.
        let mut picked = http.events(&format!("{path}?kinds=progress"), &[]).await?;
        let mut names = Vec::new();
        while let Some(event) = picked.next().await? {
            names.push((event.name, event.id));
        }
        let end = names.pop().context("no events")?;
        assert_eq!(end, ("end".to_owned(), "end".to_owned()));
        assert!(
            names.len() >= 3 && names.iter().all(|(name, _)| name == "progress"),
            "{names:?}"
        );
        let (_, last) = names.last().context("no progress")?;
        for query in ["", "?kinds=progress", "?kinds=result"] {
            let path = format!("{path}{query}");
            let headers = [("last-event-id", last.as_str())];
            let mut rest = http.events(&path, &headers).await?;
            let end = rest.next().await?.context("the end")?;
            assert_eq!(end.id, "end", "{query}");
            assert_eq!(rest.next().await?.map(|event| event.name), None);
            let done = http
                .send("GET", &path, &[("last-event-id", "end")], b"")
                .await?;
            assert_eq!(done.status, 204, "{query}");
        }
        for garbage in ["x", "-", "99999999999999999999999999", "\u{e9}"] {
            let answer = http
                .send("GET", &path, &[("last-event-id", garbage)], b"")
                .await?;
            assert_eq!(
                (answer.status, &answer.json()?["code"]),
                (422, &json!("invalid")),
                "{garbage}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_carries_all_results_of_a_client() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (_host, http) = host(&stage, &[]).await?;
        let http = http.with_token(token(&stage, &[Scope::Submit, Scope::Read]).await?);
        stage.push(&["basics"]).await?;
        let mut replies = http.events("/v1/replies", &[]).await?;
        let open = replies.next().await?.context("open")?;
        assert_eq!(open.name, "open");
        let client = open.data["client"].clone();
        let each = (0..50).map(|n| json!({"task": "basics/echo", "input": n, "reply_to": client}));
        let batch = json!({"invocations": each.collect::<Vec<_>>()});
        let accepted = http.post("/v1/invocations/batch", &batch).await?.json()?;
        assert_eq!(accepted["results"].as_array().map(Vec::len), Some(50));
        let mut outputs = Vec::new();
        while outputs.len() < 50 {
            let event = replies.next().await?.context("a result")?;
            outputs.push(event.data["output"].as_i64().context("a number")?);
        }
        outputs.sort_unstable();
        assert_eq!(outputs, (0..50).collect::<Vec<_>>());

        // One that has not ended is told to a waiter who asks for it later.
        let body = json!({"task": "basics/sleep", "input": {"seconds": 0.5, "steps": 1}});
        let id = http.post("/v1/invocations", &body).await?.json()?["id"].clone();
        let wanted = json!({"ids": [id], "waiter": client});
        let results = http
            .post("/v1/invocations/results", &wanted)
            .await?
            .json()?;
        assert_eq!(results["results"][0], json!({}));
        let event = replies.next().await?.context("a result")?;
        assert_eq!((event.name.as_str(), &event.data["id"]), ("result", &id));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_invocation_is_cancelled_and_a_refused_module_is_reported() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &[]).await?;
    stage.push(&["basics"]).await?;
    let body = json!({"task": "basics/sleep", "input": {"seconds": 600.0, "steps": 600}});
    let id = http.post("/v1/invocations?wait=0.2", &body).await?;
    assert_eq!(id.status, 202, "it has not ended in time");
    let path = format!(
        "/v1/invocations/{}",
        id.json()?["id"].as_str().context("id")?
    );
    let cancel = http
        .send("POST", &format!("{path}/cancel"), &[], b"")
        .await?;
    assert!(cancel.json()?["result"].is_string());
    let ended = http.get(&format!("{path}/result?wait=30")).await?.json()?;
    assert_eq!(ended["state"], "cancelled");
    let refused = http
        .send("PUT", "/v1/modules/evil", &[], b"not wasm")
        .await?;
    let problem = refused.json()?;
    assert_eq!((refused.status, &problem["code"]), (422, &json!("refused")));
    assert!(problem["findings"][0]["message"].is_string(), "{problem}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_kept_apart_and_a_revoked_token_ends_everywhere() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (_host, http) = host(&stage, &["--set", "http.tokens=always"]).await?;
    stage.push(&["basics"]).await?;
    let as_scope =
        async |scope| anyhow::Ok(http.clone().with_token(token(&stage, &[scope]).await?));
    let (submit, read) = (as_scope(Scope::Submit).await?, as_scope(Scope::Read).await?);
    let (upload, admin) = (
        as_scope(Scope::Upload).await?,
        as_scope(Scope::Admin).await?,
    );
    let body = json!({"task": "basics/noop"});
    assert_eq!(submit.post("/v1/invocations", &body).await?.status, 202);
    assert_eq!(submit.get("/v1/modules").await?.status, 403);
    assert_eq!(read.post("/v1/invocations", &body).await?.status, 403);
    assert_eq!(
        read.send("PUT", "/v1/modules/x", &[], b"x").await?.status,
        403
    );
    assert_eq!(
        upload.send("PUT", "/v1/modules/x", &[], b"x").await?.status,
        422
    );
    assert_eq!(
        upload
            .send("DELETE", "/v1/modules/basics", &[], b"")
            .await?
            .status,
        403
    );
    assert_eq!(admin.get("/v1/modules").await?.status, 200);
    // The host's own tasks have no way in beside the upload: naming a module is authority.
    let admit = json!({"task": "celeriac/admit", "input": {"digest": format!("sha256:{:064}", 0), "name": "basics"}});
    assert_eq!(submit.post("/v1/invocations", &admit).await?.status, 403);
    // Nor can anybody say that another invocation, or a schedule, is behind it.
    for said in ["parent", "schedule", "retry_of"] {
        let value = match said {
            "parent" => json!({"id": "01a1ff68-fe25-71bb-bb84-ddd9d8007967", "depth": 1}),
            "schedule" => json!("nightly"),
            _ => json!("01a1ff68-fe25-71bb-bb84-ddd9d8007967"),
        };
        let forged =
            json!({"task": "basics/add", "input": {"a": 1, "b": 2}, "options": {said: value}});
        assert_eq!(
            submit.post("/v1/invocations", &forged).await?.status,
            422,
            "{said}"
        );
    }
    let id = read
        .token
        .as_deref()
        .and_then(|token| token.split('_').nth(1))
        .context("id")?;
    assert!(tokens::revoke(stage.client.broker().as_ref(), id).await?);
    until(Duration::from_secs(20), "the token ends", || async {
        Ok(read.get("/v1/modules").await?.status == 401)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_who_still_waits() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (host, http) = host(&stage, &["--grace", "100ms"]).await?;
    stage.push(&["basics"]).await?;
    let waits = {
        let http = http.clone();
        let body = json!({"task": "basics/sleep", "input": {"seconds": 600.0, "steps": 600}});
        tokio::spawn(async move { http.post("/v1/invocations?wait=300", &body).await })
    };
    until(Duration::from_secs(20), "it runs", || async {
        let running = http.get("/v1/invocations?states=running").await?.json()?;
        Ok(running["invocations"]
            .as_array()
            .is_some_and(|found| !found.is_empty()))
    })
    .await?;
    let mut events = http.events("/v1/replies", &[]).await?;
    assert_eq!(events.next().await?.context("open")?.name, "open");
    host.signal(Signal::TERM);
    assert_eq!(waits.await??.status, 202);
    assert_eq!(events.next().await?, None, "streams end");
    assert!(host.wait(Duration::from_secs(20)).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_alone_serves_a_worker_elsewhere() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let _worker = stage.host(&[]).await?;
    stage.push(&["basics"]).await?;
    let log = stage.dir.path().join("alone.log");
    let environment = [("CELERIAC_CACHE_DIR", "/nonexistent")];
    let arguments = ["--http", "127.0.0.1:0", "--no-worker"];
    let gateway = HostProcess::start_logging(&stage.url, &arguments, &environment, &log)?;
    let address = || std::fs::read_to_string(&log).unwrap_or_default();
    until(Duration::from_secs(20), "it listens", || async {
        Ok(address().contains("http://"))
    })
    .await?;
    let text = address();
    let address = text
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let http =
        Http::new(address.context("an address")?).with_token(token(&stage, &Scope::ALL).await?);
    let ended = submit(&http, "?wait=30", "basics/add", json!({"a": 1, "b": 2})).await?;
    assert_eq!(ended["output"], 3.0);
    assert_eq!(
        http.get("/v1/hosts").await?.json()?["hosts"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    gateway.signal(Signal::TERM);
    assert!(gateway.wait(Duration::from_secs(20)).await?.success());
    Ok(())
}
