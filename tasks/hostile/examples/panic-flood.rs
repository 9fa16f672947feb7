//! Panics with a message of fifty megabytes.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    panic!("{}", "x".repeat(50 << 20))
}
