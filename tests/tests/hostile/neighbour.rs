//! A neighbour of the attackers: a client of its own that calls a short task all the time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use celeriac_client::Client;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

/// What the neighbour saw.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    times: Vec<Duration>,
}

impl Calls {
    pub(crate) fn slowest(&self) -> Duration {
        self.times.last().copied().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }
}

/// A neighbour that calls until it is asked to stop.
pub(crate) struct Neighbour {
    stop: watch::Sender<bool>,
    calling: JoinHandle<Result<Calls>>,
}

impl Neighbour {
    pub(crate) fn start(client: Client) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self {
            stop,
            calling: tokio::spawn(call(client, stopped)),
        }
    }

    /// Ends it after the call that is under way. An error is a call that failed.
    pub(crate) async fn stop(self) -> Result<Calls> {
        self.stop.send_replace(true);
        self.calling.await?
    }

    /// What so many calls take when nobody else is there.
    pub(crate) async fn undisturbed(client: &Client, calls: u32) -> Result<Calls> {
        let mut times = Vec::new();
        for n in 0..calls {
            times.push(add(client, n).await?);
        }
        times.sort();
        Ok(Calls { times })
    }
}

async fn call(client: Client, stopped: watch::Receiver<bool>) -> Result<Calls> {
    let mut times = Vec::new();
    for n in 0.. {
        times.push(add(&client, n).await?);
        if *stopped.borrow() {
            break;
        }
    }
    times.sort();
    Ok(Calls { times })
}

/// One call, and how long it took.
async fn add(client: &Client, n: u32) -> Result<Duration> {
    let asked = Instant::now();
    let sum: f64 = client
        .call("basics/add", &json!({"a": n, "b": 1}))
        .await
        .context("the neighbour's call")?;
    ensure!(
        sum == f64::from(n) + 1.0,
        "the neighbour was told that {n} + 1 = {sum}"
    );
    Ok(asked.elapsed())
}
