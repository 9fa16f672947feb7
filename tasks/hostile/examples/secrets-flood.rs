//! Asks for a different secret each time, to fill the log and the memory of who notes refusals.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    let filler = "x".repeat(4 << 10);
    for turn in 0..1_000_000_u32 {
        let _ = raw::secret_text(&format!("{turn}{filler}"));
    }
}
