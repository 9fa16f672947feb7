//! What operators do, with the real program on both engines.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use celeriac_broker::testing::AofMode;
use celeriac_client::State;
use celeriac_tests::{Stage, binary};
use serde_json::{Value, json};

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
