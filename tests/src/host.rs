//! A real host process.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A `celeriac serve` that runs. Dropping it kills it.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
}

impl HostProcess {
    /// Starts one with `arguments` after `serve --broker URL`.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn start(url: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        Self::spawn(&mut command(url, arguments, environment))
    }

    /// Starts one whose log goes to a file.
    ///
    /// # Errors
    /// When the binary is not there, or the file cannot be made.
    pub fn start_logging(
        url: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self> {
        let log = File::create(log)?;
        Self::spawn(command(url, arguments, environment).stderr(log))
    }

    /// Starts what `command` says, whatever it says.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .context("the host binary is not there: run `make build`")?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended already has had its signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended within `patience`.
    pub async fn wait(mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            anyhow::ensure!(
                tokio::time::Instant::now() < deadline,
                "the host has not ended within {patience:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Files, sockets and the like that it has open.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn open_files(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Kilobytes of memory that it has resident.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("VmRSS is missing")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }
}

fn command(url: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(crate::stage::binary());
    command
        .args(["serve", "--broker", url])
        .args(arguments)
        .env("CELERIAC_LOG_LEVEL", "warn")
        // Many hosts run at once here, and only those whose test is about it answer HTTP.
        .env("CELERIAC_HTTP_LISTEN", "off")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
