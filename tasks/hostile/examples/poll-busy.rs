//! Polls a timer of zero nanoseconds for ever: always ready, never waiting.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    loop {
        wasip2::clocks::monotonic_clock::subscribe_duration(0).block();
    }
}
