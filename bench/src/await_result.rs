//! Submit to awaited result, one at a time on an idle host, against a PING on the same kind of connection
//! in the same runtime, in turn.

use std::time::Instant;

use anyhow::{Result, ensure};
use celeriac_client::Client;
use serde_json::Value;

use crate::{
    embedded::Embedded,
    figure::{Figure, Goal},
    host::{Site, block_on, payload},
    options::Scale,
    stats::{median, quantile},
};

const TASK: &str = "basics/echo";

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    block_on(measure(scale.pick(3_000, 20)))
}

async fn measure(rounds: usize) -> Result<Vec<Figure>> {
    let site = Site::start().await?;
    let _host = site.host(64).await?;
    site.push("basics").await?;
    let mut connection = site.server.connect().await?;
    let (mut pings, mut calls) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for round in 0..rounds + rounds / 10 {
        let began = Instant::now();
        let _: String = redis::cmd("PING").query_async(&mut connection).await?;
        let ping = micros(began);
        let call = call(&site.client).await?;
        // The first tenth warms everything up.
        if round >= rounds / 10 {
            pings.push(ping);
            calls.push(call);
        }
    }
    let embedded = embedded(rounds).await?;
    Ok(figures(&pings, &calls, &embedded))
}

async fn embedded(rounds: usize) -> Result<Vec<f64>> {
    let embedded = Embedded::start(64).await?;
    let mut calls = Vec::with_capacity(rounds);
    for round in 0..rounds + rounds / 10 {
        let call = call(embedded.client()).await?;
        if round >= rounds / 10 {
            calls.push(call);
        }
    }
    embedded.stop().await;
    Ok(calls)
}

fn figures(pings: &[f64], calls: &[f64], embedded: &[f64]) -> Vec<Figure> {
    let (ping, call, p99) = (median(pings), median(calls), quantile(calls, 0.99));
    vec![
        Figure::new(
            "await.median_over_ping",
            call / ping,
            "ratio",
            "a Redis PING round trip in the same run",
        )
        .goal(Goal::AtMost(8.0)),
        Figure::new("await.p99_over_median", p99 / call, "ratio", "the median")
            .goal(Goal::AtMost(5.0)),
        Figure::new(
            "await.median_us",
            call,
            "µs",
            "submit to result on an idle host, Redis",
        ),
        Figure::new(
            "await.p99_us",
            p99,
            "µs",
            "submit to result on an idle host, Redis",
        ),
        Figure::new(
            "await.ping_us",
            ping,
            "µs",
            "PING on a multiplexed connection",
        ),
        Figure::new(
            "await.embedded_median_us",
            median(embedded),
            "µs",
            "submit to result, embedded broker",
        ),
    ]
}

async fn call(client: &Client) -> Result<f64> {
    let input = payload();
    let began = Instant::now();
    let output: Value = client.call(TASK, &input).await?;
    let call = micros(began);
    ensure!(output == input, "echo must return its input");
    Ok(call)
}

fn micros(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}
