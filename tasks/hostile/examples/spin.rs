//! Computes for ever.

use celeriac_guest::task;
use std::hint::black_box;

/// The attack.
#[task]
pub fn attack() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}
