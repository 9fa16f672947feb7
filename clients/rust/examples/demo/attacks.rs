//! A few tasks that misbehave: each ends with a code that says which bound it met.

use std::time::Duration;

use anyhow::Result;
use celeriac_client::{Client, Error};
use serde_json::{Value, json};

/// Runs them one after another and prints what the caller is told.
pub(crate) async fn run(client: &Client) -> Result<()> {
    let spin = client.task("basics/spin")?;
    let told = spin
        .clone()
        .fuel(50_000_000)
        .call::<Value>(&Value::Null)
        .await;
    print("a loop without end, 50 million fuel", &told);
    let told = spin
        .clone()
        .timeout(Duration::from_millis(200))
        .call::<Value>(&Value::Null)
        .await;
    print("the same, 200 ms of time", &told);

    let handle = spin.submit(&Value::Null).await?;
    while handle.status().await?.host.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    handle.cancel().await?;
    print(
        "the same, cancelled by hand",
        &handle.result::<Value>().await,
    );

    let greedy = client.task("basics/alloc")?.memory_bytes(16 << 20);
    print(
        "64 MiB of memory where 16 are allowed",
        &greedy.call::<Value>(&json!({"mib": 64})).await,
    );
    print(
        "a panic",
        &client
            .call::<Value>("basics/panic", &json!({"message": "out of cheese"}))
            .await,
    );
    print(
        "unbounded recursion",
        &client
            .call::<Value>("basics/recurse", &json!({"depth": 1_000_000}))
            .await,
    );
    print(
        "a task that is not there",
        &client.call::<Value>("basics/nothing", &Value::Null).await,
    );
    Ok(())
}

fn print(what: &str, told: &Result<Value, Error>) {
    let (code, message) = match told {
        Ok(output) => ("ok", output.to_string()),
        Err(Error::Failed(failed)) => (failed.code.as_str(), failed.failure.message.clone()),
        Err(error) => ("refused", error.to_string()),
    };
    let line = message.lines().next().unwrap_or_default();
    println!(
        "  {what:38} {code:15} {}",
        line.chars().take(110).collect::<String>()
    );
}
