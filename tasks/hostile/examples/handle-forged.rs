//! Uses handles that it was never given.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    for handle in [0, 1, 7, 255, 0x7fff_ffff, u32::MAX] {
        // SAFETY: the handle is a number like any other; that it is not ours is the attack.
        let timer = unsafe { wasip2::io::poll::Pollable::from_handle(handle) };
        timer.block();
    }
}
