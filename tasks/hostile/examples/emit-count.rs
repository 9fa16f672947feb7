//! Delivers partial results of one byte, for ever.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    loop {
        raw::emit_text("1");
    }
}
