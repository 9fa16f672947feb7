//! Reports progress that is not a number, which no JSON can say.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    for (done, total) in [
        (f64::NAN, 1.0),
        (1.0, f64::NAN),
        (f64::INFINITY, f64::NEG_INFINITY),
        (-1.0, -0.0),
    ] {
        raw::progress_text(done, total, "\u{202e}\0\x1b[2J");
    }
}
