//! Recurses until the stack in its own memory runs out.

use celeriac_guest::task;
use std::hint::black_box;

#[expect(unconditional_recursion, reason = "it is the attack")]
#[inline(never)]
fn descend(depth: u64) -> u64 {
    let here = black_box([depth; 16]);
    descend(depth + 1) + black_box(here).len() as u64
}

/// The attack.
#[task]
pub fn attack() {
    black_box(descend(0));
}
