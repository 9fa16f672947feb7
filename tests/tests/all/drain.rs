//! SIGTERM drains; a second one ends the host at once; nothing is lost either way.

use std::time::Duration;

use anyhow::Result;
use celeriac_broker::testing::AofMode;
use celeriac_client::{Code, State};
use celeriac_tests::{Stage, until};
use rustix::process::Signal;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_host_ends_what_runs_and_takes_nothing_more() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let host = stage.host(&["--concurrency", "2"]).await?;
        stage.push(&["basics"]).await?;
        let sleep = stage.client.task("basics/sleep")?;
        let running = sleep
            .submit_all((0..2).map(|_| json!({"seconds": 0.4, "steps": 1})))
            .await?;
        for handle in &running {
            until(Duration::from_secs(10), "it runs", || async {
                Ok(handle.status().await?.state == State::Running)
            })
            .await?;
        }
        let waiting = sleep.submit(&json!({"seconds": 0.0, "steps": 1})).await?;
        host.signal(Signal::TERM);
        let status = host.wait(Duration::from_secs(10)).await?;
        assert!(status.success(), "{status}");
        for handle in &running {
            assert_eq!(handle.outcome().await?.code, Code::Ok);
        }
        assert_eq!(waiting.status().await?.state, State::Queued);
        assert!(stage.client.broker().hosts().await?.is_empty());
        let _next = stage.host(&[]).await?;
        assert_eq!(waiting.outcome().await?.code, Code::Ok);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_grace_time_is_given_back_without_counting_as_a_crash() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let host = stage.host(&["--grace", "100ms"]).await?;
    stage.push(&["basics"]).await?;
    let handle = stage
        .client
        .submit("basics/sleep", &json!({"seconds": 3600.0, "steps": 1}))
        .await?;
    until(Duration::from_secs(10), "it runs", || async {
        Ok(handle.status().await?.state == State::Running)
    })
    .await?;
    host.signal(Signal::TERM);
    assert!(host.wait(Duration::from_secs(10)).await?.success());
    let status = handle.status().await?;
    assert_eq!((status.state, status.crashes), (State::Queued, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_draining_host_at_once_and_loses_nothing() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let host = stage.host(&["--lease", "1s"]).await?;
    stage.push(&["basics"]).await?;
    let handle = stage
        .client
        .submit("basics/sleep", &json!({"seconds": 1.5, "steps": 1}))
        .await?;
    until(Duration::from_secs(10), "it runs", || async {
        Ok(handle.status().await?.state == State::Running)
    })
    .await?;
    host.signal(Signal::TERM);
    until(
        Duration::from_secs(5),
        "the host leaves or stops taking work",
        || async {
            host.signal(Signal::TERM);
            Ok(
                std::fs::read_to_string(format!("/proc/{}/stat", host.pid()))
                    .map_or(true, |stat| stat.contains(") Z ")),
            )
        },
    )
    .await?;
    let _next = stage.host(&["--lease", "1s"]).await?;
    assert_eq!(handle.outcome().await?.code, Code::Ok);
    Ok(())
}
