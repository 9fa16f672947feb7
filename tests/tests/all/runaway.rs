//! A task that spins for ever is stopped by fuel, by its deadline and by hand; its neighbours go on.

use std::time::{Duration, Instant};

use anyhow::Result;
use celeriac_broker::testing::AofMode;
use celeriac_client::{Client, Code, Error, Handle, State};
use celeriac_tests::{Stage, until};
use serde_json::{Value, json};

async fn code(handle: &Handle) -> Result<Code> {
    Ok(handle.outcome().await?.code)
}

async fn started(client: &Client, handle: &Handle) -> Result<()> {
    until(Duration::from_secs(10), "the task runs", || async {
        Ok(client.handle(handle.id()).status().await?.state == State::Running)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spinning_task_is_stopped_by_fuel_by_deadline_and_by_cancel() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let _host = stage.host(&["--concurrency", "8"]).await?;
        stage.push(&["basics"]).await?;
        let spin = stage.client.task("basics/spin")?;
        let by_fuel = spin.clone().fuel(10_000_000).submit(&Value::Null).await?;
        assert_eq!(code(&by_fuel).await?, Code::OutOfFuel);
        let by_deadline = spin
            .clone()
            .timeout(Duration::from_millis(100))
            .submit(&Value::Null)
            .await?;
        assert_eq!(code(&by_deadline).await?, Code::Deadline);
        let by_hand = spin.submit(&Value::Null).await?;
        started(&stage.client, &by_hand).await?;
        by_hand.cancel().await?;
        assert_eq!(code(&by_hand).await?, Code::Cancelled);
        assert_eq!(by_hand.status().await?.state, State::Cancelled);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_lowers_any_limit_by_name_under_the_operators_ceiling() -> Result<()> {
    let stage = Stage::embedded().await?;
    let ceiling = "limits.emit_events=3";
    let _host = stage.host(&["--set", ceiling]).await?;
    stage.push(&["basics"]).await?;
    let emit = stage.client.task("basics/emit")?;
    for (asked, allowed) in [(2, 2), (1_000, 3)] {
        let call = emit.clone().limit("emit_events", asked);
        let Err(Error::Failed(failed)) = call.call::<Value>(&json!({"count": 4})).await else {
            panic!("not stopped")
        };
        assert_eq!(failed.code, Code::OutputTooLarge);
        let hit = failed
            .failure
            .limit
            .as_ref()
            .map(|hit| (hit.name.as_str(), hit.allowed));
        assert_eq!(hit, Some(("emit_events", allowed)));
    }
    let unknown = emit.limit("emit_event", 1);
    let Err(Error::Failed(failed)) = unknown.call::<Value>(&json!({"count": 1})).await else {
        panic!("not refused")
    };
    let words = "there is no limit `emit_event`: did you mean `emit_events`?";
    assert!(failed.failure.message.starts_with(words), "{failed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_hit_says_which_and_how_to_raise_it() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = stage.host(&[]).await?;
    stage.push(&["basics"]).await?;
    let alloc = stage.client.task("basics/alloc")?.memory_bytes(8 << 20);
    let Err(Error::Failed(failed)) = alloc.call::<Value>(&json!({"mib": 64})).await else {
        panic!("not stopped")
    };
    assert_eq!(failed.code, Code::MemoryLimit);
    let Some(limit) = &failed.failure.limit else {
        panic!("{failed:?}")
    };
    assert!(
        limit.allowed == 8 << 20 && limit.seen > limit.allowed && !limit.remedy.is_empty(),
        "{limit:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_cancelled_at_once_and_never_runs() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        {
            let _host = stage.host(&[]).await?;
            stage.push(&["basics"]).await?;
        }
        let waiting = stage
            .client
            .submit("basics/add", &json!({"a": 1, "b": 1}))
            .await?;
        waiting.cancel().await?;
        assert_eq!(code(&waiting).await?, Code::Cancelled);
        assert_eq!(waiting.status().await?.attempts, 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_of_spinning_tasks_are_answered() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let _host = stage.host(&["--concurrency", "16"]).await?;
    stage.push(&["basics"]).await?;
    let spin = stage.client.task("basics/spin")?;
    let spinners = spin.submit_all((0..4).map(|_| Value::Null)).await?;
    for spinner in &spinners {
        started(&stage.client, spinner).await?;
    }
    let asked = Instant::now();
    for n in 0..50 {
        let sum: f64 = stage
            .client
            .call("basics/add", &json!({"a": n, "b": 1}))
            .await?;
        assert_eq!(sum, f64::from(n) + 1.0);
    }
    // Four loops on however few processors: without preemption the first answer would take the loops' whole timeout.
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
    for spinner in &spinners {
        spinner.cancel().await?;
        assert_eq!(code(spinner).await?, Code::Cancelled);
    }
    Ok(())
}
