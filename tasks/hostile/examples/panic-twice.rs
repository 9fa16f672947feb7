//! Panics, and panics again while the first panic is told.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    std::panic::set_hook(Box::new(|_| panic!("again")));
    panic!("an attack")
}
