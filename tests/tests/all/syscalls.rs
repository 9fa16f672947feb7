//! What the kernel is asked on behalf of tasks that were granted nothing: no file, no network, no process.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use celeriac_client::gather;
use celeriac_tests::{Stage, until};
use serde_json::{Value, json};

/// What strace is told to write down: every call that names a file, the network, or a process.
const CLASSES: &str = "trace=%file,%network,%process,write";

/// The program that runs a thousand executions between two marks.
fn probe() -> PathBuf {
    let program = celeriac_tests::binary();
    let probe = program
        .parent()
        .unwrap_or(Path::new("."))
        .join("examples/ungranted");
    assert!(
        probe.exists(),
        "{} is not there: run `make build`",
        probe.display()
    );
    probe
}

fn has_strace() -> bool {
    let traced = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let has = traced.is_ok_and(|status| status.success());
    if !has {
        // Containers without the right to trace; the sealed run shows the same without it.
        eprintln!("strace is missing or may not trace here: only the sealed run shows it");
    }
    has
}

#[test]
fn a_thousand_executions_without_grants_outlive_the_loss_of_files_network_and_processes()
-> Result<()> {
    let output = Command::new(probe())
        .arg("sealed")
        .env("CELERIAC_BIN", celeriac_tests::binary())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"BEGIN\nEND\n");
    Ok(())
}

#[test]
fn a_thousand_executions_without_grants_ask_for_no_file_network_or_process() -> Result<()> {
    if !has_strace() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("strace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", CLASSES, "-e", "signal=none", "-o"])
        .arg(&log)
        .arg(probe())
        .env("CELERIAC_BIN", celeriac_tests::binary())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    let trace = std::fs::read_to_string(&log)?;
    let (before, rest) = trace
        .split_once("write(1, \"BEGIN\\n\"")
        .context("no mark")?;
    let (between, _) = rest
        .split_once("write(1, \"END\\n\"")
        .context("no second mark")?;
    // Loading a module opens files and starts the compiler: the trace sees such calls.
    assert!(
        before.contains("openat(") && before.contains("execve("),
        "{before}"
    );
    let calls: Vec<_> = between
        .lines()
        .skip(1)
        .filter(|line| !is_harmless(line))
        .collect();
    assert!(calls.is_empty(), "between the marks: {calls:#?}");
    Ok(())
}

/// A thread that has had nothing to do for a while ends; that is `exit`, where a process would end by `exit_group`.
/// A wake-up between threads is eight bytes into an event descriptor. The end of a call that another thread cut
/// into was judged by its start, where its arguments stand.
fn is_harmless(line: &str) -> bool {
    let call = line
        .split_once(' ')
        .map_or("", |(_, call)| call.trim_start());
    call.is_empty()
        || call.starts_with("<... ")
        || call.starts_with("exit(")
        || call.starts_with("write(") && call.contains(r#""\1\0\0\0\0\0\0\0", 8"#)
}

/// Sockets that a host has open, as strace names them: the embedded store's bells, and the one that signals
/// arrive on.
fn sockets(pid: u32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = std::fs::read_link(entry?.path()).unwrap_or_default();
        let name = target.display().to_string();
        if name.starts_with("socket:") {
            names.push(format!("<{name}>"));
        }
    }
    Ok(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_runs_tasks_without_grants_touches_its_own_store_only() -> Result<()> {
    if !has_strace() {
        return Ok(());
    }
    let stage = Stage::embedded().await?;
    let host = stage.host(&["--concurrency", "16"]).await?;
    stage.push(&["basics"]).await?;
    run_tasks(&stage, 100).await?;
    let log = stage.dir.path().join("strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-y", "-e", CLASSES, "-e", "signal=none", "-o"])
        .arg(&log)
        .args(["-p", &host.pid().to_string()])
        .stderr(Stdio::null())
        .spawn()?;
    let mut own = vec![stage.dir.path().join("store").display().to_string()];
    own.extend(sockets(host.pid()).unwrap_or_default());
    // Every thread has its tracer before the first task is handed in.
    let status = format!("/proc/{}/task", host.pid());
    let attached = until(Duration::from_secs(10), "strace is attached", || async {
        Ok(is_traced(&status))
    })
    .await;
    if attached.is_err() {
        // A host cannot be dumped, so only root may trace it; the engine's own test needs no such right.
        eprintln!("this user may not trace a host: only the engine's run shows it");
        let _ = strace.kill();
        strace.wait()?;
        return Ok(());
    }
    run_tasks(&stage, 400).await?;
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&strace),
        rustix::process::Signal::INT,
    )?;
    strace.wait()?;
    let trace = std::fs::read_to_string(&log)?;
    assert!(
        trace.contains(&own[0]),
        "the trace shows nothing of the store:\n{trace}"
    );
    // All that it does is on its store, and on sockets that were there before the first task.
    let is_own = |line: &str| own.iter().any(|name| line.contains(name));
    let calls: Vec<_> = trace
        .lines()
        .filter(|line| !is_harmless(line) && !is_own(line))
        .collect();
    assert!(calls.is_empty(), "beside the store: {calls:#?}");
    Ok(())
}

/// Whether each of a process's threads has a tracer.
fn is_traced(tasks: &str) -> bool {
    let Ok(threads) = std::fs::read_dir(tasks) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0")
    })
}

/// Runs tasks that succeed, print, report, fail, panic and use up their fuel; each `count / 4` times.
async fn run_tasks(stage: &Stage, count: usize) -> Result<()> {
    let each = count / 4;
    let client = &stage.client;
    let sums = client
        .task("basics/add")?
        .submit_all((0..each).map(|n| json!({"a": n, "b": 1})))
        .await?;
    for (n, sum) in gather::<f64>(&sums).await.into_iter().enumerate() {
        assert_eq!(sum?, n as f64 + 1.0);
    }
    let printed = client
        .task("basics/print")?
        .submit_all((0..each).map(|_| json!({"lines": 3})))
        .await?;
    let panics = client
        .task("basics/panic")?
        .submit_all((0..each).map(|_| json!({"message": "help"})))
        .await?;
    let spins = client
        .task("basics/spin")?
        .fuel(5_000_000)
        .submit_all((0..each).map(|_| Value::Null))
        .await?;
    for handle in printed.iter().chain(&panics).chain(&spins) {
        handle.outcome().await?;
    }
    Ok(())
}
