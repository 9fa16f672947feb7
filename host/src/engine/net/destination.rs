//! Where a request goes, read from what a guest wrote, strictly: each reader of it must see the same host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::Scheme;
use ipnet::IpNet;

use super::super::HostPattern;
use super::super::host_pattern::is_name;
use super::address::{Class, class};

/// A host by name or by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case, without a final dot.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// The server that an HTTP request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Whether by `https`.
    pub is_tls: bool,
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

impl Host {
    /// Reads a name or an address; none where it is neither, or where programs disagree about what it is:
    /// `0177.0.0.1`, `2130706433` and `0x7f.1` are 127.0.0.1 to some.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let last = name.rsplit('.').next().unwrap_or_default();
        (is_name(&name) && !is_number(last)).then_some(Self::Name(name))
    }

    /// Whether a pattern means this host.
    pub(crate) fn is_meant_by(&self, pattern: &HostPattern) -> bool {
        match self {
            Self::Name(name) => pattern.matches(name),
            Self::Address(address) => pattern.matches(&address.to_string()),
        }
    }
}

/// Whether a host that ends in this label is taken for an IPv4 address by some programs.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Destination {
    /// The destination of an absolute URI; none if it names none, or carries a user name and so could be
    /// read in two ways.
    #[must_use]
    pub fn of(uri: &Uri) -> Option<Self> {
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        let end = match authority.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at_checked(end)?;
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port(is_tls),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            _ => return None,
        };
        (port != 0).then_some(())?;
        Some(Self {
            is_tls,
            host: Host::parse(host)?,
            port,
        })
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    pub(crate) fn is_default_port(&self) -> bool {
        self.port == default_port(self.is_tls)
    }

    /// The `Host` header: without the port where it goes without saying.
    pub(crate) fn authority(&self) -> String {
        if self.is_default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme(), self.host, self.port)
    }
}

fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

/// An address that may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    address: IpAddr,
    class: Class,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the address {} is {}", self.address, self.class)
    }
}

/// Those of `addresses` that may be connected to: public ones, and those in `networks`.
///
/// An IPv4 address in IPv6's clothes comes back as itself: that is where a connection to it goes.
pub(crate) fn allowed(addresses: &[IpAddr], networks: &[&IpNet]) -> Result<Vec<IpAddr>, Refused> {
    let mut refused = None;
    let allowed: Vec<_> = addresses
        .iter()
        .map(IpAddr::to_canonical)
        .filter(|address| {
            let class = class(*address);
            let is_allowed =
                class == Class::Public || networks.iter().any(|network| network.contains(address));
            if !is_allowed {
                refused = Some(Refused {
                    address: *address,
                    class,
                });
            }
            is_allowed
        })
        .collect();
    match refused {
        Some(refused) if allowed.is_empty() => Err(refused),
        _ => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Option<String> {
        Destination::of(&uri.parse().ok()?).map(|destination| destination.to_string())
    }

    #[test]
    fn reads_what_is_plain() {
        for (uri, expected) in [
            ("https://Example.COM/x", "https://example.com:443"),
            ("http://example.com:8080/?q", "http://example.com:8080"),
            ("http://example.com./", "http://example.com:80"),
            ("http://10.0.0.1/", "http://10.0.0.1:80"),
            ("http://[::1]:81/", "http://[::1]:81"),
            ("http://[0:0:0:0:0:0:0:1]/", "http://[::1]:80"),
            ("http://redis/", "http://redis:80"),
            ("http://a_b.example.com/", "http://a_b.example.com:80"),
        ] {
            assert_eq!(of(uri).as_deref(), Some(expected), "{uri}");
        }
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        for uri in [
            "http://0177.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://127.0.0.01/",
            "http://1.2.3.4.5/",
            "http://0x/",
            "http://%31%32%37.0.0.1/",
            "http://example.com@10.0.0.1/",
            "http://user:password@example.com/",
            "http://[::1%25eth0]/",
            "http://[::ffff:127.0.0.1/",
            "http://[v1.x]/",
            "http://example.com:/",
            "http://example.com:0/",
            "http://example.com:65536/",
            "http://example.com:+80/",
            "http://exa mple.com/",
            "http://-example.com/",
            "http://example..com/",
            "http://./",
            "ftp://example.com/",
            "/only/a/path",
            "example.com:80",
        ] {
            assert_eq!(of(uri), None, "{uri}");
        }
    }

    #[test]
    fn picks_the_allowed_addresses_only() {
        let addresses: Vec<IpAddr> = ["10.0.0.1", "1.1.1.1", "::ffff:127.0.0.1"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(allowed(&addresses, &[]), Ok(vec![addresses[1]]));
        let loopback: IpNet = "127.0.0.0/8".parse().unwrap();
        let both = allowed(&addresses, &[&loopback]).unwrap();
        assert_eq!(both, [addresses[1], "127.0.0.1".parse().unwrap()]);
        let refused = allowed(&addresses[..1], &[&loopback]).unwrap_err();
        assert_eq!(refused.to_string(), "the address 10.0.0.1 is private");
    }
}
