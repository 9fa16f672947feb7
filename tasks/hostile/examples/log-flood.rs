//! Logs a kilobyte at a time, for ever.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    let text = "x".repeat(1 << 10);
    loop {
        raw::log_text(&text, "");
    }
}
