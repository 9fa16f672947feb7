//! Delays, times, expiry and deadlines with real hosts, and with hosts that die.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use celeriac_broker::testing::AofMode;
use celeriac_client::{CancelResult, Code, State, When};
use celeriac_tests::{HostProcess, Stage, until};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

/// What being late may be on a machine that builds and tests; usually it is a few milliseconds.
const SOON: Duration = Duration::from_secs(1);

async fn both() -> Result<[Stage; 2]> {
    Ok([Stage::embedded().await?, Stage::redis(AofMode::Off).await?])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_starts_on_time_on_an_idle_host() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let add = stage.client.task("basics/add")?;
        let sum: f64 = add.call(&json!({ "a": 1, "b": 2 })).await?;
        let begun = Instant::now();
        let later = add.clone().delay(Duration::from_millis(700));
        assert_eq!(later.call::<f64>(&json!({ "a": 1, "b": 2 })).await?, sum);
        let late = begun.elapsed().saturating_sub(Duration::from_millis(700));
        assert!(
            begun.elapsed() >= Duration::from_millis(700) && late < SOON,
            "{late:?}"
        );
        let at = SystemTime::now() + Duration::from_millis(400);
        let text = When::from(at).to_string();
        let handle = add
            .at(text.parse::<When>()?)
            .submit(&json!({ "a": 1, "b": 2 }))
            .await?;
        assert_eq!(handle.status().await?.state, State::Scheduled);
        assert_eq!(handle.result::<f64>().await?, sum);
        assert!(SystemTime::now() + Duration::from_millis(1) >= at);
    }
    Ok(())
}

/// Sets the clock that a process sees an hour back, or an hour forward where `SKEW` says so.
const SKEWED_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (id == CLOCK_REALTIME) now->tv_sec += atol(getenv("SKEW"));
    return result;
}
"#;

/// A library to load before a host starts, which skews the clock that it sees by `SKEW` seconds.
pub(crate) fn skewed_clock(dir: &Path) -> Result<String> {
    let (source, library) = (dir.join("skew.c"), dir.join("skew.so"));
    std::fs::write(&source, SKEWED_CLOCK)?;
    let compiled = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .context("a C compiler is needed, as for SQLite")?;
    ensure!(compiled.success(), "the skewed clock does not compile");
    Ok(library.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_clock_is_an_hour_off_starts_nothing_early_or_late() -> Result<()> {
    let stage = Stage::redis(AofMode::Off).await?;
    let library = skewed_clock(stage.dir.path())?;
    let cache = stage.dir.path().join("cache").display().to_string();
    for skew in ["-3600", "3600"] {
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("SKEW", skew),
            ("CELERIAC_CACHE_DIR", cache.as_str()),
        ];
        let host = HostProcess::start(&stage.url, &[], &environment)?;
        until(PATIENCE, "the host is known", || async {
            let hosts = stage.client.broker().hosts().await?;
            let known = hosts.into_iter().find(|known| known.pid == host.pid());
            // The host itself says when it started: by its own clock, which is wrong indeed.
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)?
                .as_millis() as u64;
            Ok(known.is_some_and(|known| known.started_at_ms.abs_diff(now) > 3_000_000))
        })
        .await?;
        stage.push(&["basics"]).await?;
        let delay = Duration::from_millis(500);
        let noop = stage.client.task("basics/noop")?;
        noop.call::<()>(&json!(null)).await?;
        let begun = Instant::now();
        let handle = noop.clone().delay(delay).deadline(Duration::from_secs(30));
        handle.call::<()>(&json!(null)).await?;
        assert!(begun.elapsed() >= delay, "{skew}: {:?}", begun.elapsed());
        assert!(
            begun.elapsed() < delay + SOON,
            "{skew}: {:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        let expiring = noop
            .queue("nobody")
            .expires(delay)
            .submit(&json!(null))
            .await?;
        assert_eq!(expiring.outcome().await?.code, Code::Expired);
        assert!(begun.elapsed() >= delay, "{skew}: {:?}", begun.elapsed());
        assert!(
            begun.elapsed() < delay + SOON,
            "{skew}: {:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        let spin = stage.client.task("basics/spin")?.deadline(delay);
        let ended = spin.submit(&json!(null)).await?.outcome().await?;
        assert_eq!(ended.code, Code::Deadline);
        assert!(
            begun.elapsed() < delay + SOON,
            "{skew}: {:?}",
            begun.elapsed()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_survives_every_host() -> Result<()> {
    for stage in both().await? {
        let first = stage.host(&["--lease", "1s"]).await?;
        stage.push(&["basics"]).await?;
        let noop = stage
            .client
            .task("basics/noop")?
            .delay(Duration::from_millis(1500));
        let handles = noop.submit_all((0..200).map(|_| json!(null))).await?;
        first.kill();
        let _second = stage.host(&["--lease", "1s"]).await?;
        for handle in &handles {
            let ended = tokio::time::timeout(PATIENCE, handle.outcome()).await??;
            assert_eq!((ended.code, ended.usage.attempt), (Code::Ok, 1));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_makes_nothing_late_for_long() -> Result<()> {
    for stage in both().await? {
        let first = stage.host(&["--lease", "1s"]).await?;
        let _second = stage.host(&["--lease", "1s"]).await?;
        stage.push(&["basics"]).await?;
        let noop = stage.client.task("basics/noop")?;
        noop.call::<()>(&json!(null)).await?;
        let begun = Instant::now();
        let delay = Duration::from_millis(800);
        let handle = noop.delay(delay).submit(&json!(null)).await?;
        first.kill();
        handle.result::<()>().await?;
        // A second for another to take over, and a lease in case the first had it already.
        let late = begun.elapsed().saturating_sub(delay);
        assert!(late < 2 * SOON + Duration::from_secs(1), "{late:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_survives_a_restart_of_redis() -> Result<()> {
    let mut stage = Stage::redis(AofMode::Always).await?;
    let _host = stage.host(&["--lease", "2s"]).await?;
    stage.push(&["basics"]).await?;
    let noop = stage.client.task("basics/noop")?;
    let handle = noop
        .clone()
        .delay(Duration::from_secs(2))
        .submit(&json!(null))
        .await?;
    let expiring = noop.queue("nobody").expires(Duration::from_secs(2));
    let expiring = expiring.submit(&json!(null)).await?;
    if let Some(redis) = &mut stage.redis {
        redis.kill()?;
        redis.restart()?;
    }
    let ended = tokio::time::timeout(PATIENCE, handle.outcome()).await??;
    assert_eq!(ended.code, Code::Ok);
    let ended = tokio::time::timeout(PATIENCE, expiring.outcome()).await??;
    assert_eq!(ended.code, Code::Expired);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_host_lets_what_waits_expire_on_time() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&["--concurrency", "1"]).await?;
        stage.push(&["basics"]).await?;
        let spin = stage.client.submit("basics/spin", &json!(null)).await?;
        until(PATIENCE, "the host is full", || async {
            Ok(spin.status().await?.state == State::Running)
        })
        .await?;
        let noop = stage.client.task("basics/noop")?;
        let begun = Instant::now();
        let late = noop.clone().expires(Duration::from_millis(300));
        let late = late.submit(&json!(null)).await?;
        let failing = noop.deadline(Duration::from_millis(300));
        let failing = failing.submit(&json!(null)).await?;
        assert_eq!(late.outcome().await?.code, Code::Expired);
        assert_eq!(failing.outcome().await?.code, Code::Deadline);
        assert!(
            begun.elapsed() < Duration::from_millis(300) + SOON,
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(late.status().await?.state, State::Expired);
        assert_eq!(failing.status().await?.state, State::Failed);
        spin.cancel().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_bounds_attempts_and_retries_together() -> Result<()> {
    for stage in both().await? {
        let _host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        let begun = Instant::now();
        let spin = stage
            .client
            .task("basics/spin")?
            .deadline(Duration::from_millis(500));
        let ended = spin.submit(&json!(null)).await?.outcome().await?;
        assert_eq!(ended.code, Code::Deadline);
        assert!(
            begun.elapsed() < Duration::from_millis(500) + SOON,
            "{:?}",
            begun.elapsed()
        );
        let message = ended
            .failure
            .as_ref()
            .map(|failure| failure.message.clone());
        assert!(
            message.unwrap_or_default().contains("whole invocation"),
            "{ended:?}"
        );
        // A retry that could not start in time is not waited for: the failure itself is the outcome.
        let flaky = stage.client.task("basics/flaky")?.backoff("1h".parse()?);
        let flaky = flaky.deadline(Duration::from_secs(60));
        let ended = flaky
            .submit(&json!({ "failures": 3 }))
            .await?
            .outcome()
            .await?;
        assert_eq!((ended.code, ended.usage.attempt), (Code::TaskError, 1));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_is_seen_and_cancelled_without_any_host() -> Result<()> {
    for stage in both().await? {
        let host = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        host.kill();
        let noop = stage
            .client
            .task("basics/noop")?
            .delay(Duration::from_secs(3600));
        let handle = noop.submit(&json!(null)).await?;
        let queues = stage.client.broker().queues().await?;
        let found = queues.iter().find(|queue| queue.queue == "default");
        assert_eq!(
            found.map(|queue| (queue.queued, queue.scheduled)),
            Some((0, 1))
        );
        assert_eq!(handle.cancel().await?, CancelResult::Cancelled);
        assert_eq!(handle.outcome().await?.code, Code::Cancelled);
    }
    Ok(())
}
