//! Chords against as many plain invocations: what waiting for others costs.
//!
//! A chord is a hundred no-ops and one that waits for all of them and gets their outputs. Both sides are handed in by one
//! client and run by one host, in turn; of the plain ones each is awaited, of the chords their last invocations are.

use std::time::Instant;

use anyhow::{Result, ensure};
use celeriac_client::{Client, gather};
use serde_json::Value;

use crate::{
    figure::{Figure, Goal},
    host::{Site, block_on},
    options::Scale,
    stats::median,
};

/// Slots of the host, as in the benchmark of throughput.
const SLOTS: u32 = 512;

/// Chords handed in in one submit: ten thousand invocations.
const TOGETHER: usize = 100;

/// How many chords of how many members, and how often.
#[derive(Clone, Copy)]
struct Sizes {
    chords: usize,
    members: usize,
    rounds: usize,
}

impl Sizes {
    const fn invocations(self) -> usize {
        self.chords * (self.members + 1)
    }
}

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    let full = Sizes {
        chords: 1000,
        members: 100,
        rounds: 3,
    };
    let quick = Sizes {
        chords: 20,
        members: 10,
        rounds: 1,
    };
    block_on(measure(scale.pick(full, quick)))
}

async fn measure(sizes: Sizes) -> Result<Vec<Figure>> {
    let site = Site::start().await?;
    let _host = site.host(SLOTS).await?;
    site.push("basics").await?;
    plain(&site.client, sizes.invocations() / 10).await?;
    let (mut flows, mut plains) = (Vec::new(), Vec::new());
    for round in 1..=sizes.rounds {
        eprintln!("   round {round} of {}", sizes.rounds);
        plains.push(plain(&site.client, sizes.invocations()).await?);
        flows.push(chords(&site.client, sizes).await?);
    }
    let (flow, plain) = (median(&flows), median(&plains));
    let Sizes {
        chords, members, ..
    } = sizes;
    Ok(vec![
        Figure::new(
            "flow.over_plain_ratio",
            flow / plain,
            "ratio",
            format!(
                "time for each invocation of {chords} chords of {members} members over that of as many plain no-ops, \
                 in turn, one host and one client, Redis"
            ),
        )
        .goal(Goal::AtMost(1.5)),
        Figure::new(
            "flow.per_s",
            1e6 / flow,
            "1/s",
            "invocations of chords in a second",
        ),
    ])
}

/// Microseconds for each of so many no-ops.
async fn plain(client: &Client, count: usize) -> Result<f64> {
    let noop = client.task("basics/noop")?;
    let began = Instant::now();
    let handles = noop.submit_all((0..count).map(|_| Value::Null)).await?;
    for output in gather::<Value>(&handles).await {
        output?;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / count as f64)
}

/// Microseconds for each invocation of the chords.
async fn chords(client: &Client, sizes: Sizes) -> Result<f64> {
    let (noop, echo) = (client.task("basics/noop")?, client.task("basics/echo")?);
    let began = Instant::now();
    let mut bodies = Vec::with_capacity(sizes.chords);
    let mut left = sizes.chords;
    while left > 0 {
        let mut flow = client.flow();
        for _ in 0..left.min(TOGETHER) {
            let members = flow.map(&noop, (0..sizes.members).map(|_| Value::Null))?;
            flow.chord(&members, &echo)?;
        }
        left -= left.min(TOGETHER);
        bodies.extend(flow.submit().await?);
    }
    for outputs in gather::<Vec<Value>>(&bodies).await {
        ensure!(outputs?.len() == sizes.members, "a chord lacks outputs");
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / sizes.invocations() as f64)
}
