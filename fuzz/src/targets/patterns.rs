//! Which hosts a rule means, and limits by name: a pattern matches what it says and nothing else, and nobody gets
//! more than the operator's ceiling.

use std::net::IpAddr;

use celeriac::engine::{HostLimits, HostPattern, LimitOptions, Limits};

/// The first line is a pattern, the second a host; or a limit's name and a number.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (first, second) = text.split_once('\n').unwrap_or((text, text));
    host(first, second);
    limit(first, second);
}

fn host(text: &str, host: &str) {
    let Ok(pattern) = text.parse::<HostPattern>() else {
        return;
    };
    let shown = pattern.to_string();
    assert_eq!(
        shown.parse().as_ref(),
        Ok(&pattern),
        "{text:?} shows {shown:?}"
    );
    let matches = pattern.matches(host);
    match &pattern {
        HostPattern::Any => assert_eq!(matches, !trimmed(host).is_empty(), "{host:?}"),
        HostPattern::Exact(name) => {
            assert!(pattern.matches(name), "{name:?} does not match itself");
            if matches {
                // Another way of writing the same host, and nothing more.
                let exact: HostPattern = host.parse().unwrap_or(HostPattern::Any);
                assert!(
                    exact == pattern || trimmed(host) == *name,
                    "{text:?} matches {host:?}"
                );
            }
        }
        HostPattern::Below(suffix) => {
            assert!(!pattern.matches(suffix) && !pattern.matches(&suffix[1..]));
            if matches {
                let host = trimmed(host);
                assert!(host.ends_with(suffix.as_str()), "{text:?} matches {host:?}");
                assert!(
                    host.parse::<IpAddr>().is_err(),
                    "{text:?} matches the address {host}"
                );
            }
        }
    }
}

/// As a reader would normalise a host, done differently from the code under test.
fn trimmed(host: &str) -> String {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let mut name = inner.to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name,
    }
}

fn limit(name: &str, number: &str) {
    let Ok(number) = number.trim().parse::<u64>() else {
        return;
    };
    let mut asked = LimitOptions::default();
    let known = Limits::all().iter().any(|limit| limit.name == name);
    assert_eq!(asked.set(name, number).is_ok(), known, "{name:?}");
    let host = HostLimits::default();
    for (task, caller) in [
        (&asked, &LimitOptions::default()),
        (&LimitOptions::default(), &asked),
    ] {
        let effective = Limits::effective(&host, task, caller);
        for limit in Limits::all() {
            let allowed = effective.get(limit.name).expect("a limit that is listed");
            assert!(allowed <= limit.ceiling, "{}: {allowed}", limit.name);
        }
    }
}
