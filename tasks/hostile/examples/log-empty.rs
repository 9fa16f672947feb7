//! Logs nothing, for ever: records cost, even without a byte.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    loop {
        raw::log_text("", "");
    }
}
