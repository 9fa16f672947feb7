//! Logs fields that nest ten thousand deep, for ever.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    let fields = "[".repeat(10_000) + &"]".repeat(10_000);
    loop {
        raw::log_text("fields", &fields);
    }
}
