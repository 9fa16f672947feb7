//! Asks for random bytes for ever.

use celeriac_guest::task;
use std::hint::black_box;

use wasip2::random::random::get_random_bytes;

/// The attack.
#[task]
pub fn attack() {
    loop {
        black_box(get_random_bytes(4096));
    }
}
