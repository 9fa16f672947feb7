//! Aborts.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    std::process::abort()
}
