//! Which hosts a rule means: one, all below a domain, or any.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest name of a host, in bytes (RFC 1035).
const MAX_HOST_BYTES: usize = 253;

/// A pattern of host names and addresses. Matching ignores case and a final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: any host.
    Any,
    /// `example.com`, `10.0.0.1`, `::1`: just this one, kept in lower case.
    Exact(String),
    /// `*.example.com`: every host below it, not itself; kept in lower case as `.example.com`.
    Below(String),
}

/// A text that names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host: write a name (`example.com`), all below one (`*.example.com`), an address, or `*`"
)]
pub struct NotAHost(String);

impl HostPattern {
    /// Whether `host` (a name, or an address with or without brackets) is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let host = plain(host);
        match self {
            Self::Any => !host.is_empty(),
            Self::Exact(name) => *name == host,
            // An address has no domain above it.
            Self::Below(suffix) => {
                host.len() > suffix.len()
                    && host.ends_with(suffix.as_str())
                    && host.parse::<IpAddr>().is_err()
            }
        }
    }
}

/// A host as patterns keep it: lower case, no final dot, no brackets, addresses in their shortest form.
fn plain(host: &str) -> String {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

impl FromStr for HostPattern {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (name, is_below) = match text.strip_prefix("*.") {
            Some(name) => (plain(name), true),
            None => (plain(text), false),
        };
        let is_address = name.parse::<IpAddr>().is_ok();
        if !(is_name(&name) || is_address) || (is_below && is_address) {
            return Err(NotAHost(text.to_owned()));
        }
        Ok(if is_below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Exact(name)
        })
    }
}

/// Whether text is the name of a host, as far as its characters go.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= MAX_HOST_BYTES && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn matches_itself_and_nothing_that_looks_like_it() {
        let exact = pattern("API.example.com");
        assert!(exact.matches("api.example.com") && exact.matches("api.EXAMPLE.com."));
        assert!(!exact.matches("xapi.example.com") && !exact.matches("api.example.com.evil.org"));
        let below = pattern("*.example.com");
        assert!(below.matches("a.example.com") && below.matches("a.b.example.com"));
        assert!(!below.matches("example.com") && !below.matches("evilexample.com"));
        assert!(!below.matches(".example.com."), "an empty label is no host");
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        assert!(pattern("::1").matches("[0:0:0:0:0:0:0:1]"));
        assert!(pattern("::0.").matches("::") && pattern("10.0.0.1").matches("10.0.0.1."));
        assert!(!pattern("*.0.0.1.nip.io").matches("10.0.0.1"));
        assert!(!pattern("10.0.0.1").matches("10.0.0.10"));
    }

    #[test]
    fn refuses_what_is_no_host() {
        for text in [
            "",
            "*.",
            "a b",
            "*.*.com",
            "http://x",
            "x:80",
            "-a.com",
            "*.10.0.0.1",
            "a..b",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
        for text in ["*", "example.com", "*.example.com", "10.0.0.1", "::1"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }
}
