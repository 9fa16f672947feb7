//! Reads answers without an end: a body, and headers.

use celeriac_guest::{http, task};
use hostile::port;

/// The attack.
#[task(needs(http = "*", config = "PORT"))]
pub fn attack() -> Vec<String> {
    let mut found = Vec::new();
    for path in ["endless", "headers"] {
        match http::get(format!("http://127.0.0.2:{}/{path}", port())) {
            Err(http::HttpError::Limit(_)) => {}
            Err(error) => found.push(format!("{path}: {error:?}")),
            Ok(answer) => found.push(format!("{path}: {} bytes", answer.body.len())),
        }
    }
    found
}
