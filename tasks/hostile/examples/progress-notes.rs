//! Reports progress with notes of forty kilobytes, for ever.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    let note = "x".repeat(40_000);
    loop {
        raw::progress_text(1.0, 2.0, &note);
    }
}
