//! Ends the process.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    std::process::exit(1)
}
