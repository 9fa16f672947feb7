//! Faults, at random moments: hosts are killed, drained and frozen, Redis is killed, restarted and frozen.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{task::block_in_place, time::sleep};

use crate::{
    options::Options,
    site::{Host, LEASE, Site},
};

/// How long a drain may take beyond the five seconds of its grace.
const DRAIN: Duration = Duration::from_secs(30);

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillHost,
    DrainHost,
    FreezeHost,
    KillRedis,
    RestartRedis,
    FreezeRedis,
}

/// Each of ten faults is one of these.
const MIX: [Fault; 10] = [
    Fault::KillHost,
    Fault::KillHost,
    Fault::KillHost,
    Fault::DrainHost,
    Fault::DrainHost,
    Fault::FreezeHost,
    Fault::KillRedis,
    Fault::KillRedis,
    Fault::RestartRedis,
    Fault::FreezeRedis,
];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillHost => "hosts killed",
            Self::DrainHost => "hosts drained",
            Self::FreezeHost => "hosts frozen beyond their lease",
            Self::KillRedis => "Redis killed",
            Self::RestartRedis => "Redis restarted",
            Self::FreezeRedis => "Redis frozen",
        })
    }
}

/// How often each fault was.
pub(crate) type Faults = Arc<Mutex<BTreeMap<Fault, u64>>>;

/// Makes faults, one after another.
#[derive(Debug)]
pub(crate) struct Chaos {
    pub(crate) site: Site,
    /// Those that faults happen to.
    pub(crate) mortals: Vec<Host>,
    pub(crate) faults: Faults,
    rng: Rng,
}

impl Chaos {
    /// Faults by `seed` for these hosts.
    pub(crate) fn new(site: Site, mortals: Vec<Host>, faults: Faults, seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        Self {
            site,
            mortals,
            faults,
            rng,
        }
    }

    /// Makes faults until `end`; then everything runs.
    pub(crate) async fn run(mut self, options: &Options, end: Instant) -> Result<Self> {
        loop {
            let pause = options.every.mul_f64(0.5 + self.rng.f64());
            if Instant::now() + pause >= end {
                tokio::time::sleep_until(end.into()).await;
                self.check()?;
                return Ok(self);
            }
            sleep(pause).await;
            self.check()?;
            let fault = *self.rng.choice(&MIX).context("there are faults")?;
            self.make(fault).await.with_context(|| fault.to_string())?;
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            *faults.entry(fault).or_default() += 1;
        }
    }

    async fn make(&mut self, fault: Fault) -> Result<()> {
        // Hosts come back at once or a little later; Redis is away for less than a lease.
        let pause = Duration::from_millis(self.rng.u64(0..1500));
        match fault {
            Fault::KillHost => {
                self.pick()?.process.kill();
                sleep(pause).await;
                self.replace()
            }
            Fault::DrainHost => {
                let host = self.pick()?;
                host.process.signal(Signal::TERM);
                let number = host.number;
                let status = host.process.wait(DRAIN).await?;
                ensure!(status.success(), "host {number} drained with {status}");
                self.replace()
            }
            Fault::FreezeHost => {
                let host = self.pick()?;
                host.process.signal(Signal::STOP);
                sleep(LEASE + LEASE / 4 + pause).await;
                host.process.signal(Signal::CONT);
                self.mortals.push(host);
                Ok(())
            }
            Fault::KillRedis => {
                block_in_place(|| self.site.redis.kill())?;
                sleep(pause).await;
                Ok(block_in_place(|| self.site.redis.restart())?)
            }
            Fault::RestartRedis => {
                block_in_place(|| self.site.redis.stop())?;
                sleep(pause).await;
                Ok(block_in_place(|| self.site.redis.restart())?)
            }
            Fault::FreezeRedis => {
                let pid = self.site.redis.pid().and_then(|pid| pid.try_into().ok());
                let pid = pid.and_then(Pid::from_raw).context("Redis runs")?;
                kill_process(pid, Signal::STOP)?;
                sleep(pause).await;
                Ok(kill_process(pid, Signal::CONT)?)
            }
        }
    }

    fn pick(&mut self) -> Result<Host> {
        ensure!(!self.mortals.is_empty(), "there are hosts to pick from");
        let index = self.rng.usize(..self.mortals.len());
        Ok(self.mortals.swap_remove(index))
    }

    fn replace(&mut self) -> Result<()> {
        let host = self.site.host()?;
        self.mortals.push(host);
        Ok(())
    }

    /// No host ends unless it is told to.
    fn check(&mut self) -> Result<()> {
        for host in &mut self.mortals {
            if let Some(status) = host.process.ended()? {
                let (number, words) = (host.number, host.last_words());
                anyhow::bail!("host {number} has ended by itself, {status}:\n{words}");
            }
        }
        Ok(())
    }
}
