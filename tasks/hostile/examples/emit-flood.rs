//! Delivers partial results of a hundred kilobytes, for ever.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    let chunk = "1".repeat(100_000);
    loop {
        raw::emit_text(&chunk);
    }
}
