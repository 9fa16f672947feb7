//! Tells its host a million times that it panics, and does not.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    for _ in 0..1_000_000 {
        raw::panicked_text("not really");
    }
}
