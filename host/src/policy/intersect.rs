//! What a need and a rule have in common. The result never allows what either of the two does not.

use super::need::{HttpNeed, TcpNeed, default_port};
use crate::engine::{HostPattern, HttpRule, TcpRule};

/// The hosts that both mean.
pub(super) fn hosts(one: &HostPattern, two: &HostPattern) -> Option<HostPattern> {
    use HostPattern::{Any, Below, Exact};
    match (one, two) {
        (Any, other) | (other, Any) => Some(other.clone()),
        (Exact(host), pattern) | (pattern, Exact(host)) => {
            pattern.matches(host).then(|| Exact(host.clone()))
        }
        (Below(one), Below(two)) if one.ends_with(two.as_str()) => Some(Below(one.clone())),
        (Below(one), Below(two)) => two.ends_with(one.as_str()).then(|| Below(two.clone())),
    }
}

/// The requests that the task asks for and the rule allows.
pub(super) fn http(need: &HttpNeed, rule: &HttpRule) -> Option<HttpRule> {
    let hosts: Vec<_> = rule
        .hosts
        .iter()
        .filter_map(|host| hosts(&need.host, host))
        .collect();
    let asked = |scheme: &&String| need.scheme.as_ref().is_none_or(|asked| asked == *scheme);
    let mut schemes: Vec<_> = rule.schemes.iter().filter(asked).cloned().collect();
    let mut ports = rule.ports.clone();
    if let Some(port) = need.port {
        if ports.is_empty() {
            // Each scheme has its own port: only those that have this one are left.
            schemes.retain(|scheme| default_port(scheme) == Some(port));
        } else {
            ports.retain(|allowed| *allowed == port);
            // None left must not mean "the scheme's own".
            if ports.is_empty() {
                return None;
            }
        }
    }
    (!hosts.is_empty() && !schemes.is_empty()).then(|| HttpRule {
        hosts,
        schemes,
        ports,
        methods: rule.methods.clone(),
        networks: rule.networks.clone(),
    })
}

/// The connections that the task asks for and the rule allows.
pub(super) fn tcp(need: &TcpNeed, rule: &TcpRule) -> Option<TcpRule> {
    if need.port.is_some_and(|port| port != rule.port) {
        return None;
    }
    Some(TcpRule {
        host: hosts(&need.host, &rule.host)?,
        ..rule.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Need;

    const PATTERNS: [&str; 10] = [
        "*",
        "a.com",
        "b.a.com",
        "c.b.a.com",
        "*.a.com",
        "*.b.a.com",
        "*.com",
        "ba.com",
        "10.0.0.1",
        "::1",
    ];
    const HOSTS: [&str; 12] = [
        "a.com",
        "b.a.com",
        "c.b.a.com",
        "d.c.b.a.com",
        "x.a.com",
        "ba.com",
        "xa.com",
        "com",
        "10.0.0.1",
        "10.0.0.2",
        "::1",
        "x.org",
    ];
    const PORTS: [u16; 3] = [80, 443, 8443];

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    /// All pairs against all hosts: the intersection means exactly what both mean.
    #[test]
    fn of_hosts_is_exact() {
        for one in PATTERNS.map(pattern) {
            for two in PATTERNS.map(pattern) {
                let both = hosts(&one, &two);
                assert_eq!(both, hosts(&two, &one));
                for host in HOSTS {
                    let expected = one.matches(host) && two.matches(host);
                    assert_eq!(
                        both.as_ref().is_some_and(|both| both.matches(host)),
                        expected,
                        "{one} {two} {host}"
                    );
                }
            }
        }
    }

    fn allows(rule: &HttpRule, scheme: &str, host: &str, port: u16) -> bool {
        let has_port = match rule.ports.is_empty() {
            true => default_port(scheme) == Some(port),
            false => rule.ports.contains(&port),
        };
        has_port
            && rule.schemes.iter().any(|own| own == scheme)
            && rule.hosts.iter().any(|own| own.matches(host))
    }

    fn asks(need: &HttpNeed, scheme: &str, host: &str, port: u16) -> bool {
        need.host.matches(host)
            && need.scheme.as_deref().is_none_or(|own| own == scheme)
            && need.port.is_none_or(|own| own == port)
    }

    /// All needs against all rules: a request is allowed exactly when it fits both.
    #[test]
    fn of_http_is_exact() {
        let mut needs = Vec::new();
        let mut rules = Vec::new();
        for host in PATTERNS {
            let host = if host == "::1" { "[::1]" } else { host };
            for scheme in ["", "http://", "https://"] {
                for port in ["", ":80", ":443", ":8443"] {
                    let Need::Http(need) =
                        Need::parse("http", &format!("{scheme}{host}{port}")).unwrap()
                    else {
                        unreachable!()
                    };
                    needs.push(need);
                }
            }
            for schemes in [&["http"][..], &["https"], &["http", "https"]] {
                for ports in [&[][..], &[443], &[80, 8443]] {
                    rules.push(HttpRule {
                        hosts: vec![pattern(host), pattern("x.org")],
                        schemes: schemes.iter().map(|scheme| (*scheme).to_owned()).collect(),
                        ports: ports.to_vec(),
                        methods: Vec::new(),
                        networks: Vec::new(),
                    });
                }
            }
        }
        for need in &needs {
            for rule in &rules {
                let both = http(need, rule);
                for (scheme, host) in ["http", "https"]
                    .iter()
                    .flat_map(|s| HOSTS.map(|host| (*s, host)))
                {
                    for port in PORTS {
                        let expected =
                            asks(need, scheme, host, port) && allows(rule, scheme, host, port);
                        let found = both
                            .as_ref()
                            .is_some_and(|both| allows(both, scheme, host, port));
                        assert_eq!(
                            found, expected,
                            "{need} and {rule:?}: {scheme}://{host}:{port}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn of_tcp_is_exact() {
        for host in PATTERNS {
            let rule = TcpRule {
                host: pattern(host),
                port: 25,
                networks: Vec::new(),
            };
            for asked in PATTERNS {
                for port in [None, Some(25), Some(26)] {
                    let need = TcpNeed {
                        host: pattern(asked),
                        port,
                    };
                    let both = tcp(&need, &rule);
                    for host in HOSTS {
                        let expected =
                            need.host.matches(host) && rule.host.matches(host) && port != Some(26);
                        assert_eq!(
                            both.as_ref()
                                .is_some_and(|both| both.host.matches(host) && both.port == 25),
                            expected
                        );
                    }
                }
            }
        }
    }
}
