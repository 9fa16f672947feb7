//! Prints bytes that are no text to its standard error, for ever.

use celeriac_guest::task;
use std::io::Write as _;

/// The attack.
#[task]
pub fn attack() {
    let piece = [0xff_u8; 4096];
    let mut err = std::io::stderr();
    while err.write_all(&piece).is_ok() {}
}
