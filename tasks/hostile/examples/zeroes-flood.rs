//! Has its host make zeros for its standard output, as many as it may at once, for ever.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    let out = wasip2::cli::stdout::get_stdout();
    while let Ok(permit) = out.check_write() {
        if out.write_zeroes(permit).is_err() {
            return;
        }
    }
}
