//! Stopping tasks that compute for ever, and what their neighbours feel of them.
//!
//! The time of a cancel ends when its outcome has come back to the caller, by when the slot is free: what
//! is reported is an upper bound.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use celeriac_client::{Code, Handle};
use serde_json::Value;

use crate::{
    figure::{Figure, Goal},
    host::{Site, block_on, payload},
    options::Scale,
    stats::{median, quantile},
};

/// Spinning tasks at once: each processor of a small machine has several.
const SPINNERS: usize = 8;

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    block_on(measure(scale.pick(25, 1), scale.pick(300, 10)))
}

async fn measure(rounds: usize, calls: usize) -> Result<Vec<Figure>> {
    let site = Site::start().await?;
    let _host = site.host(64).await?;
    site.push("basics").await?;
    neighbours(&site, calls / 10).await?;
    let quiet = neighbours(&site, calls).await?;
    let spinners = spin(&site).await?;
    let beside = neighbours(&site, calls).await?;
    let mut cancels = cancel(spinners).await?;
    for _ in 1..rounds {
        cancels.extend(cancel(spin(&site).await?).await?);
    }
    let (quiet, beside) = (median(&quiet), median(&beside));
    let what = format!("{SPINNERS} tasks that compute for ever");
    Ok(vec![
        Figure::new(
            "cancel.p99_ms",
            quantile(&cancels, 0.99),
            "ms",
            format!("cancel to outcome; {what}, one after another"),
        )
        .goal(Goal::AtMost(50.0)),
        Figure::new(
            "cancel.neighbour_ratio",
            beside / quiet,
            "ratio",
            format!("median latency when quiet; {what}"),
        )
        .goal(Goal::AtMost(2.0)),
        Figure::new(
            "cancel.median_ms",
            median(&cancels),
            "ms",
            "cancel to outcome",
        ),
        Figure::new(
            "cancel.neighbour_quiet_ms",
            quiet,
            "ms",
            "submit to result when quiet",
        ),
        Figure::new(
            "cancel.neighbour_ms",
            beside,
            "ms",
            format!("submit to result beside {what}"),
        ),
    ])
}

/// Starts the spinners and waits until all of them run.
async fn spin(site: &Site) -> Result<Vec<Handle>> {
    let call = site.client.task("basics/spin")?;
    let handles = call.submit_all((0..SPINNERS).map(|_| Value::Null)).await?;
    site.until_running(SPINNERS as u64, Duration::from_secs(10))
        .await?;
    Ok(handles)
}

/// Cancels one after another, while the rest goes on; ms from the call to the outcome.
async fn cancel(spinners: Vec<Handle>) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(spinners.len());
    for spinner in spinners {
        let began = Instant::now();
        spinner.cancel().await?;
        let outcome = spinner.outcome().await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(
            outcome.code == Code::Cancelled,
            "a cancelled task ended as {}",
            outcome.code
        );
    }
    Ok(times)
}

/// ms from submit to result of short tasks, one at a time.
async fn neighbours(site: &Site, calls: usize) -> Result<Vec<f64>> {
    let input = payload();
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        let _: Value = site.client.call("basics/echo", &input).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
