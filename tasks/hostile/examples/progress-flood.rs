//! Reports progress for ever.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    let mut done = 0.0;
    loop {
        done += 1.0;
        raw::progress_text(done, 0.0, "");
    }
}
