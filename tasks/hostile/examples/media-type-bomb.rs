//! Returns one byte, under a media type of seven megabytes.

use celeriac_guest::Bytes;
use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() -> Bytes {
    Bytes::new("x/".to_owned() + &"y".repeat(7 << 20), vec![0])
}
