//! Lets a granted server send it on to one that is not granted, and goes there.

use celeriac_guest::{http, task};
use hostile::{answer, port};

/// The attack.
#[task(needs(http = "*", config = "PORT"))]
pub fn attack() -> Vec<String> {
    let mut found = Vec::new();
    let Ok(redirect) = http::get(format!("http://127.0.0.2:{}/redirect", port())) else {
        return vec!["the granted server was not reached: this proves nothing".to_owned()];
    };
    let Some(location) = redirect.header("location") else {
        return vec![format!("it was followed by the host: {}", redirect.text())];
    };
    if let Ok(answer) = answer(location) {
        found.push(format!("{location} answered {answer}"));
    }
    // The same, as if it were the granted server's.
    let request = http::Request::new("GET", location).header("host", "127.0.0.2");
    if let Ok(answer) = request.send() {
        found.push(format!("{location} answered {}", answer.text()));
    }
    found
}
