//! Allocates and touches memory without end.

use celeriac_guest::task;
use std::hint::black_box;

/// The attack.
#[task]
pub fn attack() {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
}
