//! The store's clock: the machine's, except that it never goes back.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Gives out milliseconds since the Unix epoch. When the machine's clock is set back, time goes on
/// from where it was: leases still run out, and nothing is dated before what it follows.
#[derive(Debug)]
pub(super) struct Clock {
    /// The last time that was given out, and when.
    last: Mutex<(u64, Instant)>,
    /// How far a test has set it forward, in milliseconds; else 0.
    skew: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            last: Mutex::new((0, Instant::now())),
            skew: AtomicU64::new(0),
        }
    }

    /// Sets it forward.
    #[cfg(feature = "testing")]
    pub(super) fn jump(&self, ms: u64) {
        self.skew.fetch_add(ms, Relaxed);
    }

    /// Now.
    pub(super) fn now(&self) -> u64 {
        self.after(0)
    }

    /// Now, but not before `stored`, which another process may have given out.
    pub(super) fn after(&self, stored: u64) -> u64 {
        let machine = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.next(
            u64::try_from(machine.as_millis()).unwrap_or(0) + self.skew.load(Relaxed),
            stored,
            Instant::now(),
        )
    }

    fn next(&self, machine: u64, stored: u64, instant: Instant) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = instant.saturating_duration_since(last.1).as_millis();
        let gone_on = last.0.saturating_add(u64::try_from(elapsed).unwrap_or(0));
        let now = machine.max(stored).max(gone_on);
        if now > last.0 {
            *last = (now, instant);
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn goes_on_when_the_machine_is_set_back() {
        let (clock, start) = (Clock::new(), Instant::now());
        assert_eq!(clock.next(1_000_000, 0, start), 1_000_000);
        assert_eq!(
            clock.next(5, 0, start + Duration::from_millis(250)),
            1_000_250
        );
        assert_eq!(
            clock.next(5, 2_000_000, start + Duration::from_millis(260)),
            2_000_000
        );
        assert_eq!(
            clock.next(5, 0, start + Duration::from_millis(300)),
            2_000_040
        );
    }
}
