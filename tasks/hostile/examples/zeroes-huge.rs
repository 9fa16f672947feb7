//! Has its host make a terabyte of zeros for its standard output.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() {
    let out = wasip2::cli::stdout::get_stdout();
    let _ = out.check_write();
    let _ = out.write_zeroes(1 << 40);
}
