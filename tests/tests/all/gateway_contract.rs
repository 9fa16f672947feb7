//! What the OpenAPI document says is what the gateway does: schemathesis makes requests from the document, right ones and
//! wrong ones, and looks at each answer.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use celeriac::gateway::tokens::Scope;
use celeriac_tests::Stage;
use tokio::{process::Command, time::timeout};

use super::gateway::{host, token};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Made by `make need-schemathesis`.
fn schemathesis() -> PathBuf {
    let own = root().join("target/schemathesis/bin/schemathesis");
    std::env::var_os("CELERIAC_SCHEMATHESIS").map_or(own, PathBuf::from)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_openapi_3_1_and_every_request_in_it_is_answered_as_it_says() -> Result<()>
{
    let stage = Stage::embedded().await?;
    let settings = ["--set", "http.tokens=always", "--set", "http.wait=100ms"];
    let (_host, http) = host(&stage, &settings).await?;
    stage.push(&["basics"]).await?;
    let document = http.get("/v1/openapi.json").await?.json()?;
    ensure!(document["openapi"] == "3.1.0", "{}", document["openapi"]);
    let token = token(&stage, &Scope::ALL).await?;
    let run = Command::new(schemathesis())
        .current_dir(root().join("tests"))
        .args(["run", &format!("http://{}/v1/openapi.json", http.address)])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(600), run)
        .await
        .context("it takes too long")?
        .context("run `make need-schemathesis`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // All of them but the stream without an end and the end of the host: an empty document would pass too.
    ensure!(text.contains("Tested: 41"), "{text}");
    Ok(())
}
