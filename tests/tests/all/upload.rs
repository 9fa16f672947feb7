//! What is not a module of tasks is refused with a report that says why.

use anyhow::Result;
use celeriac_client::{Client, Error, broker::BrokerError};
use celeriac_tests::{Stage, sample};

async fn refusal(client: &Client, bytes: Vec<u8>) -> String {
    match client.push(bytes, "evil").await {
        Ok(manifest) => panic!("admitted: {manifest:?}"),
        Err(error @ (Error::Refused(_) | Error::Broker(BrokerError::TooLarge { .. }))) => {
            error.to_string()
        }
        Err(error) => panic!("not a report: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_wrong_upload_gets_a_report_that_names_it() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = stage.host(&[]).await?;
    let garbage = refusal(&stage.client, b"this is not wasm at all".to_vec()).await;
    assert!(garbage.contains("not WebAssembly"), "{garbage}");
    let core = refusal(&stage.client, b"\0asm\x01\0\0\0".to_vec()).await;
    assert!(
        core.contains("core module") && core.contains("wasm32-wasip2"),
        "{core}"
    );
    let mut truncated = sample("basics")?;
    truncated.truncate(truncated.len() / 2);
    let truncated = refusal(&stage.client, truncated).await;
    assert!(
        truncated.contains("not valid") && truncated.contains("offset 0x"),
        "{truncated}"
    );
    let empty = refusal(&stage.client, b"\0asm\x0d\0\x01\0".to_vec()).await;
    assert!(
        empty.contains("`describe`") && empty.contains("`run`"),
        "{empty}"
    );
    let huge = refusal(&stage.client, vec![0; 100 << 20]).await;
    assert!(
        huge.contains("104857600") && huge.contains("33554432"),
        "{huge}"
    );
    assert!(
        stage.client.broker().names().await?.is_empty(),
        "nothing was published"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_never_moves_and_its_name_follows_the_latest_push() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = stage.host(&[]).await?;
    let basics = stage.client.push(sample("basics")?, "tools@1.0.0").await?;
    let text = stage.client.push(sample("text")?, "tools@1.1.0").await?;
    let broker = stage.client.broker();
    assert_eq!(broker.module(&"tools".parse()?).await?.digest, text.digest);
    assert_eq!(
        broker.module(&"tools@1.0.0".parse()?).await?.digest,
        basics.digest
    );
    let moved = stage.client.push(sample("text")?, "tools@1.0.0").await;
    assert!(
        matches!(&moved, Err(Error::Refused(report)) if report.to_string().contains("never moves")),
        "{moved:?}"
    );
    let unknown = stage
        .client
        .submit("tools@1.1.0/add", &serde_json::Value::Null)
        .await;
    assert!(
        matches!(unknown, Err(Error::Broker(BrokerError::NoTask(_)))),
        "{unknown:?}"
    );
    Ok(())
}
