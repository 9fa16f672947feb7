//! `wasi:clocks`, counted; real, or a fixed time that moves only while the guest sleeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime::component::Resource;
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Instant};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::{self, Datetime};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{WasiView as _, async_trait};

use crate::engine::state::State;

/// The clock of a deterministic execution.
///
/// No time passes while the guest computes or waits for its host. Once it can do nothing but wait for a timer,
/// the clock moves to the earliest one that it waits for, at once.
pub(crate) struct FixedTime {
    start: SystemTime,
    clock: Arc<Clock>,
    /// The timers that the guest holds, by handle: when each is due.
    timers: BTreeMap<u32, u64>,
}

/// Nanoseconds since the start. The timers of one store share it; nobody else does.
#[derive(Default)]
struct Clock {
    now: AtomicU64,
    /// How far the clock may move in the wait that is under way.
    horizon: AtomicU64,
}

/// A timer of the fixed clock.
struct Timer {
    clock: Arc<Clock>,
    due: u64,
}

impl FixedTime {
    pub(crate) fn new(start: SystemTime) -> Self {
        Self {
            start,
            clock: Arc::default(),
            timers: BTreeMap::new(),
        }
    }

    /// How far the clock has moved since the start.
    pub(crate) fn passed(&self) -> Duration {
        Duration::from_nanos(self.clock.now.load(Relaxed))
    }

    fn wall(&self) -> Duration {
        let start = self.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        start.saturating_add(self.passed())
    }

    /// Before the guest waits for these handles: the clock may move to the earliest timer among them.
    pub(crate) fn wait_for(&self, handles: impl IntoIterator<Item = u32>) {
        let due = handles
            .into_iter()
            .filter_map(|handle| self.timers.get(&handle));
        let horizon = due.min().copied().unwrap_or(0);
        self.clock.horizon.store(horizon, Relaxed);
    }

    /// The guest has let go of a handle, which may have been a timer.
    pub(crate) fn forget(&mut self, handle: u32) {
        self.timers.remove(&handle);
    }
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if self.is_due() {
            return;
        }
        // Whatever else is ready goes before the clock moves.
        tokio::task::yield_now().await;
        self.clock
            .now
            .fetch_max(self.clock.horizon.load(Relaxed), Relaxed);
        if !self.is_due() {
            std::future::pending::<()>().await;
        }
    }
}

impl Timer {
    fn is_due(&self) -> bool {
        self.clock.now.load(Relaxed) >= self.due
    }
}

impl State {
    /// A timer of the fixed clock, due at `due`.
    fn fixed_timer(&mut self, due: u64) -> wasmtime::Result<Option<Resource<DynPollable>>> {
        let Some(time) = &self.fixed_time else {
            return Ok(None);
        };
        let clock = Arc::clone(&time.clock);
        let table = self.ctx().table;
        let timer = table.push(Timer { clock, due })?;
        let pollable = subscribe(table, timer)?;
        if let Some(time) = &mut self.fixed_time {
            time.timers.insert(pollable.rep(), due);
        }
        Ok(Some(pollable))
    }

    fn fixed_now(&self) -> Option<u64> {
        self.fixed_time
            .as_ref()
            .map(|time| time.clock.now.load(Relaxed))
    }
}

impl wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        self.meter.call()?;
        let (seconds, nanoseconds) = self.taped("wall-clock.now", String::new, |this| {
            let Some(time) = &this.fixed_time else {
                let now = wall_clock::Host::now(&mut this.clocks())?;
                return Ok((now.seconds, now.nanoseconds));
            };
            let now = time.wall();
            Ok((now.as_secs(), now.subsec_nanos()))
        })?;
        Ok(Datetime {
            seconds,
            nanoseconds,
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        self.meter.call()?;
        match &self.fixed_time {
            Some(_) => Ok(Datetime {
                seconds: 0,
                nanoseconds: 1,
            }),
            None => {
                let (seconds, nanoseconds) =
                    self.taped("wall-clock.resolution", String::new, |this| {
                        let real = wall_clock::Host::resolution(&mut this.clocks())?;
                        Ok((real.seconds, real.nanoseconds))
                    })?;
                Ok(Datetime {
                    seconds,
                    nanoseconds,
                })
            }
        }
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<Instant> {
        self.meter.call()?;
        self.taped("monotonic-clock.now", String::new, |this| {
            match this.fixed_now() {
                Some(now) => Ok(now),
                None => monotonic_clock::Host::now(&mut this.clocks()),
            }
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<Instant> {
        self.meter.call()?;
        match &self.fixed_time {
            Some(_) => Ok(1),
            None => self.taped("monotonic-clock.resolution", String::new, |this| {
                monotonic_clock::Host::resolution(&mut this.clocks())
            }),
        }
    }

    fn subscribe_instant(&mut self, when: Instant) -> wasmtime::Result<Resource<DynPollable>> {
        self.meter.call()?;
        match self.fixed_timer(when)? {
            Some(timer) => Ok(timer),
            None => monotonic_clock::Host::subscribe_instant(&mut self.clocks(), when),
        }
    }

    fn subscribe_duration(
        &mut self,
        duration: monotonic_clock::Duration,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        self.meter.call()?;
        let due = self.fixed_now().unwrap_or(0).saturating_add(duration);
        match self.fixed_timer(due)? {
            Some(timer) => Ok(timer),
            None => monotonic_clock::Host::subscribe_duration(&mut self.clocks(), duration),
        }
    }
}
