//! The service file: what it starts, reloads and stops is a host.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use celeriac_client::{Client, Code};
use celeriac_tests::{HostProcess, binary, sample, until};
use rustix::process::Signal;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

/// A service file, read as far as it is needed here: `KEY=VALUE` lines.
struct Unit(String);

impl Unit {
    fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/celeriac.service");
        Ok(Self(fs::read_to_string(path)?))
    }

    fn value(&self, key: &str) -> Result<&str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .with_context(|| format!("the service file has no {key}"))
    }

    /// The host that it starts, with the service manager's directories below `dir`.
    fn command(&self, dir: &Path) -> Result<Command> {
        let mut words = self.value("ExecStart")?.split(' ');
        ensure!(words.next() == Some("/usr/local/bin/celeriac"));
        let mut command = Command::new(binary());
        command.args(words).env_clear().current_dir("/");
        for pair in self.value("Environment")?.split(' ') {
            let (name, value) = pair.split_once('=').context("NAME=VALUE")?;
            let value = value
                .replace("%S", &dir.join("state").display().to_string())
                .replace("%C", &dir.join("cache").display().to_string());
            command.env(name, value);
        }
        Ok(command)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_file_starts_reloads_and_drains_a_host() -> Result<()> {
    let unit = Unit::read()?;
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("log");
    let mut command = unit.command(dir.path())?;
    command
        .env("CELERIAC_HTTP_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?);
    let host = HostProcess::spawn(&mut command)?;
    let store = dir.path().join("state/celeriac");
    until(
        PATIENCE,
        "the store is where the service has its state",
        || async {
            Ok(store.join("celeriac.db").exists()
                || fs::read_dir(&store).is_ok_and(|mut files| files.next().is_some()))
        },
    )
    .await?;
    let client = Client::connect(&format!("embedded:{}", store.display())).await?;
    until(PATIENCE, "the host is known", || async {
        Ok(client
            .broker()
            .hosts()
            .await?
            .iter()
            .any(|known| known.pid == host.pid()))
    })
    .await?;
    client.push(sample("basics")?, "basics").await?;

    ensure!(unit.value("ExecReload")? == "/bin/kill -HUP $MAINPID");
    host.signal(Signal::HUP);
    until(PATIENCE, "it has read its settings again", || async {
        Ok(fs::read_to_string(&log)?.contains("reload"))
    })
    .await?;
    let running = client
        .submit("basics/sleep", &json!({"seconds": 0.5, "steps": 1}))
        .await?;
    until(PATIENCE, "it runs", || async {
        Ok(running.status().await?.attempts == 1)
    })
    .await?;
    host.signal(Signal::TERM);
    assert!(
        host.wait(PATIENCE).await?.success(),
        "{}",
        fs::read_to_string(&log)?
    );
    assert_eq!(running.outcome().await?.code, Code::Ok);
    assert!(dir.path().join("cache/celeriac").is_dir());
    Ok(())
}

#[test]
fn a_stop_waits_for_longer_than_a_drain_takes() -> Result<()> {
    let patience: u64 = Unit::read()?.value("TimeoutStopSec")?.parse()?;
    let settings = Command::new(binary())
        .args(["config", "--json"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .current_dir("/")
        .output()?;
    let text = String::from_utf8(settings.stdout)?;
    assert!(text.contains("grace"), "{text}");
    assert!(patience > 30, "the default of `grace` is 30 s");
    Ok(())
}

/// systemd's own check, where it is installed.
#[test]
fn systemd_takes_the_service_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let unit: PathBuf = dir.path().join("celeriac.service");
    let text = Unit::read()?
        .0
        .replace("/usr/local/bin/celeriac", &binary().display().to_string());
    fs::write(&unit, text)?;
    match Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
    {
        Ok(said) => {
            let stderr = String::from_utf8_lossy(&said.stderr);
            let about_us: Vec<&str> = stderr
                .lines()
                .filter(|line| line.contains("celeriac.service"))
                .collect();
            assert!(said.status.success() && about_us.is_empty(), "{stderr}");
        }
        Err(_) => eprintln!("skipped: systemd-analyze is not installed"),
    }
    Ok(())
}
