//! The next tenant of a pool slot finds nothing of the one before it.

use anyhow::Result;
use celeriac_client::gather;
use celeriac_tests::Stage;
use serde_json::Value;

use crate::{alone, module::Source};

/// What a tenant could find, and how to leave it. Not the stack: compiled code clears its locals itself.
const PAINTED: [(&str, &str, &str); 4] = [
    ("memory", "", "(i64.store (i32.const 65528) (i64.const 1))"),
    (
        "memory",
        "",
        "(drop (memory.grow (i32.const 1))) (i64.store (i32.const 131064) (i64.const 1))",
    ),
    (
        "table",
        "(elem declare func $says)",
        "(table.set $table (i32.const 499) (ref.func $says))",
    ),
    ("global", "", "(global.set $second (i32.const 1))"),
];

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

/// Whoever looks must be able to find: with something painted in its own instance it does.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_for_a_previous_tenant_would_find_it() -> Result<()> {
    let _turn = alone().await;
    let stage = Stage::embedded().await?;
    let _host = stage.host(&["--concurrency", "2"]).await?;
    for (what, fields, paint) in PAINTED {
        let wasm = Source::with("tenant-looks", fields, paint)?;
        stage.client.push(wasm, "control").await?;
        let task = stage.client.task("control/attack")?;
        let found = task.call::<Vec<String>>(&Value::Null).await?;
        assert_eq!(found, [what], "{paint}");
    }
    Ok(())
}
