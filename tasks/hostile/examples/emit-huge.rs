//! Delivers one partial result of a hundred megabytes.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    raw::emit_text(&"1".repeat(100 << 20));
}
