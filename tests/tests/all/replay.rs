//! A failure is run again: `celeriac replay` ends as the attempt did, with the same fuel.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use celeriac_broker::InvocationId;
use celeriac_broker::testing::AofMode;
use celeriac_client::Outcome;
use celeriac_tests::{HostProcess, Stage, binary};
use serde_json::{Value, json};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A host on which the task `testing-replay/fail` is to be found.
pub(super) struct Scene {
    pub(super) stage: Stage,
    host: Option<HostProcess>,
}

impl Scene {
    pub(super) async fn on(stage: Stage, settings: &str) -> Result<Self> {
        let file = stage.dir.path().join("celeriac.toml");
        std::fs::write(&file, settings)?;
        let settings = file.display().to_string();
        let host = stage.host(&["--config", &settings]).await?;
        let module = celeriac_tests::sample("testing_replay")?;
        stage.client.push(module, "replayed").await?;
        let host = Some(host);
        Ok(Self { stage, host })
    }

    /// Ends the host: what is replayed from here on is replayed without it.
    pub(super) fn end_host(&mut self) {
        self.host = None;
    }

    pub(super) async fn both(settings: &str) -> Result<[Self; 2]> {
        Ok([
            Self::on(Stage::embedded().await?, settings).await?,
            Self::on(Stage::redis(AofMode::Off).await?, settings).await?,
        ])
    }

    /// Runs these steps to their failure.
    pub(super) async fn fail(&self, steps: &[&str]) -> Result<(InvocationId, Outcome)> {
        let task = self.stage.client.task("replayed/fail")?;
        let handle = task.submit(&json!({ "steps": steps })).await?;
        let outcome = tokio::time::timeout(PATIENCE, handle.outcome()).await??;
        ensure!(outcome.failure.is_some(), "it was to fail: {outcome:?}");
        Ok((handle.id(), (*outcome).clone()))
    }

    /// Replays it with a settings file, and a cache, of its own: on another machine, as it were.
    pub(super) async fn replay(
        &self,
        id: InvocationId,
        arguments: &[&str],
    ) -> Result<(Output, Value)> {
        let elsewhere = tempfile::tempdir()?;
        let mut command = Command::new(binary());
        command
            .args([
                "replay",
                &id.to_string(),
                "--json",
                "--broker",
                &self.stage.url,
            ])
            .args(arguments)
            .env("CELERIAC_CACHE_DIR", elsewhere.path());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        let document = serde_json::from_str(&said)
            .with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)));
        Ok((output, document?))
    }
}

pub(super) fn assert_same((output, document): &(Output, Value), recorded: &Outcome) {
    let replay = &document["replay"];
    assert_eq!(
        replay["is_same_outcome"], true,
        "{document:#} {recorded:#?}"
    );
    assert_eq!(
        document["usage"]["fuel"], recorded.usage.fuel,
        "{document:#}"
    );
    assert_eq!(replay["is_same_fuel"], true, "{document:#}");
    assert_eq!(output.status.code(), Some(0), "{document:#}");
    let failure = recorded.failure.as_ref().unwrap();
    assert_eq!(document["failure"]["message"], failure.message.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn randomness_is_the_same_although_nobody_can_foresee_it() -> Result<()> {
    for scene in Scene::both("").await? {
        let (id, outcome) = scene.fail(&["random", "spin 1000", "random"]).await?;
        assert_same(&scene.replay(id, &[]).await?, &outcome);
        // The seed is told to nobody who asks for what the invocation came to.
        let status = scene.stage.client.broker().status(id).await?;
        assert!(!serde_json::to_string(&status)?.contains("seed"));
        let (other, another) = scene.fail(&["random", "spin 1000", "random"]).await?;
        assert_ne!(outcome.failure, another.failure, "each attempt has its own");
        assert_same(&scene.replay(other, &[]).await?, &another);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_is_the_same_although_nothing_was_recorded() -> Result<()> {
    for scene in Scene::both("").await? {
        let task = scene.stage.client.task("replayed/fail")?;
        // One that the caller's deadline cuts short, which is no whole number of anything, and ones that it does not.
        for task in [
            task.clone().deadline(Duration::from_secs(40)),
            task.clone(),
            task,
        ] {
            let handle = task.submit(&json!({ "steps": ["deadline"] })).await?;
            let outcome = tokio::time::timeout(PATIENCE, handle.outcome()).await??;
            assert_same(&scene.replay(handle.id(), &[]).await?, &outcome);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_clock_and_seed_are_those_of_the_policy() -> Result<()> {
    let fixed = "[grants.replayed]\ndeterministic = { seed = 5, now = \"2026-01-02T03:04:05Z\" }\n";
    for scene in Scene::both(fixed).await? {
        let steps = [
            "random",
            "clock",
            "sleep 3000",
            "clock",
            "deadline",
            "panic",
        ];
        let (id, outcome) = scene.fail(&steps).await?;
        assert_same(&scene.replay(id, &[]).await?, &outcome);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_those_of_the_attempt() -> Result<()> {
    let scene = Scene::on(Stage::embedded().await?, "").await?;
    let task = scene.stage.client.task("replayed/fail")?.fuel(3_000_000);
    let handle = task.submit(&json!({ "steps": ["spin 10000000"] })).await?;
    let outcome = tokio::time::timeout(PATIENCE, handle.outcome()).await??;
    assert_eq!(outcome.code, celeriac_client::Code::OutOfFuel);
    assert_same(&scene.replay(handle.id(), &[]).await?, &outcome);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_is_tried_on_another_input_or_module() -> Result<()> {
    let scene = Scene::on(Stage::embedded().await?, "").await?;
    let (id, _) = scene.fail(&["random"]).await?;
    let (output, document) = scene
        .replay(id, &["--input", "{\"steps\":[\"panic\"]}"])
        .await?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(document["code"], "panicked");
    // Without anything recorded, the store is not to be had, and the broker is not written to.
    let (id, _) = scene.fail(&["count x"]).await?;
    let (_, document) = scene.replay(id, &[]).await?;
    let message = document["failure"]["message"].as_str().unwrap();
    assert!(
        message.contains("not to be had in a replay"),
        "{document:#}"
    );
    let list = celeriac_broker::DeadList {
        limit: 10,
        ..Default::default()
    };
    let letters = scene.stage.client.dead_letters(&list).await?.letters;
    assert_eq!(letters.len(), 2, "{letters:?}");
    Ok(())
}
