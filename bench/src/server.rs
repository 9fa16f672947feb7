//! A Redis server of the benchmark's own: nothing is persisted, for Celeriac and its peers alike.

use anyhow::{Context as _, Result};
use celeriac_broker::testing::{AofMode, RedisServer};
use redis::aio::MultiplexedConnection;

/// A `redis-server` on a free loopback port; ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server(RedisServer);

impl Server {
    /// Starts it with default settings but for persistence, which is off.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self(
            RedisServer::start(AofMode::Off).context("the benchmark needs a Redis of its own")?,
        ))
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    /// A connection of the kind that the broker uses.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    /// Bytes that the data set takes, as the server counts them.
    pub(crate) async fn used_memory(&self) -> Result<f64> {
        let info: String = redis::cmd("INFO")
            .arg("memory")
            .query_async(&mut self.connect().await?)
            .await?;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        Ok(line.context("INFO has no used_memory")?.trim().parse()?)
    }
}
