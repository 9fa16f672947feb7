//! What operators do, with the real program on both engines.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use celeriac_broker::{Limit, testing::AofMode};
use celeriac_client::{Code, Handle, InvocationId, OnConflict, Scope, State, Unique};
use celeriac_tests::{Stage, binary, until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

async fn both() -> Result<[Stage; 2]> {
    Ok([Stage::embedded().await?, Stage::redis(AofMode::Off).await?])
}

/// What `celeriac ARGUMENTS --json` prints.
fn celeriac(stage: &Stage, arguments: &[&str]) -> Result<Value> {
    let output = Command::new(binary())
        .args(["--broker", &stage.url, "--json"])
        .args(arguments)
        .output()
        .context("the binary is not there: run `make build`")?;
    ensure!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_and_a_host_throttled_and_drained() -> Result<()> {
    for stage in both().await? {
        let host = stage.host(&["--concurrency", "4"]).await?;
        stage.push(&["basics"]).await?;
        celeriac(&stage, &["pause", "queue", "default"])?;
        let sleep = stage.client.task("basics/sleep")?;
        let handles = sleep
            .submit_all((0..4).map(|_| json!({ "seconds": 0.3 })))
            .await?;
        let queues = celeriac(&stage, &["queues"])?;
        let queue = queues["queues"].as_array().context("no queues")?;
        let queue = queue.iter().find(|queue| queue["queue"] == "default");
        let queue = queue.context("no queue `default`")?;
        ensure!(
            queue["queued"] == 4 && queue["paused_since_ms"].is_u64(),
            "{queue}"
        );

        // One at a time from now on.
        let name = stage.client.broker().hosts().await?.remove(0).host;
        let begins = &name.as_str()[..name.as_str().len() - 3];
        let set = celeriac(&stage, &["hosts", "set", begins, "--concurrency", "1"])?;
        ensure!(set["ceiling"] == 4, "{set}");
        until(PATIENCE, "the host runs one at a time", || async {
            Ok(stage.client.broker().hosts().await?.remove(0).concurrency == 1)
        })
        .await?;
        let refused = Command::new(binary())
            .args([
                "--broker",
                &stage.url,
                "hosts",
                "set",
                begins,
                "--concurrency",
                "5",
            ])
            .output()?;
        let said = String::from_utf8(refused.stderr)?;
        ensure!(said.contains("was built for 4 at once"), "{said}");

        celeriac(&stage, &["resume", "queue", "default"])?;
        let begun = std::time::Instant::now();
        for handle in &handles {
            ensure!(handle.outcome().await?.code == Code::Ok);
        }
        ensure!(
            begun.elapsed() >= Duration::from_millis(1100),
            "{:?}",
            begun.elapsed()
        );

        let top = Command::new(binary())
            .args(["--broker", &stage.url, "top", "--once"])
            .output()?;
        let text = String::from_utf8(top.stdout)?;
        for part in ["IN/S", "default", name.as_str(), "live", "INVOCATION"] {
            ensure!(text.contains(part), "no `{part}` in {text}");
        }
        celeriac(&stage, &["drain", name.as_str()])?;
        ensure!(host.wait(PATIENCE).await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_paused_and_others_go_on() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let paused = celeriac(&stage, &["pause", "task", "basics/echo"])?;
        ensure!(paused["what"] == "task:basics/echo", "{paused}");
        let call = stage.client.task("basics/echo")?;
        let call = call.concurrency_key("tenant-17");
        let held = call.submit_all((0..3).map(|number| json!(number))).await?;
        // What was handed in behind it runs, what is paused does not.
        let sum: f64 = stage
            .client
            .call("basics/add", &json!({ "a": 1, "b": 2 }))
            .await?;
        ensure!(sum == 3.0);
        let limits = celeriac(&stage, &["limits", "list"])?;
        ensure!(
            limits["paused_tasks"][0]["what"] == "task:basics/echo",
            "{limits}"
        );
        let of_key = celeriac(&stage, &["list", "--key", "tenant-17", "--state", "queued"])?;
        ensure!(
            of_key["invocations"].as_array().map(Vec::len) == Some(3),
            "{of_key}"
        );
        let top = Command::new(binary())
            .args(["--broker", &stage.url, "top", "--once"])
            .output()?;
        let text = String::from_utf8(top.stdout)?;
        ensure!(text.contains("paused tasks: basics/echo"), "{text}");
        celeriac(&stage, &["resume", "task", "basics/echo"])?;
        for (number, handle) in held.iter().enumerate() {
            ensure!(handle.result::<usize>().await? == number);
        }
        let refused = Command::new(binary())
            .args(["--broker", &stage.url, "pause", "task", "basics@1.0.0/echo"])
            .output()?;
        let said = String::from_utf8(refused.stderr)?;
        ensure!(said.contains("all its versions are meant"), "{said}");
        let cancelled = celeriac(&stage, &["cancel", "--key", "tenant-17", "--dry-run"])?;
        ensure!(cancelled["invocations"]["matched"] == 0, "{cancelled}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_moved_and_renamed() -> Result<()> {
    for stage in both().await? {
        let host = stage.host(&["--queues", "new"]).await?;
        stage.push(&["basics"]).await?;
        let echo = stage.client.task("basics/echo")?.queue("old");
        let waiting = echo.submit_all((0..5).map(|number| json!(number))).await?;
        let other = stage.client.task("basics/noop")?.queue("old").detached();
        other.submit_all((0..300).map(|_| json!(null))).await?;
        celeriac(&stage, &["queues", "set", "old", "--result-ttl", "2h"])?;
        let limit = Limit {
            concurrency: Some(3),
            ..Limit::default()
        };
        let broker = stage.client.broker();
        broker
            .set_limit(&"queue:old".parse()?, Some(&limit))
            .await?;
        let schedule = [
            "schedules",
            "add",
            "nightly",
            "basics/noop",
            "--cron",
            "0 3 * * *",
            "--queue",
            "old",
        ];
        celeriac(&stage, &schedule)?;

        let some = ["queues", "move", "old", "aside", "--task", "basics/noop"];
        let dry = celeriac(&stage, &[some.as_slice(), &["--dry-run"]].concat())?;
        ensure!(
            dry["is_dry"] == true && dry["invocations"]["matched"] == 300,
            "{dry}"
        );
        let moved = celeriac(&stage, &some)?;
        ensure!(moved["invocations"]["moved"] == 300, "{moved}");
        let renamed = celeriac(&stage, &["queues", "rename", "old", "new"])?;
        ensure!(
            renamed["moved"] == 5 && renamed["is_gone"] == true,
            "{renamed}"
        );
        ensure!(
            renamed["settings"] == json!(["limit", "result_ttl"]),
            "{renamed}"
        );
        ensure!(renamed["schedules"] == json!(["nightly"]), "{renamed}");
        for (number, handle) in waiting.iter().enumerate() {
            ensure!(handle.result::<usize>().await? == number);
        }
        let queues = celeriac(&stage, &["queues"])?;
        let queue = |name: &str| {
            let queues = queues["queues"].as_array().cloned().unwrap_or_default();
            queues.into_iter().find(|queue| queue["queue"] == name)
        };
        ensure!(queue("old").is_none(), "{queues}");
        let new = queue("new").context("no queue `new`")?;
        ensure!(new["result_ttl_ms"] == 7_200_000, "{new}");
        ensure!(queue("aside").context("no queue `aside`")?["queued"] == 300);
        let limits = celeriac(&stage, &["limits", "list"])?;
        ensure!(limits["limits"][0]["scope"] == "queue:new", "{limits}");
        let nightly = stage.client.schedules().get("nightly").await?;
        ensure!(nightly.schedule.options.queue.as_deref() == Some("new"));

        let back = celeriac(&stage, &["queues", "move", "aside", "new"])?;
        ensure!(back["invocations"]["moved"] == 300, "{back}");
        until(PATIENCE, "what was moved has run", || async {
            let queues = stage.client.broker().queues().await?;
            Ok(queues.iter().all(|queue| queue.queued + queue.running == 0))
        })
        .await?;
        let refused = Command::new(binary())
            .args(["--broker", &stage.url, "queues", "move", "new", "celeriac"])
            .output()?;
        let said = String::from_utf8(refused.stderr)?;
        ensure!(said.contains("the hosts' own"), "{said}");

        // What the other queue has of its own stays, and that is said.
        let limit = Limit {
            max_queue: Some(7),
            ..Limit::default()
        };
        let scope = "queue:old".parse()?;
        stage
            .client
            .broker()
            .set_limit(&scope, Some(&limit))
            .await?;
        let renamed = celeriac(&stage, &["queues", "rename", "old", "new"])?;
        ensure!(
            renamed["dropped"] == json!(["limit"]) && renamed["settings"] == json!([]),
            "{renamed}"
        );
        drop(host);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_found_mended_and_retried() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let panics = stage.client.task("basics/panic")?;
        let wrong = panics.submit(&json!({ "message": "first" })).await?;
        ensure!(wrong.outcome().await?.code == Code::Panicked);
        let fails = stage.client.task("basics/echo")?.limit("output_bytes", 3);
        let large = fails.submit(&json!("too long")).await?;
        ensure!(large.outcome().await?.code == Code::OutputTooLarge);

        let list = celeriac(&stage, &["dead", "list", "--code", "output_too_large"])?;
        ensure!(
            list["letters"].as_array().map(Vec::len) == Some(1),
            "{list}"
        );
        ensure!(list["letters"][0]["id"] == json!(large.id()), "{list}");
        let id = large.id().to_string();
        let shown = celeriac(&stage, &["dead", "show", &id])?;
        ensure!(shown["input"]["json"] == "too long", "{shown}");
        let retried = celeriac(&stage, &["dead", "retry", &id, "--input", "1"])?;
        let successor = retried["letters"][0]["retried_as"]
            .as_str()
            .context("no id")?;
        let successor = stage.client.handle(successor.parse()?);
        ensure!(successor.result::<u32>().await? == 1);
        ensure!(successor.status().await?.retry_of == Some(large.id()));

        let all = celeriac(&stage, &["dead", "retry", "--task", "basics/panic"])?;
        ensure!(all["letters"]["done"] == 1, "{all}");
        // It fails again: one letter in the place of the other.
        until(PATIENCE, "the retry is a dead letter", || async {
            let list = celeriac(&stage, &["dead", "list", "--newer-than", "1h"])?;
            let letters = list["letters"].as_array().context("no letters")?;
            Ok(letters.len() == 1 && letters[0]["retry_of"] == json!(wrong.id()))
        })
        .await?;
        let dropped = celeriac(&stage, &["dead", "drop", "--task", "basics"])?;
        ensure!(dropped["letters"]["done"] == 1, "{dropped}");
    }
    Ok(())
}

/// Retries a dead letter; what takes its place.
fn retry_dead(stage: &Stage, id: InvocationId, how: &[&str]) -> Result<Handle> {
    let id = id.to_string();
    let mut arguments = vec!["dead", "retry", &id];
    arguments.extend(how);
    let retried = celeriac(stage, &arguments)?;
    let successor = retried["letters"][0]["retried_as"].as_str();
    Ok(stage.client.handle(successor.context("no id")?.parse()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_with_a_parent_or_keys_is_retried() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let echo = stage.client.task("basics/echo")?;
        // It is too late before its parent starts: what the retry gets is there only then.
        let parent = echo.clone().delay(Duration::from_secs(1));
        let parent = parent.submit(&json!("from the parent")).await?;
        let late = echo.clone().after(parent.id());
        let late = late.deadline(Duration::from_millis(50));
        let late = late.submit(&json!({ "got": { "$output": 0 } })).await?;
        ensure!(late.outcome().await?.code == Code::Deadline);
        let successor = retry_dead(&stage, late.id(), &[])?;
        let expected = json!({ "got": "from the parent" });
        ensure!(successor.result::<Value>().await? == expected);

        let ways: [&[&str]; 3] = [&[], &["--latest"], &["--input", "\"longer\""]];
        for how in ways {
            let key = format!("{how:?}");
            let unique = Unique {
                key: key.clone(),
                scope: Scope::WindowMs(3_600_000),
                on_conflict: OnConflict::Reject,
            };
            let large = echo.clone().limit("output_bytes", 3);
            let large = large.idempotency_key(key).unique(unique);
            let large = large.submit(&json!("too long")).await?;
            ensure!(large.outcome().await?.code == Code::OutputTooLarge);
            let successor = retry_dead(&stage, large.id(), how)?;
            ensure!(successor.outcome().await?.code == Code::OutputTooLarge);
            ensure!(successor.status().await?.retry_of == Some(large.id()));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_listed_and_emptied_by_filters() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let call = stage.client.task("basics/noop")?.queue("nobody").detached();
        let handles = call.submit_all((0..600).map(|_| json!(null))).await?;
        let kept = stage.client.task("basics/echo")?.queue("nobody").detached();
        let kept = kept.submit(&json!(1)).await?;

        let listed = celeriac(&stage, &["list", "--queue", "nobody", "--limit", "1000"])?;
        ensure!(listed["invocations"].as_array().map(Vec::len) == Some(601));
        ensure!(listed["cursor"].is_null(), "{}", listed["cursor"]);
        let first = celeriac(&stage, &["list", "--queue", "nobody", "--limit", "100"])?;
        ensure!(first["invocations"].as_array().map(Vec::len) == Some(100));
        ensure!(first["cursor"].is_string());

        let which = ["cancel", "--queue", "nobody", "--task", "basics/noop"];
        let dry = celeriac(&stage, &[&which[..], &["--dry-run"]].concat())?;
        ensure!(dry["invocations"]["matched"] == 600, "{dry}");
        ensure!(handles[0].status().await?.state == State::Queued);
        let done = celeriac(&stage, &which)?;
        ensure!(done["invocations"]["cancelled"] == 600, "{done}");
        let state = format!("{}", State::Cancelled);
        let listed = celeriac(&stage, &["list", "--state", &state, "--limit", "1000"])?;
        ensure!(listed["invocations"].as_array().map(Vec::len) == Some(600));
        ensure!(kept.status().await?.state == State::Queued);
    }
    Ok(())
}
