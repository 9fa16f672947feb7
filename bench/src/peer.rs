//! The task queues that Celeriac is held against, each as it is meant to be used: `peers/` has the programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    artifacts,
    process::{self, Conversation, Process},
    server::Server,
};

/// One round of a peer's client.
#[derive(Debug, Deserialize)]
struct Round {
    tasks: f64,
    seconds: f64,
}

/// One round of awaits.
#[derive(Debug, Deserialize)]
struct Awaits {
    latencies: Vec<f64>,
}

/// A task queue with a worker process, a client process, and a Redis of its own.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    client: Conversation,
    /// What stands before a number of tasks: BullMQ's client measures one thing only.
    throughput: &'static str,
    _worker: Option<Process>,
    _server: Option<Server>,
}

impl Peer {
    /// BullMQ: its worker with concurrency 50, its client with bulk adds.
    pub(crate) fn bullmq() -> Result<Self> {
        let directory = install_node()?;
        let program = |file: &str| {
            let mut command = Command::new("node");
            command.current_dir(&directory).arg(file);
            command
        };
        Self::start(
            "BullMQ",
            "",
            program("bullmq_worker.mjs"),
            program("bullmq_client.mjs"),
        )
    }

    /// Celery: prefork with a child for each core.
    pub(crate) fn celery() -> Result<Self> {
        let (directory, venv) = install_python()?;
        let program = |file: &str| {
            let mut command = Command::new(venv.join("bin").join(file));
            command
                .current_dir(&directory)
                .env("PYTHONDONTWRITEBYTECODE", "1");
            command
        };
        let mut worker = program("celery");
        // Root may run benchmarks; Celery would warn about it on every start.
        worker
            .args(["-A", "celery_app", "worker", "--loglevel=ERROR"])
            .env("C_FORCE_ROOT", "1");
        let mut client = program("python");
        client.arg("celery_client.py");
        Self::start("Celery", "throughput ", worker, client)
    }

    /// Our own client in Python, of a server that has hosts and the module `basics`.
    pub(crate) fn ours(server: &Server) -> Result<Self> {
        let (directory, venv) = install_python()?;
        let mut client = Command::new(venv.join("bin/python"));
        client
            .current_dir(&directory)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("REDIS_URL", server.url())
            .arg("celeriac_client.py");
        let name = "Celeriac";
        let mut peer = Self {
            name,
            client: Conversation::start(name, &mut client)?,
            throughput: "throughput ",
            _worker: None,
            _server: None,
        };
        peer.rate(100)?;
        Ok(peer)
    }

    fn start(
        name: &'static str,
        throughput: &'static str,
        mut worker: Command,
        mut client: Command,
    ) -> Result<Self> {
        let server = Server::start()?;
        worker
            .env("REDIS_URL", server.url())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let worker = Process::start(name, &mut worker)?;
        let client = Conversation::start(name, client.env("REDIS_URL", server.url()))?;
        let mut peer = Self {
            name,
            client,
            throughput,
            _worker: Some(worker),
            _server: Some(server),
        };
        // The first tasks wait until the worker serves, and warm everything up.
        peer.rate(100)?;
        Ok(peer)
    }

    /// Runs `tasks` no-ops and returns how many ended in a second.
    pub(crate) fn rate(&mut self, tasks: usize) -> Result<f64> {
        let round: Round = self.ask(&format!("{}{tasks}", self.throughput))?;
        Ok(round.tasks / round.seconds)
    }

    /// Runs `tasks` no-ops one after the other and returns how long each took, in microseconds.
    pub(crate) fn latencies(&mut self, tasks: usize) -> Result<Vec<f64>> {
        let round: Awaits = self.ask(&format!("await {tasks}"))?;
        Ok(round
            .latencies
            .iter()
            .map(|seconds| seconds * 1e6)
            .collect())
    }

    fn ask<T: serde::de::DeserializeOwned>(&mut self, question: &str) -> Result<T> {
        let answer = self.client.ask(question)?;
        serde_json::from_str(&answer).with_context(|| format!("{} said {answer}", self.name))
    }
}

/// Our programs and the packages they need, in a directory of the build.
fn install_node() -> Result<PathBuf> {
    let directory = copy(
        &[
            "bullmq_client.mjs",
            "bullmq_connection.mjs",
            "bullmq_worker.mjs",
        ],
        "bench-bullmq",
    )?;
    let is_new = copied(&["package.json", "package-lock.json"], &directory)?;
    if is_new || !directory.join("node_modules/bullmq").is_dir() {
        // Not `npm ci`: it insists on lock entries for platforms that a registry mirror may not carry.
        let mut npm = Command::new("npm");
        npm.current_dir(&directory).args([
            "install",
            "--no-save",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ]);
        process::run("installing BullMQ", &mut npm)
            .context("the benchmark needs node 20 or later, npm, and a package registry")?;
    }
    Ok(directory)
}

/// Our programs, and a virtual environment with Celery and our own client.
fn install_python() -> Result<(PathBuf, PathBuf)> {
    let directory = copy(
        &["celery_app.py", "celery_client.py", "celeriac_client.py"],
        "bench-celery",
    )?;
    let venv = directory.join("venv");
    let is_new = copied(&["requirements.txt"], &directory)?;
    if is_new || !venv.join("bin/celery").exists() {
        process::run(
            "making a virtual environment",
            Command::new("python3").args(["-m", "venv"]).arg(&venv),
        )
        .context("the benchmark needs Python 3.10 or later with the module venv")?;
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.current_dir(&directory)
            .args(["install", "--quiet", "--disable-pip-version-check"]);
        process::run(
            "installing Celery",
            pip.args(["--requirement", "requirements.txt"]),
        )?;
    }
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--no-build-isolation", "--force-reinstall"])
        .arg(artifacts::root().join("clients/python"));
    process::run("installing our client", &mut pip)?;
    Ok((directory, venv))
}

fn copy(files: &[&str], name: &str) -> Result<PathBuf> {
    let directory = artifacts::workspace(name)?;
    copied(files, &directory)?;
    Ok(directory)
}

/// Copies files of `peers/`; whether any of them has changed.
fn copied(files: &[&str], directory: &Path) -> Result<bool> {
    let mut has_changed = false;
    for file in files {
        let from = artifacts::root().join("bench/peers").join(file);
        let content = std::fs::read(&from).with_context(|| from.display().to_string())?;
        let to = directory.join(file);
        if std::fs::read(&to).ok().as_ref() != Some(&content) {
            std::fs::write(&to, content)?;
            has_changed = true;
        }
    }
    Ok(has_changed)
}
