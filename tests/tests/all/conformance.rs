//! The scenarios that every client plays against a live host: `clients/conformance/scenarios.json`.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use celeriac_broker::testing::AofMode;
use celeriac_client::{
    Client, Error, Handle,
    broker::{BrokerError, Failure, Options},
};
use celeriac_tests::Stage;
use futures_util::TryStreamExt;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_client_plays_every_scenario() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/conformance/scenarios.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let scenarios = document["scenarios"].as_array().context("scenarios")?;
    assert!(scenarios.len() > 10);
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        for scenario in scenarios {
            let played = play(&stage.client, scenario).await;
            played.with_context(|| format!("{} on {}", scenario["name"], stage.url))?;
        }
    }
    Ok(())
}

async fn play(client: &Client, scenario: &Value) -> Result<()> {
    let submitted = submit(client, scenario).await;
    if let Some(reason) = scenario.get("refused") {
        let error = submitted.err().context("it was accepted")?;
        assert_eq!(refusal(&error), reason.as_str());
        return Ok(());
    }
    let handle = submitted?;
    let result = handle.result_within::<Value>(Duration::from_secs(60)).await;
    match (result, scenario.get("failure")) {
        (Ok(output), None) => assert_eq!(output, scenario["output"]),
        (Err(Error::Failed(failed)), Some(expected)) => {
            check(failed.code.as_str(), &failed.failure, expected)?;
        }
        (other, _) => bail!("it came to {other:?}"),
    }
    if let Some(expected) = scenario.get("progress") {
        let seen: Vec<_> = handle.progress().try_collect().await?;
        let seen: Vec<_> = seen.iter().map(|progress| json!(progress.done)).collect();
        let expected = expected.as_array().context("a list")?;
        assert!(
            seen.iter()
                .zip(expected)
                .all(|(seen, expected)| seen.as_f64() == expected.as_f64())
        );
        assert_eq!(seen.len(), expected.len());
    }
    Ok(())
}

async fn submit(client: &Client, scenario: &Value) -> Result<Handle, Error> {
    let options: Options = scenario
        .get("options")
        .map(|options| serde_json::from_value(options.clone()).expect("options"))
        .unwrap_or_default();
    let task = scenario["task"].as_str().expect("a task");
    let call = client.task(task)?.options(options);
    call.submit(scenario.get("input").unwrap_or(&Value::Null))
        .await
}

fn refusal(error: &Error) -> Option<&'static str> {
    match error {
        Error::Broker(BrokerError::NoTask(_)) => Some("no_task"),
        Error::Broker(BrokerError::NoModule(_)) => Some("no_module"),
        Error::Broker(BrokerError::Invalid { .. }) => Some("invalid"),
        _ => None,
    }
}

fn check(code: &str, failure: &Failure, expected: &Value) -> Result<()> {
    let seen = json!({
        "code": code,
        "kind": failure.kind,
        "message": failure.message,
        "retryable": failure.retryable,
    });
    for (name, value) in expected.as_object().context("an object")? {
        assert_eq!(&seen[name], value, "{name}");
    }
    Ok(())
}
