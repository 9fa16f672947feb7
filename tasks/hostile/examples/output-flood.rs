//! Returns one byte more than a result may have.

use celeriac_guest::Bytes;
use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() -> Bytes {
    Bytes::new("application/octet-stream", vec![7; (8 << 20) + 1])
}
