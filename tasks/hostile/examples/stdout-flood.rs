//! Prints lines for ever.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    loop {
        println!("all work and no play makes a dull task");
    }
}
