//! Tasks that have other tasks run: granted, bounded, and never in each other's way.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use celeriac_broker::testing::AofMode;
use celeriac_client::{Code, Error, Handle, Outcome, State};
use celeriac_tests::{HostProcess, Stage, until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

const GRANTED: &str = r#"
[grants."relay"]
tasks = ["basics/*", "relay/down"]
"#;

async fn host(stage: &Stage, concurrency: &str) -> Result<HostProcess> {
    let settings = stage.dir.path().join("celeriac.toml");
    fs::write(&settings, GRANTED)?;
    let settings = settings.to_str().context("a path that is text")?;
    let arguments = ["--config", settings, "--concurrency", concurrency];
    stage.host(&arguments).await
}

async fn both() -> Result<[Stage; 2]> {
    Ok([Stage::embedded().await?, Stage::redis(AofMode::Off).await?])
}

async fn end(handle: &Handle) -> Result<std::sync::Arc<Outcome>> {
    Ok(tokio::time::timeout(PATIENCE, handle.outcome()).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_calls_others_on_a_host_that_runs_one_at_a_time() -> Result<()> {
    for stage in both().await? {
        let _host = host(&stage, "1").await?;
        stage.push(&["basics", "relay"]).await?;
        let input = json!({ "numbers": [1, 2, 3.5, 4] });
        let handle = stage.client.submit("relay/sum", &input).await?;
        assert_eq!(end(&handle).await?.code, Code::Ok);
        assert_eq!(handle.result::<f64>().await?, 10.5);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_nested_so_deep_and_no_deeper() -> Result<()> {
    for stage in both().await? {
        let _host = host(&stage, "1").await?;
        stage.push(&["relay"]).await?;
        let deepest = stage
            .client
            .submit("relay/down", &json!({ "levels": 16 }))
            .await?;
        assert_eq!(end(&deepest).await?.code, Code::Ok);
        assert_eq!(deepest.result::<u32>().await?, 16);
        let deeper = stage
            .client
            .submit("relay/down", &json!({ "levels": 17 }))
            .await?;
        let outcome = end(&deeper).await?;
        assert_eq!(outcome.code, Code::TaskError);
        let message = outcome.failure.clone().unwrap().message;
        assert!(message.contains("16 deep at most"), "{message}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_in_runs_by_itself_and_knows_its_caller() -> Result<()> {
    for stage in both().await? {
        let _host = host(&stage, "2").await?;
        stage.push(&["basics", "relay"]).await?;
        let pairs: Vec<_> = (0..5).map(|n| json!({ "a": n, "b": n })).collect();
        let input = json!({ "task": "basics/add", "inputs": pairs });
        let handle = stage.client.submit("relay/scatter", &input).await?;
        assert_eq!(end(&handle).await?.code, Code::Ok);
        let ids: Vec<String> = handle.result().await?;
        for (number, id) in ids.iter().enumerate() {
            let child = stage.client.handle(id.parse()?);
            assert_eq!(child.result::<f64>().await?, 2.0 * number as f64);
            let parent = child.status().await?.parent.unwrap();
            assert_eq!((parent.id, parent.depth), (handle.id(), 1));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_or_is_not_granted_is_an_answer() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = host(&stage, "2").await?;
    stage.push(&["basics", "relay"]).await?;
    let attempt = async |task: &str, input: Value| -> Result<(String, String), Error> {
        let input = json!({ "task": task, "input": input });
        let report: Value = stage.client.call("relay/attempt", &input).await?;
        let text = |name: &str| match &report[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Ok((text("came_to"), text("what")))
    };
    let answer = attempt("basics/add", json!({ "a": 1, "b": 2 })).await?;
    assert_eq!(answer, ("ok".to_owned(), "3.0".to_owned()));
    let (came_to, what) = attempt("basics/fail", json!({ "message": "no luck" })).await?;
    assert_eq!(came_to, "task_error");
    assert!(what.contains("no luck"), "{what}");
    // Declared by the task, which asks for all; not granted.
    let (came_to, what) = attempt("relay/sum", json!({ "numbers": [] })).await?;
    assert_eq!(came_to, "refused");
    assert!(
        what.contains("add to `tasks`") && what.contains("relay/sum"),
        "{what}"
    );
    let (came_to, what) = attempt("basics/there-is-none", json!(null)).await?;
    assert_eq!(came_to, "refused");
    assert!(what.contains("there is no task"), "{what}");
    let (came_to, _) = attempt("celeriac/admit", json!({})).await?;
    assert_eq!(came_to, "refused");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_calls_and_no_more() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = host(&stage, "2").await?;
    stage.push(&["basics", "relay"]).await?;
    let call = stage.client.task("relay/scatter")?.limit("task_calls", 3);
    let inputs =
        |count: usize| json!({ "task": "basics/noop", "inputs": vec![Value::Null; count] });
    let ids: Vec<String> = call.call(&inputs(3)).await?;
    assert_eq!(ids.len(), 3);
    let Err(Error::Failed(failed)) = call.call::<Value>(&inputs(4)).await else {
        panic!("the fourth is refused");
    };
    assert_eq!(failed.failure.kind, "access-limit");
    assert!(failed.failure.message.contains("task_calls"), "{failed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_goes_on_to_what_was_called() -> Result<()> {
    for stage in both().await? {
        let _host = host(&stage, "4").await?;
        stage.push(&["basics", "relay"]).await?;
        let inputs = vec![Value::Null; 3];
        let later = json!({ "task": "basics/noop", "inputs": inputs, "delay": 3600 });
        let scatter = stage.client.submit("relay/scatter", &later).await?;
        let ids: Vec<String> = scatter.result().await?;
        // It has ended; what it has called has not.
        scatter.cancel_with_children().await?;
        for id in ids {
            let child = stage.client.handle(id.parse()?);
            assert_eq!(end(&child).await?.code, Code::Cancelled);
        }
        let input = json!({ "task": "basics/sleep", "input": { "seconds": 60 } });
        let caller = stage.client.submit("relay/attempt", &input).await?;
        let list = || async {
            let queues = stage.client.broker().queues().await?;
            Ok(queues.iter().map(|queue| queue.running).sum::<u64>() == 2)
        };
        until(PATIENCE, "the caller waits for a sleeper", list).await?;
        caller.cancel_with_children().await?;
        assert_eq!(end(&caller).await?.code, Code::Cancelled);
        let idle = || async {
            let queues = stage.client.broker().queues().await?;
            Ok(queues.iter().all(|queue| queue.running == 0))
        };
        until(Duration::from_secs(10), "the sleeper is stopped too", idle).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_leaves_in_good_order_when_its_soft_time_is_over() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = host(&stage, "1").await?;
    stage.push(&["basics"]).await?;
    let sleep = stage.client.task("basics/sleep")?;
    let input = json!({ "seconds": 30, "steps": 300 });
    let soft = sleep.clone().limit("soft_timeout", 300);
    let handle = soft.submit(&input).await?;
    assert_eq!(end(&handle).await?.code, Code::Ok);
    let slept: Value = handle.result().await?;
    assert_eq!(slept["cancelled"], true);
    assert_eq!(handle.status().await?.state, State::Succeeded);
    // One that does not ask runs into the hard one.
    let deaf = json!({ "seconds": 30 });
    let hard = soft.timeout(Duration::from_millis(600));
    let handle = hard.submit(&deaf).await?;
    assert_eq!(end(&handle).await?.code, Code::Deadline);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_says_the_soft_limit_by_its_name() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = host(&stage, "1").await?;
    stage.push(&["basics"]).await?;
    let handle = stage.client.submit("basics/until-told", &()).await?;
    let outcome = end(&handle).await?;
    // Its timeout is a minute: this is what told it.
    assert_eq!(outcome.code, Code::Ok, "{outcome:?}");
    assert!(outcome.usage.run_ms >= 300.0, "{outcome:?}");
    let told: String = handle.result().await?;
    assert_eq!(told, "told");
    Ok(())
}
