//! Prints for ever, and never ends its line.

use celeriac_guest::task;
use std::io::Write as _;

/// The attack.
#[task]
pub fn attack() {
    let piece = [b'x'; 4096];
    let mut out = std::io::stdout();
    while out.write_all(&piece).is_ok() {}
}
