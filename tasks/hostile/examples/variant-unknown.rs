//! Delivers a partial result of a kind that does not exist.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    // SAFETY: none: the attack is the number 77.
    unsafe { raw::emit(77, 8 as *const u8, 1, std::ptr::null(), 0) };
}
