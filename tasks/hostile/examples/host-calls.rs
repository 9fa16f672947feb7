//! Calls its host in a tight loop.

use celeriac_guest::task;
use std::hint::black_box;

use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    loop {
        // SAFETY: it takes nothing and returns a number.
        black_box(unsafe { raw::is_cancelled() });
    }
}
