//! Delivers four gigabytes that begin in its memory and end beyond it.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    // SAFETY: none: the attack is that the host must not read there.
    unsafe { raw::emit(0, 8 as *const u8, 0xffff_fff0, std::ptr::null(), 0) };
}
