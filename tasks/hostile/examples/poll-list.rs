//! Polls a list of two hundred times the same timer, for ever.

use celeriac_guest::task;
use wasip2::{clocks::monotonic_clock::subscribe_duration, io::poll::poll};

/// The attack.
#[task]
pub fn attack() {
    let timer = subscribe_duration(0);
    let timers = vec![&timer; 200];
    loop {
        poll(&timers);
    }
}
