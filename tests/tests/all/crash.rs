//! Hosts are killed, Redis is restarted: every invocation still ends with exactly one outcome.

use std::{collections::HashSet, time::Duration};

use anyhow::Result;
use celeriac_broker::testing::AofMode;
use celeriac_client::{Code, Handle, State};
use celeriac_tests::{HostProcess, Stage, until};
use serde_json::{Value, json};

const INVOCATIONS: usize = 10_000;

async fn submit(stage: &Stage) -> Result<Vec<Handle>> {
    // A few milliseconds each, so that kills hit running attempts.
    let inputs = (0..INVOCATIONS).map(|_| json!({"seconds": 0.005, "steps": 1}));
    Ok(stage
        .client
        .task("basics/sleep")?
        .submit_all(inputs)
        .await?)
}

async fn all_end_once(stage: &Stage, handles: &[Handle]) -> Result<()> {
    let mut ids = HashSet::new();
    let mut quarantined = 0;
    for handle in handles {
        let outcome = tokio::time::timeout(Duration::from_secs(120), handle.outcome()).await??;
        assert!(ids.insert(handle.id()), "two invocations share an id");
        let status = handle.status().await?;
        if outcome.code == Code::Quarantined {
            // On a slow machine three of the hosts that are killed may have had the same one.
            assert_eq!((status.crashes, status.state), (3, State::Failed));
            quarantined += 1;
        } else {
            assert_eq!(outcome.code, Code::Ok, "{:?}", outcome.failure);
            assert_eq!(status.state, State::Succeeded);
        }
    }
    assert!(quarantined * 100 <= handles.len(), "{quarantined}");
    let queues = stage.client.broker().queues().await?;
    assert!(
        queues
            .iter()
            .all(|queue| queue.queued == 0 && queue.running == 0),
        "stranded: {queues:?}"
    );
    Ok(())
}

async fn finished(stage: &Stage, handles: &[Handle]) -> usize {
    let _ = stage;
    handles
        .iter()
        .filter(|handle| handle.peek().is_some())
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_invocations_survive_hosts_that_are_killed() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let arguments = ["--lease", "2s", "--concurrency", "32"];
    let _survivor = stage.host(&arguments).await?;
    let mut mortals: Vec<HostProcess> =
        vec![stage.host(&arguments).await?, stage.host(&arguments).await?];
    stage.push(&["basics"]).await?;
    let handles = submit(&stage).await?;
    for round in 1..=4 {
        let share = INVOCATIONS * round / 6;
        until(Duration::from_secs(120), "invocations end", || async {
            Ok(finished(&stage, &handles).await >= share)
        })
        .await?;
        mortals.remove(0).kill();
        mortals.push(stage.host(&arguments).await?);
    }
    all_end_once(&stage, &handles).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_invocations_survive_a_restart_of_redis() -> Result<()> {
    let mut stage = Stage::redis(AofMode::EverySecond).await?;
    let arguments = ["--lease", "2s", "--concurrency", "32"];
    let _hosts = [
        stage.host(&arguments).await?,
        stage.host(&arguments).await?,
        stage.host(&arguments).await?,
    ];
    stage.push(&["basics"]).await?;
    let handles = submit(&stage).await?;
    until(Duration::from_secs(120), "a third has ended", || async {
        Ok(finished(&stage, &handles).await >= INVOCATIONS / 3)
    })
    .await?;
    if let Some(redis) = &mut stage.redis {
        redis.restart()?;
    }
    all_end_once(&stage, &handles).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_hosts_work_runs_elsewhere_within_a_lease_and_a_second() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let arguments = ["--lease", "2s"];
        let first = stage.host(&arguments).await?;
        stage.push(&["basics"]).await?;
        let handle = stage
            .client
            .submit("basics/sleep", &json!({"seconds": 3600.0, "steps": 1}))
            .await?;
        until(Duration::from_secs(10), "it runs", || async {
            Ok(handle.status().await?.state == State::Running)
        })
        .await?;
        let _second = stage.host(&arguments).await?;
        first.kill();
        until(Duration::from_secs(4), "it runs elsewhere", || async {
            let status = handle.status().await?;
            Ok(status.state == State::Running && status.crashes == 1 && status.attempts == 2)
        })
        .await?;
        handle.cancel().await?;
        assert_eq!(handle.outcome().await?.code, Code::Cancelled);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_kills_three_hosts_is_quarantined() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let arguments = ["--lease", "1s"];
    let mut host = stage.host(&arguments).await?;
    stage.push(&["basics"]).await?;
    let handle = stage.client.submit("basics/spin", &Value::Null).await?;
    for attempt in 1..=3 {
        until(Duration::from_secs(10), "it runs", || async {
            let status = handle.status().await?;
            Ok(status.state == State::Running && status.attempts == attempt)
        })
        .await?;
        host.kill();
        host = stage.host(&arguments).await?;
    }
    let outcome = tokio::time::timeout(Duration::from_secs(10), handle.outcome()).await??;
    assert_eq!(outcome.code, Code::Quarantined);
    assert_eq!(handle.status().await?.crashes, 3);
    Ok(())
}
