//! Fails with a message of nine megabytes.

use celeriac_guest::Failure;
use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() -> Result<(), Failure> {
    Err(Failure::new("flood", "x".repeat(9 << 20)))
}
