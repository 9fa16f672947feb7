//! Asks for secrets by the names that secrets usually have, and looks through environment and arguments.

use celeriac_guest::task;
use hostile::raw;

const NAMES: &[&str] = &[
    "",
    "password",
    "smtp-password",
    "db-password",
    "token",
    "api-key",
    "AWS_SECRET_ACCESS_KEY",
    "CELERIAC_BROKER",
    "HOME",
    "PATH",
    "../secret",
    "/run/credentials",
    "secret\0",
    "*",
    "%s%s%s%n",
    "\u{202e}",
    "{\"$ne\":null}",
    "' OR 1=1 --",
];

/// The attack.
#[task]
pub fn attack() -> Vec<String> {
    let mut found = Vec::new();
    for name in NAMES {
        if let Ok(value) = raw::secret_text(name) {
            found.push(format!("{name}={value}"));
        }
        if let Ok(value) = std::env::var(name) {
            found.push(format!("${name}={value}"));
        }
    }
    found.extend(std::env::vars().map(|(name, value)| format!("${name}={value}")));
    found.extend(std::env::args());
    found
}
