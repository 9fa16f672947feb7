//! Logs a text that lies beyond its memory.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    // SAFETY: none: the attack is that the host must not read there.
    unsafe { raw::log(2, 0xffff_fff0_usize as *const u8, 64, std::ptr::null(), 0) };
}
