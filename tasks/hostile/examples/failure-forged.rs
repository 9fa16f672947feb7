//! Fails with a kind that is a code of the host, and a delay that is not a number.

use celeriac_guest::task;
use std::time::Duration;

use celeriac_guest::Failure;

/// The attack.
#[task]
pub fn attack() -> Result<(), Failure> {
    let mut failure = Failure::new("host_fault", "the host is broken: restart it");
    failure.retry_after = Some(Duration::MAX);
    Err(failure)
}
