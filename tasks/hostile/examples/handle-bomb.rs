//! Opens timers and never closes one.

use celeriac_guest::task;
use wasip2::clocks::monotonic_clock::subscribe_duration;

/// The attack.
#[task]
pub fn attack() {
    let mut held = Vec::new();
    loop {
        held.push(subscribe_duration(3_600_000_000_000));
    }
}
