//! Logs a record of a hundred megabytes.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    raw::log_text(&"x".repeat(100 << 20), "");
}
