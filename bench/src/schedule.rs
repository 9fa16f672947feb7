//! Invocations that start at a time, among many that start later.
//!
//! The error of one is how long it was ready before a host had it, both by the broker's clock: waking the
//! host and taking the invocation are in it. An idle host is what it is hardest for: nothing else wakes it.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use celeriac_client::{Code, Handle, When};
use serde_json::Value;

use crate::{
    figure::{Figure, Goal},
    host::{Site, block_on},
    options::Scale,
    stats::{median, quantile},
};

/// Starts in a second: each by itself, as a service that retries and defers has them.
const PER_SECOND: u32 = 1000;

/// From the last submission to the first start.
const AHEAD: Duration = Duration::from_secs(1);

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    block_on(measure(scale.pick(100_000, 2000), scale.pick(10_000, 500)))
}

async fn measure(scheduled: usize, starting: usize) -> Result<Vec<Figure>> {
    let site = Site::start().await?;
    let _host = site.host(256).await?;
    site.push("basics").await?;
    site.client
        .call::<Value>("basics/noop", &Value::Null)
        .await?;
    let noop = site.client.task("basics/noop")?;
    let later = noop.clone().detached().delay(Duration::from_secs(3600));
    let rest = scheduled.saturating_sub(starting);
    drop(later.submit_all((0..rest).map(|_| Value::Null)).await?);
    // All of them are there before the first starts.
    let submitting = Duration::from_secs_f64(starting as f64 / 2000.0) + AHEAD;
    let first = SystemTime::now() + submitting;
    let handles = futures_util::future::try_join_all((0..starting).map(|number| {
        let start = first + Duration::from_secs(1) / PER_SECOND * number as u32;
        let call = noop.clone().at(When::from(start));
        async move { call.submit(&Value::Null).await }
    }))
    .await?;
    ensure!(
        SystemTime::now() < first,
        "submitting took too long for the first start"
    );
    let errors = errors(&handles).await?;
    let what =
        format!("{scheduled} scheduled, {PER_SECOND} of them start in a second; one idle host");
    Ok(vec![
        Figure::new(
            "schedule.p99_ms",
            quantile(&errors, 0.99),
            "ms",
            format!("from due to taken, by the broker's clock; {what}"),
        )
        .goal(Goal::AtMost(20.0)),
        Figure::new(
            "schedule.median_ms",
            median(&errors),
            "ms",
            "from due to taken",
        ),
    ])
}

/// ms from due to taken.
async fn errors(handles: &[Handle]) -> Result<Vec<f64>> {
    let mut errors = Vec::with_capacity(handles.len());
    for handle in handles {
        let outcome = handle.outcome().await?;
        ensure!(outcome.code == Code::Ok, "{:?}", outcome.failure);
        errors.push(outcome.usage.queue_ms);
    }
    Ok(errors)
}
