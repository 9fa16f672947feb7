//! Forged artifacts and forged uploads: bytes that somebody changed behind the host's back are never run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use celeriac_broker::testing::AofMode;
use celeriac_client::{Code, Error};
use celeriac_tests::{Stage, sample};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::alone;

/// Layout, key and authentication code of an artifact's file.
const HEADER: usize = 8 + 32 + 32;

fn artifacts(stage: &Stage) -> PathBuf {
    stage.dir.path().join("cache/artifacts")
}

/// The file of a module's artifact.
async fn artifact(stage: &Stage, name: &str) -> Result<PathBuf> {
    let digest = stage.client.broker().module(&name.parse()?).await?.digest;
    Ok(artifacts(stage).join(digest.hex()))
}

/// A fresh host, which has nothing in memory, is asked for a sum; then the artifact is the sound one again.
async fn is_recompiled(stage: &Stage, path: &Path, sound: &[u8], what: &str) -> Result<()> {
    let host = stage.host(&[]).await?;
    let sum: f64 = stage
        .client
        .call("basics/add", &json!({"a": 40, "b": 2}))
        .await
        .context(what.to_owned())?;
    assert_eq!(sum, 42.0, "{what}");
    host.kill();
    let now = fs::read(path).with_context(|| format!("{what}: it was not compiled again"))?;
    // Authentication code and code may differ from run to run; the key may not.
    assert_eq!(now.len(), sound.len(), "{what}: it was not compiled again");
    assert_eq!(now[..40], sound[..40], "{what}: it was not compiled again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_artifacts_are_never_loaded() -> Result<()> {
    let _turn = alone().await;
    let stage = Stage::embedded().await?;
    let host = stage.host(&[]).await?;
    stage.push(&["basics", "text"]).await?;
    host.kill();
    let (path, other) = (
        artifact(&stage, "basics").await?,
        artifact(&stage, "text").await?,
    );
    let (sound, other) = (fs::read(&path)?, fs::read(&other)?);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        bytes
    };
    let forgeries = [
        (
            "a bit of the code flipped",
            changed(&|bytes| bytes[HEADER + 4_096] ^= 1),
        ),
        (
            "the last bit flipped",
            changed(&|bytes| *bytes.last_mut().unwrap() ^= 0x80),
        ),
        (
            "a bit of the authentication code flipped",
            changed(&|bytes| bytes[HEADER - 1] ^= 1),
        ),
        (
            "compiled by an older version, or for another processor",
            changed(&|bytes| bytes[8..40].rotate_left(1)),
        ),
        ("of an older layout", changed(&|bytes| bytes[7] = 0)),
        (
            "cut in half",
            changed(&|bytes| bytes.truncate(bytes.len() / 2)),
        ),
        (
            "cut to its header",
            changed(&|bytes| bytes.truncate(HEADER)),
        ),
        ("empty", Vec::new()),
        ("one byte longer", changed(&|bytes| bytes.push(0))),
        ("another module's", other.clone()),
        (
            "another module's code under its own header",
            changed(&|bytes| {
                bytes.truncate(HEADER);
                bytes.extend_from_slice(&other[HEADER..]);
            }),
        ),
        ("plain wasm", sample("basics")?),
    ];
    for (what, forged) in forgeries {
        fs::write(&path, forged)?;
        is_recompiled(&stage, &path, &sound, what).await?;
    }
    // Whoever replaces the key authenticates nothing that was written under the real one.
    fs::write(artifacts(&stage).join("mac.key"), [7; 64])?;
    is_recompiled(&stage, &path, &sound, "authenticated by another host").await
}

/// What somebody who has the host's key could put there, or an update that went wrong: authentic to the last byte,
/// and made by or for something else.
#[tokio::test(flavor = "multi_thread")]
async fn an_authentic_artifact_for_another_host_is_not_loaded() -> Result<()> {
    let _turn = alone().await;
    let stage = Stage::embedded().await?;
    let host = stage.host(&[]).await?;
    stage.push(&["basics", "text"]).await?;
    host.kill();
    let path = artifact(&stage, "basics").await?;
    let sound = fs::read(&path)?;
    let mac_key = fs::read(artifacts(&stage).join("mac.key"))?;
    let name = path
        .file_name()
        .context("a name")?
        .to_string_lossy()
        .into_owned();
    // The key of its compilation is that of another version, of other settings, or of another processor.
    let mut other = sound.clone();
    other[8..40].rotate_left(1);
    fs::write(&path, authenticate(&mac_key, &name, other)?)?;
    is_recompiled(
        &stage,
        &path,
        &sound,
        "authentic, with another key of compilation",
    )
    .await?;
    // The key is ours, and wasmtime's own description of the code is not.
    for (what, ours, theirs) in [
        ("an older version", "48.0.8+celeriac", "47.0.8+celeriac"),
        ("another processor", "x86_64", "x86_65"),
        ("a processor with more", "has_sse42", "has_sse99"),
    ] {
        let mut forged = sound.clone();
        assert!(
            replace(&mut forged[HEADER..], ours.as_bytes(), theirs.as_bytes()) > 0,
            "`{ours}` is not in the artifact"
        );
        fs::write(&path, authenticate(&mac_key, &name, forged)?)?;
        let host = stage.host(&[]).await?;
        let input = json!({"a": 1, "b": 2});
        match stage.client.call::<f64>("basics/add", &input).await {
            Err(Error::Failed(failed)) => {
                assert_eq!(failed.code, Code::HostFault, "{what}");
            }
            other => panic!("code for {what} was run: {other:?}"),
        }
        let words: Value = stage
            .client
            .call("text/word-stats", &json!({"text": "one two"}))
            .await?;
        assert!(words.is_object(), "{what}: the others are as they were");
        host.kill();
    }
    fs::remove_file(&path)?;
    is_recompiled(&stage, &path, &sound, "thrown away").await
}

/// Puts other bytes where `from` is; how often.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    let found: Vec<_> = (0..bytes.len().saturating_sub(from.len()))
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    for at in &found {
        bytes[*at..*at + to.len()].copy_from_slice(to);
    }
    found.len()
}

/// The file with the authentication code that the host itself would give it.
fn authenticate(mac_key: &[u8], digest: &str, mut file: Vec<u8>) -> Result<Vec<u8>> {
    let digest: Vec<u8> = (0..digest.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digest[at..at + 2], 16))
        .collect::<Result<_, _>>()?;
    let mut hmac = Hmac::<Sha256>::new_from_slice(mac_key)?;
    for part in [&file[..8], &digest, &file[8..40], &file[HEADER..]] {
        hmac.update(part);
    }
    file[40..HEADER].copy_from_slice(&hmac.finalize().into_bytes());
    Ok(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_changed_in_the_store_is_not_run() -> Result<()> {
    let _turn = alone().await;
    let stage = Stage::redis(AofMode::Off).await?;
    let host = stage.host(&[]).await?;
    stage.push(&["basics", "text"]).await?;
    host.kill();
    let digest = stage
        .client
        .broker()
        .module(&"basics".parse()?)
        .await?
        .digest;
    let evil = sample("text")?;
    replace_blob(&stage.url, &digest.hex(), &evil).await?;
    fs::remove_dir_all(artifacts(&stage))?;
    let _host = stage.host(&[]).await?;
    match stage
        .client
        .call::<f64>("basics/add", &json!({"a": 1, "b": 2}))
        .await
    {
        Err(Error::Failed(failed)) => {
            assert_eq!(failed.code, Code::HostFault);
            assert!(
                failed.failure.message.contains("push the module again"),
                "{}",
                failed.failure.message
            );
        }
        other => panic!("forged bytes were run: {other:?}"),
    }
    Ok(())
}

/// Puts other bytes where Redis keeps those of a digest.
async fn replace_blob(url: &str, digest: &str, bytes: &[u8]) -> Result<()> {
    let mut redis = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("*{digest}*"))
        .query_async(&mut redis)
        .await?;
    for key in &keys {
        let kind: String = redis::cmd("TYPE").arg(key).query_async(&mut redis).await?;
        eprintln!("{key} is a {kind}");
        if kind == "string" {
            redis::cmd("SET")
                .arg(key)
                .arg(bytes)
                .query_async::<()>(&mut redis)
                .await?;
        }
    }
    anyhow::ensure!(!keys.is_empty(), "no key of the module was found");
    Ok(())
}
