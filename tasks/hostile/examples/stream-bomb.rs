//! Asks for its standard output again and again, and keeps every stream.

use celeriac_guest::task;
use wasip2::cli::stdout::get_stdout;

/// The attack.
#[task]
pub fn attack() {
    let mut held = Vec::new();
    loop {
        held.push(get_stdout());
    }
}
