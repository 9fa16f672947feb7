//! Has its host walk and name a deep stack, over and over.

use celeriac_guest::task;
use std::hint::black_box;

use hostile::raw;

#[inline(never)]
fn descend(depth: u32) {
    if depth > 0 {
        descend(depth - 1);
        black_box(depth);
        return;
    }
    let mut answer = [0_usize; 2];
    loop {
        // SAFETY: the host writes pointer and length there. The text is leaked until there is no memory.
        unsafe { raw::backtrace(answer.as_mut_ptr()) };
        black_box(&answer);
    }
}

/// The attack.
#[task]
pub fn attack() {
    descend(500);
}
