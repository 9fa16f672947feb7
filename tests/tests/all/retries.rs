//! Failures are followed by other attempts, as author and caller say, whatever dies meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;
use celeriac_broker::testing::AofMode;
use celeriac_client::{Code, Error, Handle, Outcome, State};
use celeriac_tests::{Stage, until};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

async fn both() -> Result<[Stage; 2]> {
    Ok([Stage::embedded().await?, Stage::redis(AofMode::Off).await?])
}

async fn end(handle: &Handle) -> Result<std::sync::Arc<Outcome>> {
    Ok(tokio::time::timeout(PATIENCE, handle.outcome()).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flaky_task_succeeds_as_its_author_meant() -> Result<()> {
    for stage in both().await? {
        let host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let handle = stage
            .client
            .submit("basics/flaky", &json!({ "failures": 3 }))
            .await?;
        assert_eq!(handle.result::<u32>().await?, 4);
        let status = handle.status().await?;
        assert_eq!((status.attempts, status.state), (4, State::Succeeded));
        let life = status.deadline_at_ms.map(|at| at - status.submitted_at_ms);
        assert_eq!(life, Some(86_400_000), "its author's deadline");
        let numbers: Vec<_> = status.trail.iter().map(|attempt| attempt.attempt).collect();
        assert_eq!(numbers, [1, 2, 3]);
        for (index, attempt) in status.trail.iter().enumerate() {
            assert_eq!(
                (attempt.code, attempt.kind.as_str()),
                (Code::TaskError, "busy")
            );
            assert!(attempt.fuel > 0 && attempt.run_ms > 0.0, "{attempt:?}");
            assert!(!attempt.host.is_empty(), "{attempt:?}");
            assert!(attempt.retry_in_ms <= 100 << index, "{attempt:?}");
        }
        // The pauses were kept, by the broker's clock.
        for pair in status.trail.windows(2) {
            let (ended, began) = (pair[0].ended_at_ms, pair[1].started_at_ms);
            assert!(began + 5 >= ended + pair[0].retry_in_ms, "{pair:?}");
        }
        drop(host);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_says_how_often_and_for_what() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let flaky = stage.client.task("basics/flaky")?;
        let twice = flaky.clone().retries(2).backoff("10ms".parse()?);
        let ended = end(&twice.submit(&json!({ "failures": 9 })).await?).await?;
        assert_eq!((ended.code, ended.usage.attempt), (Code::TaskError, 3));
        let other = flaky.clone().retry_on(["io", "out_of_fuel"]);
        let ended = end(&other.submit(&json!({ "failures": 9 })).await?).await?;
        assert_eq!(ended.usage.attempt, 1);
        // A panic is retried when somebody says so.
        let panics = stage.client.task("basics/panic")?;
        let panics = panics.retries(1).backoff("10ms".parse()?);
        let ended = end(&panics.submit(&json!({ "message": "boom" })).await?).await?;
        assert_eq!((ended.code, ended.usage.attempt), (Code::Panicked, 1));
        let panics = panics.retry_on(["panicked"]);
        let ended = end(&panics.submit(&json!({ "message": "boom" })).await?).await?;
        assert_eq!((ended.code, ended.usage.attempt), (Code::Panicked, 2));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_says_when_it_wants_to_be_tried_again_or_never() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let begun = Instant::now();
        let flaky = stage.client.task("basics/flaky")?;
        let input = json!({ "failures": 1, "retry_after": 0.7 });
        let attempt: u32 = flaky.backoff("1h".parse()?).call(&input).await?;
        assert_eq!(attempt, 2);
        assert!(begun.elapsed() >= Duration::from_millis(700));
        let fail = stage.client.task("basics/fail")?;
        let fail = fail
            .retries(5)
            .backoff("10ms".parse()?)
            .retry_on(["on-request"]);
        let Err(Error::Failed(failed)) = fail.call::<()>(&json!({ "message": "no" })).await else {
            panic!("a permanent failure is a failure");
        };
        assert_eq!(failed.usage.attempt, 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_see_every_attempt_and_one_end() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let flaky = stage.client.task("basics/flaky")?.backoff("50ms".parse()?);
        let handle = flaky.submit(&json!({ "failures": 2 })).await?;
        let mut events = handle.events().await?;
        let mut attempts = Vec::new();
        while let Some(event) = events.next().await? {
            attempts.push(event.attempt);
        }
        assert_eq!(attempts, [1, 2, 3]);
        assert_eq!(handle.result::<u32>().await?, 3);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_outlives_the_host_that_decided_it() -> Result<()> {
    for stage in both().await? {
        let first = stage.host(&["--lease", "2s"]).await?;
        stage.push(&["basics"]).await?;
        let flaky = stage
            .client
            .task("basics/flaky")?
            .backoff("1500ms".parse()?);
        let handle = flaky.submit(&json!({ "failures": 1 })).await?;
        until(PATIENCE, "it waits for its retry", || async {
            Ok(handle.status().await?.state == State::Scheduled)
        })
        .await?;
        first.kill();
        let _second = stage.host(&["--lease", "2s"]).await?;
        assert_eq!(
            tokio::time::timeout(PATIENCE, handle.result::<u32>()).await??,
            2
        );
        assert_eq!(handle.status().await?.crashes, 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_death_costs_no_retry() -> Result<()> {
    for stage in both().await? {
        let arguments = ["--lease", "1s"];
        let first = stage.host(&arguments).await?;
        stage.push(&["basics"]).await?;
        let sleep = stage.client.task("basics/sleep")?;
        let sleep = sleep
            .retries(1)
            .backoff("10ms".parse()?)
            .timeout(Duration::from_secs(2));
        let handle = sleep.submit(&json!({ "seconds": 60.0 })).await?;
        until(PATIENCE, "it runs", || async {
            Ok(handle.status().await?.state == State::Running)
        })
        .await?;
        let _second = stage.host(&arguments).await?;
        first.kill();
        // One attempt died with its host, and two ran out of time.
        let ended = end(&handle).await?;
        let status = handle.status().await?;
        assert_eq!((ended.code, ended.usage.attempt), (Code::Deadline, 3));
        assert_eq!((status.crashes, status.trail.len()), (1, 1));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_survive_a_restart_of_redis() -> Result<()> {
    let mut stage = Stage::redis(AofMode::Always).await?;
    let _hosts = [
        stage.host(&["--lease", "2s"]).await?,
        stage.host(&["--lease", "2s"]).await?,
    ];
    stage.push(&["basics"]).await?;
    let flaky = stage
        .client
        .task("basics/flaky")?
        .backoff("exponential(500ms, 2s)".parse()?);
    let inputs = (0..300).map(|number| json!({ "failures": number % 4 }));
    let handles = flaky.submit_all(inputs).await?;
    until(PATIENCE, "some wait for their retries", || async {
        let queues = stage.client.broker().queues().await?;
        Ok(queues.iter().map(|queue| queue.scheduled).sum::<u64>() > 50)
    })
    .await?;
    if let Some(redis) = &mut stage.redis {
        redis.kill()?;
        redis.restart()?;
    }
    for (number, handle) in handles.iter().enumerate() {
        let ended = end(handle).await?;
        assert_eq!(ended.code, Code::Ok, "{:?}", ended.failure);
        let attempts = handle.status().await?.attempts;
        assert!(attempts as usize > number % 4, "{attempts}");
    }
    until(PATIENCE, "nothing is left", || async {
        let queues = stage.client.broker().queues().await?;
        Ok(queues
            .iter()
            .all(|queue| queue.queued + queue.scheduled + queue.running == 0))
    })
    .await
}
