//! What the broker does not accept as things stand: `celeriac` says so in its exit code, and what to do.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use celeriac_client::State;
use celeriac_tests::{Stage, binary, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `celeriac`: its exit code, and what it said on both streams.
fn celeriac(stage: &Stage, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new(binary())
        .args(["--broker", &stage.url])
        .args(arguments)
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(text)?))
}

/// That it ended with this code, and said this.
fn ends(stage: &Stage, arguments: &[&str], code: i32, parts: &[&str]) -> Result<()> {
    let (ended, text) = celeriac(stage, arguments)?;
    ensure!(ended == Some(code), "{arguments:?}: {ended:?}: {text}");
    for part in parts {
        ensure!(text.contains(part), "{arguments:?}: no `{part}` in {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_and_a_taken_key_have_an_exit_code_of_their_own() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = stage.host(&[]).await?;
    stage.push(&["basics"]).await?;
    ends(
        &stage,
        &["limits", "set", "queue:small", "--max-queue", "1"],
        0,
        &[],
    )?;
    let noop = ["call", "basics/noop", "--detach", "--queue", "small"];
    // No host serves it.
    ends(&stage, &noop, 0, &[])?;
    ends(&stage, &noop, 8, &["queue `small` is overloaded"])?;

    let echo = ["call", "basics/echo", "--detach", "--idempotency-key", "k"];
    ends(&stage, &[&echo[..], &["--input", "1"]].concat(), 0, &[])?;
    let other = [&echo[..], &["--input", "2"]].concat();
    ends(&stage, &other, 8, &["idempotency key `k` belongs to"])?;

    let gone = "0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8";
    ends(
        &stage,
        &["call", "basics/noop", "--after", gone],
        4,
        &["shall wait for"],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_not_replaced_and_that_is_said() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = stage.host(&[]).await?;
    stage.push(&["basics"]).await?;
    let sleep = [
        "call",
        "basics/sleep",
        "--detach",
        "--input",
        r#"{"seconds":60}"#,
    ];
    let sleep = [&sleep[..], &["--unique", "one"]].concat();
    let (_, id) = celeriac(&stage, &sleep)?;
    let handle = stage.client.handle(id.trim().parse()?);
    until(PATIENCE, "it runs", || async {
        Ok(handle.status().await?.state == State::Running)
    })
    .await?;
    let wait = format!("`celeriac wait {}`", id.trim());
    ends(&stage, &sleep, 8, &["unique key `one` is held by", &wait])?;
    let replace = [&sleep[..], &["--on-conflict", "replace"]].concat();
    let (code, text) = celeriac(&stage, &replace)?;
    ensure!(code == Some(8), "{code:?}: {text}");
    ensure!(text.contains("which runs, or has run"), "{text}");
    ensure!(text.contains(&wait), "{text}");
    ensure!(!text.contains("--on-conflict"), "it was just said: {text}");
    ends(&stage, &["modules", "rm", "basics"], 8, &["is in use"])?;
    handle.cancel().await?;
    Ok(())
}
