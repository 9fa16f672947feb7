//! Asks for random numbers for ever, the insecure ones too.

use celeriac_guest::task;
use std::hint::black_box;

use wasip2::random::{insecure::get_insecure_random_u64, random::get_random_u64};

/// The attack.
#[task]
pub fn attack() {
    loop {
        black_box(get_random_u64());
        black_box(get_insecure_random_u64());
    }
}
