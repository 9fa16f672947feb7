//! The processes under test: a Redis server that keeps what it has answered, and hosts on it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use celeriac_broker::{
    Broker, DeadLetters, Limit, LimitScope, Rate, StoreOptions, connect_with,
    testing::{AofMode, RedisServer},
};
use celeriac_client::{Client, ConnectOptions};
use celeriac_tests::{HostProcess, sample};
use tempfile::TempDir;

use crate::options::Options;

/// How long a lease lasts: longer than Redis is away, so that what runs meanwhile runs on.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// How long clients try again: longer than any fault lasts, so that each submit gets its answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The queues that the load uses.
const QUEUES: &str = r#"["default", "tenants", "narrow", "metered", "bounded"]"#;

/// The server, the directory of the hosts, and what they are told.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) redis: RedisServer,
    pub(crate) url: String,
    settings: PathBuf,
    logs: PathBuf,
    started: usize,
    dir: TempDir,
}

impl Site {
    /// Starts the server and writes the hosts' settings.
    ///
    /// The append-only file is synced before each answer. With `everysec` Redis puts off even the write while an earlier
    /// sync goes on, and answers all the same: what it has acknowledged may then die with its process.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let redis = RedisServer::start(AofMode::Always)?;
        let dir = tempfile::tempdir()?;
        let settings = dir.path().join("celeriac.toml");
        let (ttl, lease) = (options.ttl.as_secs(), LEASE.as_secs());
        let text = format!(
            "queues = {QUEUES}\nconcurrency = 64\nlease = \"{lease}s\"\ngrace = \"5s\"\nresult_ttl = \"{ttl}s\"\n\
             [dead_letters]\nttl = \"{ttl}s\"\n[grants.relay]\ntasks = [\"basics/*\"]\n"
        );
        std::fs::write(&settings, text)?;
        let logs = options.logs.clone().unwrap_or(dir.path().join("logs"));
        std::fs::create_dir_all(&logs)?;
        Ok(Self {
            url: redis.url(),
            redis,
            settings,
            logs,
            started: 0,
            dir,
        })
    }

    /// A client that keeps results as long as the hosts do, and does not lose patience while Redis is away.
    pub(crate) async fn client(&self, ttl: Duration) -> Result<Client> {
        let dead_letters = DeadLetters {
            ttl,
            ..DeadLetters::default()
        };
        let store = StoreOptions {
            result_ttl: ttl,
            dead_letters,
            ..StoreOptions::default()
        };
        let broker = connect_with(&self.url, store).await?;
        let options = ConnectOptions {
            submit_timeout: PATIENCE,
            sweep: ttl / 8,
        };
        Ok(Client::new(broker, options))
    }

    /// Starts a host; it may take a moment until it works.
    pub(crate) fn host(&mut self) -> Result<Host> {
        self.started += 1;
        let log = self.logs.join(format!("host-{}.log", self.started));
        let cache = self.dir.path().join("cache").display().to_string();
        let settings = self.settings.display().to_string();
        let process = HostProcess::start_logging(
            &self.url,
            &["--config", &settings],
            &[("CELERIAC_CACHE_DIR", &cache)],
            &log,
        )?;
        let number = self.started;
        Ok(Host {
            process,
            number,
            log,
        })
    }
}

/// A host with its number and its log.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) process: HostProcess,
    pub(crate) number: usize,
    log: PathBuf,
}

impl Host {
    /// Waits until it has ended, which it should not; what there is to say about it.
    pub(crate) async fn end(&mut self) -> anyhow::Error {
        loop {
            match self.process.ended() {
                Ok(None) => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(Some(status)) => {
                    let (number, words) = (self.number, self.last_words());
                    return anyhow::anyhow!("host {number} has ended, {status}:\n{words}");
                }
                Err(error) => return error,
            }
        }
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        last_words(&self.log)
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Uploads the modules and sets the limits that the load is bounded by.
pub(crate) async fn prepare(client: &Client, rate: f64) -> Result<()> {
    for module in ["basics", "relay"] {
        client.push(sample(module)?, module).await?;
    }
    for (scope, limit) in limits(rate) {
        let scope: LimitScope = scope.parse()?;
        client.broker().set_limit(&scope, Some(&limit)).await?;
    }
    Ok(())
}

/// What is bounded: so that something waits for each now and then, and none falls behind for good.
fn limits(rate: f64) -> [(&'static str, Limit); 4] {
    let none = Limit::default();
    let narrow = Limit {
        concurrency: Some(4),
        ..none
    };
    let bounded = Limit {
        concurrency: Some(4),
        max_queue: Some(20),
        ..none
    };
    let each_key = Limit {
        concurrency: Some(2),
        ..none
    };
    let count = (rate / 10.0) as u32 + 5;
    let metered = Limit {
        rate: Some(Rate {
            count,
            per_ms: 1000,
        }),
        burst: Some(5),
        ..none
    };
    [
        ("queue:narrow", narrow),
        ("queue:bounded", bounded),
        ("key:*", each_key),
        ("queue:metered", metered),
    ]
}

/// Takes the limits away again.
pub(crate) async fn clear(broker: &dyn Broker) -> Result<()> {
    for (scope, _) in limits(1.0) {
        let scope: LimitScope = scope.parse()?;
        let cleared = broker.set_limit(&scope, None).await;
        cleared.with_context(|| format!("removing the limit of {scope}"))?;
    }
    Ok(())
}
