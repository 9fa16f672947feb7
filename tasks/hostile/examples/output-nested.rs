//! Returns JSON that nests a million deep, to overflow the stack of whoever reads it.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() -> celeriac_guest::Payload {
    let depth = 1_000_000;
    hostile::answer_json(&("[".repeat(depth) + &"]".repeat(depth)))
}
