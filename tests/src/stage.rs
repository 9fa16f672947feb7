//! A broker, hosts on it, and a client.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use celeriac_broker::testing::{AofMode, RedisServer};
use celeriac_client::Client;
use tempfile::TempDir;

use crate::HostProcess;

/// A broker in a place of its own, and a client of it.
#[derive(Debug)]
pub struct Stage {
    /// Where hosts and clients connect to.
    pub url: String,
    /// A client.
    pub client: Client,
    /// The server, where there is one.
    pub redis: Option<RedisServer>,
    /// Stores and caches; gone with the stage.
    pub dir: TempDir,
}

impl Stage {
    /// A stage on a Redis of its own.
    ///
    /// # Errors
    /// When redis-server cannot be started.
    pub async fn redis(aof: AofMode) -> Result<Self> {
        let redis = RedisServer::start(aof)?;
        let url = redis.url();
        Ok(Self {
            client: Client::connect(&url).await?,
            url,
            redis: Some(redis),
            dir: tempfile::tempdir()?,
        })
    }

    /// A stage on an embedded store of its own.
    ///
    /// # Errors
    /// When the store cannot be made.
    pub async fn embedded() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let url = format!("embedded:{}", dir.path().join("store").display());
        Ok(Self {
            client: Client::connect(&url).await?,
            url,
            redis: None,
            dir,
        })
    }

    /// Starts a host and waits until the broker knows it.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn host(&self, arguments: &[&str]) -> Result<HostProcess> {
        let cache = self.cache();
        self.host_with(arguments, &[("CELERIAC_CACHE_DIR", &cache)])
            .await
    }

    /// Starts a host with settings of its own and waits until the broker knows it.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn host_with(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<HostProcess> {
        self.known(HostProcess::start(&self.url, arguments, environment)?)
            .await
    }

    /// As `host`, with its log in a file.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn host_logging(&self, arguments: &[&str], log: &Path) -> Result<HostProcess> {
        let cache = self.cache();
        let environment = [("CELERIAC_CACHE_DIR", cache.as_str())];
        self.known(HostProcess::start_logging(
            &self.url,
            arguments,
            &environment,
            log,
        )?)
        .await
    }

    fn cache(&self) -> String {
        self.dir.path().join("cache").display().to_string()
    }

    /// The host, once the broker knows it.
    async fn known(&self, host: HostProcess) -> Result<HostProcess> {
        let before = self.hosts().await?;
        let pid = host.pid();
        until(
            Duration::from_secs(20),
            "the host is known to the broker",
            || async {
                let hosts = self.client.broker().hosts().await?;
                Ok(hosts.iter().any(|host| host.pid == pid))
            },
        )
        .await
        .with_context(|| format!("{before} hosts before"))?;
        Ok(host)
    }

    async fn hosts(&self) -> Result<usize> {
        Ok(self.client.broker().hosts().await?.len())
    }

    /// Uploads sample modules under their own names.
    ///
    /// # Errors
    /// When one is not built or refused.
    pub async fn push(&self, modules: &[&str]) -> Result<()> {
        for module in modules {
            self.client.push(sample(module)?, module).await?;
        }
        Ok(())
    }
}

/// The binary under test.
pub fn binary() -> PathBuf {
    from_environment("CELERIAC_BIN", "target/release/celeriac")
}

/// A sample module's bytes.
///
/// # Errors
/// When it is not built.
pub fn sample(name: &str) -> Result<Vec<u8>> {
    let dir = from_environment("CELERIAC_TASKS", "tasks/target/wasm32-wasip2/release");
    let path = dir.join(format!("{name}.wasm"));
    std::fs::read(&path)
        .with_context(|| format!("{} is not there: run `make tasks`", path.display()))
}

fn from_environment(variable: &str, default: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os(variable).map_or_else(|| root.join(default), PathBuf::from)
}

/// Waits until `fact` holds, looking every few milliseconds.
///
/// # Errors
/// When it does not hold within `patience`, or cannot be looked at.
pub async fn until<F: Future<Output = Result<bool>>>(
    patience: Duration,
    what: &str,
    mut fact: impl FnMut() -> F,
) -> Result<()> {
    let started = Instant::now();
    while !fact().await? {
        ensure!(
            started.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
