//! The first run of a module on a host process that has just started, over a warm run of the same: the
//! module was admitted before, its artifact is on the host's disk.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    figure::{Figure, Goal},
    host::{Site, block_on, payload},
    options::Scale,
    stats::median,
};

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    block_on(measure(scale.pick(21, 2)))
}

async fn measure(processes: usize) -> Result<Vec<Figure>> {
    let site = Site::start().await?;
    let host = site.host(64).await?;
    site.push("basics").await?;
    drop(host);
    let (mut first, mut extra) = (Vec::new(), Vec::new());
    for _ in 0..processes {
        let host = site.host(64).await?;
        // It is known to the broker; let it come to rest, so that its start is not counted.
        sleep(Duration::from_millis(200)).await;
        let cold = call(&site).await?;
        let mut warm = Vec::new();
        for _ in 0..20 {
            warm.push(call(&site).await?);
        }
        first.push(cold);
        extra.push(cold - median(&warm));
        drop(host);
    }
    let against = "the median of 20 warm runs on the same process";
    Ok(vec![
        Figure::new("cold.extra_ms", median(&extra), "ms", against).goal(Goal::AtMost(20.0)),
        Figure::new(
            "cold.first_ms",
            median(&first),
            "ms",
            "the first run on a fresh host process",
        ),
    ])
}

async fn call(site: &Site) -> Result<f64> {
    let input = payload();
    let began = Instant::now();
    let _: Value = site.client.call("basics/echo", &input).await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}
