//! What a replay is for: a fix is tried on a recorded failure, and whatever does not fit its recording is told.

use std::process::{Command, Output};

use anyhow::{Context, Result};
use celeriac_broker::List;
use celeriac_broker::testing::AofMode;
use celeriac_tests::{Stage, binary};
use serde_json::{Value, json};

use super::replay::{PATIENCE, Scene, assert_same};

const RECORDED: &str = "[grants.replayed]\nrecord = true\n";

/// The sample with one text in the place of another, as long, in a file of its own.
fn changed(scene: &Scene, from: &str, to: &str) -> Result<String> {
    assert_eq!(from.len(), to.len());
    let mut module = celeriac_tests::sample("testing_replay")?;
    let places: Vec<_> = module
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "the sample does not have {from}");
    for at in places {
        module[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    let name: String = to.chars().filter(char::is_ascii_alphanumeric).collect();
    let file = scene.stage.dir.path().join(format!("{name}.wasm"));
    std::fs::write(&file, module)?;
    Ok(file.display().to_string())
}

/// Runs `celeriac` as a person does, without `--json`: what it says on both streams.
async fn said(scene: &Scene, arguments: &[&str]) -> Result<(Output, String)> {
    let elsewhere = tempfile::tempdir()?;
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .args(["--broker", &scene.stage.url])
        .env("CELERIAC_CACHE_DIR", elsewhere.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = out + &String::from_utf8_lossy(&output.stderr);
    Ok((output, text))
}

/// How many invocations there are.
async fn count(scene: &Scene) -> Result<usize> {
    let all = List {
        limit: 1000,
        ..List::default()
    };
    Ok(scene.stage.client.list(&all).await?.invocations.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_module_gets_the_same_answers_and_another_is_told_where_it_differs() -> Result<()> {
    let secret = "word-of-many-letters";
    let stage = Stage::embedded().await?;
    let file = stage.dir.path().join("word");
    std::fs::write(&file, secret)?;
    let settings = format!(
        "{RECORDED}secrets = {{ word = {{ file = \"{}\" }} }}\n",
        file.display()
    );
    let scene = Scene::on(stage, &settings).await?;
    let (id, outcome) = scene
        .fail(&["clock", "random", "secret word", "clock"])
        .await?;
    assert_same(&scene.replay(id, &[]).await?, &outcome);

    let fixed = changed(&scene, "state: broken", "state: mended")?;
    let (output, document) = scene.replay(id, &["--module", &fixed]).await?;
    assert_eq!(output.status.code(), Some(0), "{document:#}");
    assert_eq!(document["output"]["json"], 4, "{document:#}");
    assert_eq!(document["replay"]["stopped"], Value::Null);
    assert_eq!(document["replay"]["is_same_outcome"], false);

    let other = changed(&scene, "http://localhost:1/", "http://localhost:2/")?;
    let (output, document) = scene.replay(id, &["--module", &other]).await?;
    assert_eq!(output.status.code(), Some(1), "{document:#}");
    let stopped = document["replay"]["stopped"].as_str().context("stopped")?;
    assert!(
        stopped.starts_with("at call ")
            && stopped.contains("`outgoing-handler.handle GET http://localhost:1/*")
            && stopped.contains("asked for `outgoing-handler.handle GET http://localhost:2/"),
        "{stopped}"
    );
    // The same words for a person.
    let id = id.to_string();
    let (_, text) = said(&scene, &["replay", &id, "--module", &other]).await?;
    assert!(text.contains("replay ended: at call "), "{text}");
    assert!(text.contains("localhost:2/"), "{text}");
    let (output, text) = said(&scene, &["replay", &id, "--module", &fixed]).await?;
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("replayed: another outcome"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_whether_it_was_the_same() -> Result<()> {
    let scene = Scene::on(Stage::embedded().await?, RECORDED).await?;
    let (id, outcome) = scene.fail(&["clock", "random", "clock"]).await?;
    let id = id.to_string();
    let (output, text) = said(&scene, &["replay", &id]).await?;
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("replayed: the same outcome, the same fuel ("),
        "{text}"
    );
    let message = outcome.failure.as_ref().context("no failure")?;
    let line = message.message.lines().next().context("no line")?;
    assert!(text.contains(line), "{text}");
    let (_, text) = said(&scene, &["dead", "show", &id]).await?;
    assert!(text.contains("calls of its host"), "{text}");

    let (id, _) = scene.fail(&["clock", "tcp localhost:9"]).await?;
    let id = id.to_string();
    let (output, text) = said(&scene, &["replay", &id]).await?;
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("replay ended: after ")
            && text.contains("used sockets, which cannot be recorded"),
        "{text}"
    );
    let (_, text) = said(&scene, &["dead", "show", &id]).await?;
    assert!(
        text.contains("it ends where the task used sockets"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tasks_and_a_request_to_stop_are_recorded() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let grants = format!("{RECORDED}tasks = [\"basics/*\"]\n");
        let mut scene = Scene::on(stage, &grants).await?;
        scene.stage.push(&["basics"]).await?;
        let steps = [
            "cancelled",
            "call basics/add {\"a\":1,\"b\":2}",
            "call basics/fail {\"message\":\"no luck\"}",
            "call basics/there-is-none",
            "call other/task",
            "submit basics/noop",
            "sleep 300",
            "cancelled",
        ];
        let task = scene.stage.client.task("replayed/fail")?;
        let task = task.limit("soft_timeout", 200);
        let handle = task.submit(&json!({ "steps": steps })).await?;
        let outcome = tokio::time::timeout(PATIENCE, handle.outcome()).await??;
        let message = &outcome.failure.as_ref().context("it was to fail")?.message;
        for part in ["false", "Ok(Number(3", "no luck", "true"] {
            assert!(message.contains(part), "{message}");
        }
        scene.end_host();
        let before = count(&scene).await?;
        assert_same(&scene.replay(handle.id(), &[]).await?, &outcome);
        assert_eq!(count(&scene).await?, before, "a replay submits nothing");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_was_damaged_is_refused_in_words() -> Result<()> {
    let scene = Scene::on(Stage::redis(AofMode::Off).await?, RECORDED).await?;
    let (id, _) = scene.fail(&["clock", "random"]).await?;
    let mut redis = redis::Client::open(scene.stage.url.as_str())?
        .get_multiplexed_async_connection()
        .await?;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("*i:{id}*"))
        .query_async(&mut redis)
        .await?;
    let [key] = keys.as_slice() else {
        anyhow::bail!("one record: {keys:?}");
    };
    let kept: Vec<u8> = redis::cmd("HGET")
        .arg(key)
        .arg("z")
        .query_async(&mut redis)
        .await?;
    let middle = kept.len() / 2;
    let mut flipped = kept.clone();
    flipped[middle] ^= 1;
    for damaged in [&kept[..middle], flipped.as_slice(), b"nonsense"] {
        let set = redis::cmd("HSET").arg(key).arg("z").arg(damaged).to_owned();
        let () = set.query_async(&mut redis).await?;
        let id = id.to_string();
        let (output, text) = said(&scene, &["replay", &id]).await?;
        assert_ne!(output.status.code(), Some(0), "{text}");
        assert!(
            text.contains("the recording is damaged: its check sum"),
            "{text}"
        );
        let (output, text) = said(&scene, &["dead", "show", &id]).await?;
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("the recording is damaged"), "{text}");
    }
    Ok(())
}
