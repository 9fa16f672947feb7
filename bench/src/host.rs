//! A real host: the program `celeriac serve` in a process of its own, with a Redis and a client.

use std::{
    fs::File,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use celeriac_client::Client;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{artifacts, process::Process, server::Server};

/// How long a host may take to start.
const START: Duration = Duration::from_secs(30);

/// A Redis server, a directory for hosts, and a client.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) client: Client,
    /// The hosts' data, artifacts among them: the same for each host that is started here.
    data: TempDir,
}

impl Site {
    /// Starts the server and connects.
    pub(crate) async fn start() -> Result<Self> {
        let server = Server::start()?;
        let client = Client::connect(&server.url()).await?;
        Ok(Self {
            server,
            client,
            data: tempfile::tempdir()?,
        })
    }

    /// Starts a host with so many slots and waits until it is known.
    pub(crate) async fn host(&self, concurrency: u32) -> Result<Process> {
        let mut command = Command::new(binary()?);
        command.args([
            "serve",
            "--broker",
            &self.server.url(),
            "--concurrency",
            &concurrency.to_string(),
        ]);
        command
            .env("CELERIAC_DATA_DIR", self.data.path())
            .env("CELERIAC_CACHE_DIR", self.data.path().join("cache"))
            .env("HOME", self.data.path());
        let log = self.data.path().join("host.log");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        let mut process = Process::start("celeriac serve", &mut command)?;
        let began = Instant::now();
        while !self
            .client
            .broker()
            .hosts()
            .await?
            .iter()
            .any(|host| host.pid == process.pid())
        {
            process
                .check()
                .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
            ensure!(
                began.elapsed() < START,
                "the host was not ready within {START:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(process)
    }

    /// Uploads a sample module under its own name; needs a host.
    pub(crate) async fn push(&self, module: &str) -> Result<()> {
        let wasm = artifacts::component(module)?;
        self.client
            .push(wasm, module)
            .await
            .with_context(|| format!("pushing {module}"))?;
        Ok(())
    }

    /// How many invocations run now.
    pub(crate) async fn running(&self) -> Result<u64> {
        Ok(self
            .client
            .broker()
            .queues()
            .await?
            .iter()
            .map(|queue| queue.running)
            .sum())
    }

    /// Waits until so many invocations run.
    pub(crate) async fn until_running(&self, count: u64, patience: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let running = self.running().await?;
            if running >= count {
                return Ok(());
            }
            ensure!(
                began.elapsed() < patience,
                "only {running} of {count} invocations run after {patience:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The program: `CELERIAC_BIN`, else beside this one.
pub(crate) fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("CELERIAC_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("celeriac"),
    };
    if !path.is_file() {
        bail!(
            "there is no {}: build it with `cargo build --release -p celeriac`",
            path.display()
        );
    }
    Ok(path)
}

/// A runtime as a service has it, and what is to be measured on it.
pub(crate) fn block_on<T>(measure: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure)
}

/// About 100 bytes of JSON.
pub(crate) fn payload() -> serde_json::Value {
    serde_json::json!({ "text": "x".repeat(88) })
}
