//! Panics with a message of twenty megabytes.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    panic!("{}", "x".repeat(20 << 20))
}
