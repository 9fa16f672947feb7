//! Asks servers that take for ever: one drips its headers, one its body, one never answers.

use celeriac_guest::{http, task};
use hostile::port;

/// The attack.
#[task(needs(http = "*", config = "PORT"))]
pub fn attack() -> Vec<String> {
    let mut found = Vec::new();
    for path in ["drip-head", "drip-body", "silence"] {
        match http::get(format!("http://127.0.0.2:{}/{path}", port())) {
            Err(http::HttpError::Timeout(_)) => {}
            other => found.push(format!("{path}: {other:?}")),
        }
    }
    found
}
