//! Asks for a timer beyond the end of time, and waits for it.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    wasip2::clocks::monotonic_clock::subscribe_duration(u64::MAX).block();
    wasip2::clocks::monotonic_clock::subscribe_instant(u64::MAX).block();
}
