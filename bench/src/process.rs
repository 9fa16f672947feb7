//! Child processes that end when their owner does.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// A process that is asked to end, by its id, when this is dropped; and killed if it does not.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it. Nothing of it goes to our stdout, which is for figures.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("{name} cannot be started ({command:?})"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Errors once it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended early: {status}", self.name),
            None => Ok(()),
        }
    }

    /// The memory that it has resident, in MiB. A page that is mapped many times counts as often.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        self.memory_mib("status", "VmRSS:")
    }

    /// The memory that it takes, in MiB. A page that is mapped many times counts once.
    pub(crate) fn proportional_mib(&self) -> Result<f64> {
        self.memory_mib("smaps_rollup", "Pss:")
    }

    fn memory_mib(&self, file: &str, label: &str) -> Result<f64> {
        let path = format!("/proc/{}/{file}", self.pid());
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .with_context(|| format!("no {label} in {path}"))?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }

    /// Ends it at once, for a process whose good manners would take time.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by now, which is what is wanted.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > GRACE {
                self.signal(Signal::KILL);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.wait();
    }
}

/// A process that answers each line it reads with a line.
#[derive(Debug)]
pub(crate) struct Conversation {
    // Closed before the process is asked to end: that alone ends most of them.
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    process: Process,
}

impl Conversation {
    /// Starts it.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut process =
            Process::start(name, command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let pipes = process.child.stdin.take().zip(process.child.stdout.take());
        let (input, output) = pipes.with_context(|| format!("{name} has no pipes"))?;
        Ok(Self {
            input,
            output: BufReader::new(output),
            process,
        })
    }

    /// Waits for a line without asking for one.
    pub(crate) fn read(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("{} has ended instead of answering", self.process.name);
        }
        Ok(line)
    }

    /// Sends a line and waits for the answer.
    pub(crate) fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.input, "{question}")
            .with_context(|| format!("{} does not listen", self.process.name))?;
        self.input.flush()?;
        self.read()
    }
}

/// Runs a command to its end.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("   {what} …");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{what}: {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{what}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
