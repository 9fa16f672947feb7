//! Panics.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    panic!("an attack")
}
