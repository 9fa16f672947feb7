//! Watching one invocation: many at once, late, across a restart of Redis, and after its end.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use celeriac_broker::{EventKind, testing::AofMode};
use celeriac_client::{Client, ConnectOptions, Handle};
use celeriac_tests::{Stage, binary, until};
use futures_util::future::try_join_all;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

async fn both() -> Result<[Stage; 2]> {
    Ok([
        Stage::embedded().await?,
        Stage::redis(AofMode::Always).await?,
    ])
}

/// The shares of its steps that a watcher sees, up to the end.
async fn progress(handle: &Handle) -> Result<Vec<f64>> {
    let mut events = handle.events().await?;
    let mut seen = Vec::new();
    while let Some(progress) = events.next_progress().await? {
        seen.push(progress.done);
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_watch_and_the_late_see_what_was_before() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let sleep = stage.client.task("basics/sleep")?;
        let handle = sleep.submit(&json!({ "seconds": 1.5, "steps": 5 })).await?;
        // Ten clients, as ten processes have them, with ten watchers each.
        let broker = stage.client.broker();
        let clients: Vec<_> = (0..10)
            .map(|_| Client::new(broker.clone(), ConnectOptions::default()))
            .collect();
        let handles: Vec<_> = (0..100)
            .map(|number| clients[number % 10].handle(handle.id()))
            .collect();
        let half = |handles: &[Handle]| handles.len() / 2;
        let (early, late) = handles.split_at(half(&handles));
        let early = try_join_all(early.iter().map(progress));
        let late = async {
            until(PATIENCE, "it is at its second step", || async {
                let status = handle.status().await?;
                Ok(status.progress.is_some_and(|progress| progress.done >= 2.0))
            })
            .await?;
            try_join_all(late.iter().map(progress)).await
        };
        let (early, late) = tokio::try_join!(early, late)?;
        for seen in early.iter().chain(&late) {
            ensure!(*seen == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{seen:?}");
        }
        // After the end there is still all of it, and the last value stands in the status.
        ensure!(progress(&handle).await?.len() == 6);
        let last = handle.status().await?.progress.context("no progress")?;
        ensure!((last.done, last.total) == (5.0, 5.0));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_go_on_across_a_restart_of_redis() -> Result<()> {
    let mut stage = Stage::redis(AofMode::Always).await?;
    let _host = stage.host(&["--lease", "30s"]).await?;
    stage.push(&["basics"]).await?;
    let sleep = stage.client.task("basics/sleep")?;
    let handle = sleep.submit(&json!({ "seconds": 6, "steps": 12 })).await?;
    let watchers: Vec<_> = (0..5)
        .map(|_| {
            let other = stage.client.handle(handle.id());
            tokio::spawn(async move { progress(&other).await })
        })
        .collect();
    until(PATIENCE, "it is at its second step", || async {
        let status = handle.status().await?;
        Ok(status.progress.is_some_and(|progress| progress.done >= 2.0))
    })
    .await?;
    let redis = stage.redis.as_mut().context("a Redis")?;
    redis.kill()?;
    redis.restart()?;
    for watcher in watchers {
        let seen = tokio::time::timeout(PATIENCE, watcher).await???;
        // What was reported while there was no Redis may be lost; what came before and after is not.
        ensure!(seen.starts_with(&[0.0, 1.0, 2.0]), "{seen:?}");
        ensure!(seen.is_sorted() && seen.last() == Some(&12.0), "{seen:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_logs_and_hands_partial_results_on() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let emit = stage.client.task("basics/emit")?;
        let handle = emit.submit(&json!({ "count": 3 })).await?;
        let id = handle.id().to_string();
        let watch = |arguments: &[&str]| {
            Command::new(binary())
                .args(["--broker", &stage.url, "watch", &id])
                .args(arguments)
                .output()
        };
        let output = watch(&["--chunks"])?;
        ensure!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout)?;
        ensure!(
            printed == "{\"index\":0}\n{\"index\":1}\n{\"index\":2}\n",
            "{printed}"
        );
        let documents = String::from_utf8(watch(&["--json"])?.stdout)?;
        let kinds: Vec<_> = documents
            .lines()
            .map(|line| Ok(serde_json::from_str::<serde_json::Value>(line)?["kind"].clone()))
            .collect::<Result<_>>()?;
        ensure!(
            kinds == ["chunk", "chunk", "chunk", "outcome"],
            "{documents}"
        );

        let sleep = stage.client.task("basics/sleep")?;
        let handle = sleep.submit(&json!({ "seconds": 0.1, "steps": 2 })).await?;
        let output = Command::new(binary())
            .args(["--broker", &stage.url, "watch", "--progress", "always"])
            .arg(handle.id().to_string())
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.stdout.is_empty(), "{said}");
        for part in ["going to sleep", "progress 2 of 2", "succeeded"] {
            ensure!(said.contains(part), "no `{part}` in {said}");
        }
        let events = stage.client.broker().events(handle.id(), 10).await?;
        ensure!(
            events
                .iter()
                .any(|event| matches!(event.kind, EventKind::Log(_)))
        );
    }
    Ok(())
}
