//! The next tenant of a pool slot finds nothing of the one before it.

use anyhow::Result;
use celeriac_client::gather;
use celeriac_tests::Stage;
use serde_json::Value;

use crate::{alone, module::Source};

const ROUNDS: usize = 150;

/// Few slots, and more invocations than slots at all times, so that each slot goes from one module to the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_keeps_nothing_of_its_previous_tenant() -> Result<()> {
    let _turn = alone().await;
    let stage = Stage::embedded().await?;
    let _host = stage.host(&["--concurrency", "2"]).await?;
    stage
        .client
        .push(Source::Wat("tenant-paints").bytes()?, "paints")
        .await?;
    stage
        .client
        .push(Source::Wat("tenant-looks").bytes()?, "looks")
        .await?;
    let (paints, looks) = (
        stage.client.task("paints/attack")?,
        stage.client.task("looks/attack")?,
    );
    for turn in 0..ROUNDS / 10 {
        let mut handles = Vec::new();
        for _ in 0..5 {
            handles.push(paints.submit(&Value::Null).await?);
            handles.push(looks.submit(&Value::Null).await?);
        }
        for found in gather::<Vec<String>>(&handles).await {
            assert_eq!(
                found?,
                Vec::<String>::new(),
                "left by an earlier tenant, in round {turn}"
            );
        }
    }
    Ok(())
}
