//! Asks for a terabyte of random bytes at once.

use celeriac_guest::task;
use wasip2::random::random::get_random_bytes;

/// The attack.
#[task]
pub fn attack() {
    get_random_bytes(1 << 40);
}
