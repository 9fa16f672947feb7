//! Says that it returns JSON, and returns something else.

use celeriac_guest::task;

/// The attack.
#[task]
pub fn attack() -> celeriac_guest::Payload {
    hostile::answer_json("{\"a\": ")
}
