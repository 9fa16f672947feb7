//! Schedules with real hosts: ones that die, ones whose clocks are wrong, and a broker that restarts.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use celeriac_broker::{Options, RunResult, testing::AofMode};
use celeriac_client::{CatchUp, Client, Overlap, Payload, Schedule, State, Timing};
use celeriac_tests::{HostProcess, Stage, binary, until};

use crate::time::skewed_clock;

const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than a look of a busy machine, shorter than a lease.
const BEAT: Duration = Duration::from_millis(250);

fn beat() -> Schedule {
    Schedule {
        name: "beat".to_owned(),
        task: "basics/noop".parse().unwrap(),
        input: Payload::json_text("null"),
        options: Options::default(),
        timing: Timing::every(BEAT).unwrap(),
        catch_up: CatchUp::All(100),
        overlap: Overlap::Allow,
    }
}

/// The times that were fired, oldest first. Asked often enough, this is all of them: 20 are kept.
async fn fired(client: &Client) -> Result<Vec<u64>> {
    let record = client.schedules().get("beat").await?;
    let mut times: Vec<_> = record.runs.iter().map(|run| run.at_ms).collect();
    for run in &record.runs {
        ensure!(run.result == RunResult::Fired, "{run:?}");
        ensure!(
            run.id.is_some_and(|id| id.timestamp_ms() == run.at_ms),
            "{run:?}"
        );
    }
    times.reverse();
    Ok(times)
}

/// Waits for so many more times; that each was fired once, and none left out.
async fn follow(client: &Client, times: &mut Vec<u64>, more: usize) -> Result<()> {
    let enough = times.len() + more;
    let started = Instant::now();
    while times.len() < enough {
        let last = times.last().copied().unwrap_or(0);
        times.extend(fired(client).await?.into_iter().filter(|at| *at > last));
        ensure!(started.elapsed() < PATIENCE, "it fires no more: {times:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let is_regular = times.windows(2).all(|pair| pair[1] - pair[0] == 250);
    ensure!(is_regular, "each time once: {times:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_is_fired_once_while_hosts_come_and_die() -> Result<()> {
    for stage in [Stage::embedded().await?, Stage::redis(AofMode::Off).await?] {
        let (first, second) = (stage.host(&[]).await?, stage.host(&[]).await?);
        stage.push(&["basics"]).await?;
        stage.client.schedules().put(&beat()).await?;
        let mut times = Vec::new();
        follow(&stage.client, &mut times, 4).await?;
        first.kill();
        follow(&stage.client, &mut times, 6).await?;
        let third = stage.host(&[]).await?;
        second.kill();
        follow(&stage.client, &mut times, 6).await?;
        drop(third);
        // What was fired has run, or waits for a host that lives.
        let _fourth = stage.host(&[]).await?;
        let record = stage.client.schedules().get("beat").await?;
        for id in record.runs.iter().filter_map(|run| run.id) {
            let outcome = stage.client.handle(id).outcome().await?;
            ensure!(outcome.failure.is_none(), "{outcome:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_leaves_no_time_out() -> Result<()> {
    let mut stage = Stage::redis(AofMode::Always).await?;
    let _host = stage.host(&[]).await?;
    stage.push(&["basics"]).await?;
    stage.client.schedules().put(&beat()).await?;
    let mut times = Vec::new();
    follow(&stage.client, &mut times, 3).await?;
    let redis = stage.redis.as_mut().context("there is a Redis")?;
    redis.kill()?;
    tokio::time::sleep(2 * BEAT).await;
    redis.restart()?;
    until(PATIENCE, "the client is back", || async {
        Ok(stage.client.schedules().list().await.is_ok())
    })
    .await?;
    follow(&stage.client, &mut times, 6).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_clock_is_an_hour_off_fires_on_time() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let library = skewed_clock(stage.dir.path())?;
    let cache = stage.dir.path().join("cache").display().to_string();
    for skew in ["-3600", "3600"] {
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("SKEW", skew),
            ("CELERIAC_CACHE_DIR", cache.as_str()),
        ];
        let _host = HostProcess::start(&stage.url, &[], &environment)?;
        stage.push(&["basics"]).await?;
        stage.client.schedules().put(&beat()).await?;
        let mut times = Vec::new();
        follow(&stage.client, &mut times, 4).await?;
        let record = stage.client.schedules().get("beat").await?;
        let id = record.runs[0].id.context("it was fired")?;
        let status = stage.client.handle(id).status().await?;
        let late = status.submitted_at_ms - id.timestamp_ms();
        ensure!(late < 1_000, "{skew}: {late} ms late");
        stage.client.schedules().remove("beat").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_applied_and_pruned() -> Result<()> {
    let stage = Stage::embedded().await?;
    let _host = stage.host(&[]).await?;
    stage.push(&["basics"]).await?;
    let file = stage.dir.path().join("schedules.toml");
    let celeriac = |arguments: &[&str]| -> Result<String> {
        let output = Command::new(binary())
            .args(["--broker", &stage.url, "schedules"])
            .args(arguments)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?}: {text}{error}");
        Ok(text)
    };
    let path = file.display().to_string();
    let nightly =
        "[nightly]\ntask = \"basics/noop\"\ncron = \"30 2 * * *\"\nzone = \"Europe/Berlin\"\n";
    let weekly = "[weekly]\ntask = \"basics/noop\"\ncron = \"@weekly\"\n";
    std::fs::write(&file, format!("{nightly}{weekly}"))?;
    let would = celeriac(&["apply", &path, "--dry-run"])?;
    assert_eq!(would, "nightly would be added\nweekly would be added\n");
    assert_eq!(stage.client.schedules().list().await?, []);
    assert_eq!(
        celeriac(&["apply", &path])?,
        "nightly added\nweekly added\n"
    );
    celeriac(&["pause", "nightly"])?;
    std::fs::write(&file, format!("{nightly}overlap = \"allow\"\n"))?;
    assert_eq!(celeriac(&["apply", &path])?, "nightly changed\n");
    let would = celeriac(&["apply", &path, "--prune", "--dry-run"])?;
    assert_eq!(would, "nightly unchanged\nweekly would be removed\n");
    celeriac(&["apply", &path, "--prune"])?;
    let left = stage.client.schedules().list().await?;
    assert!(left.len() == 1 && left[0].is_paused, "{left:?}");
    // A file with a mistake in it changes nothing.
    std::fs::write(&file, format!("{weekly}[broken]\ntask = \"basics/noop\"\n"))?;
    assert!(celeriac(&["apply", &path, "--prune"]).is_err());
    assert_eq!(stage.client.schedules().list().await?, left);
    let id = celeriac(&["run", "nightly"])?.trim().parse()?;
    stage.client.handle(id).outcome().await?;
    assert_eq!(
        stage.client.handle(id).status().await?.state,
        State::Succeeded
    );
    assert!(celeriac(&["show", "nightly"])?.contains("submitted by hand"));
    Ok(())
}
