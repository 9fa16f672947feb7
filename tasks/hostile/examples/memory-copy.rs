//! Copies 60 MiB from here to there, for ever.

use celeriac_guest::task;
use std::hint::black_box;

/// The attack.
#[task]
pub fn attack() {
    let mut block = vec![1_u8; 120 << 20];
    loop {
        black_box(&mut block).copy_within(..60 << 20, 60 << 20);
    }
}
