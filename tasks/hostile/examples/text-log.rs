//! Logs bytes that are no text.

use celeriac_guest::task;
use hostile::raw;

const NO_TEXT: &[u8] = &[b'a', 0xff, 0xfe, 0xc0, 0x80];

/// The attack.
#[task]
pub fn attack() {
    // SAFETY: the bytes are there; that they are no text is the attack.
    unsafe { raw::log(2, NO_TEXT.as_ptr(), NO_TEXT.len(), NO_TEXT.as_ptr(), 0) };
}
