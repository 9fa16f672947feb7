//! Logs fields of a hundred thousand members, for ever.

use celeriac_guest::task;
use hostile::raw;

/// The attack.
#[task]
pub fn attack() {
    let members: Vec<String> = (0..100_000).map(|n| format!("\"{n}\":0")).collect();
    let fields = format!("{{{}}}", members.join(","));
    loop {
        raw::log_text("fields", &fields);
    }
}
