//! Has its host write an answer beyond the end of memory, and at an odd address.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    // SAFETY: none: the attack is that the host must not write there.
    unsafe { raw::backtrace(0xffff_ff01_usize as *mut usize) };
}
