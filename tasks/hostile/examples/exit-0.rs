//! Ends the process, as if all were well.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    std::process::exit(0)
}
