//! Sleeps as long as a duration can say.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    std::thread::sleep(std::time::Duration::MAX);
}
