//! Where a request goes: what is read from a guest's URL is one host and one port, and no spelling of an address that
//! is not public is taken for anything else.

use std::net::IpAddr;

use celeriac::engine::{Destination, Host, address_class, is_public_address};

/// A URL, or a host by itself; of sixteen bytes and of four also an address.
pub fn run(data: &[u8]) {
    if let Ok(bytes) = <[u8; 16]>::try_from(data) {
        embedded(bytes.into());
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(data) {
        mapped(bytes);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(host) = Host::parse(text) {
        alike(text, &host);
    }
    if let Some(destination) = text.parse().ok().and_then(|uri| Destination::of(&uri)) {
        assert!(destination.port != 0, "{text:?}");
        let host = destination.host.to_string();
        assert_eq!(
            Host::parse(&host).as_ref(),
            Some(&destination.host),
            "{text:?} goes to {host:?}"
        );
        assert!(
            !host.contains(['@', '/', '\\', ' ', '%']),
            "{text:?} goes to {host:?}"
        );
    }
}

/// A host is the same when it is shown and read again, and a name is no address to anybody.
fn alike(text: &str, host: &Host) {
    assert_eq!(
        Host::parse(&host.to_string()).as_ref(),
        Some(host),
        "{text:?}"
    );
    if let Host::Name(name) = host {
        assert!(name.parse::<IpAddr>().is_err(), "{text:?} is an address");
        let last = name.rsplit('.').next().unwrap_or_default();
        assert!(
            !last.bytes().all(|byte| byte.is_ascii_digit()),
            "{text:?} is an address to some"
        );
    }
}

/// An IPv6 address with an IPv4 address inside is not public unless that one is.
fn embedded(address: IpAddr) {
    let is_public = is_public_address(address);
    if let IpAddr::V6(address) = address
        && let Some(inside) = address.to_ipv4_mapped()
    {
        assert_eq!(is_public, is_public_address(inside.into()), "{address}");
    }
    if let IpAddr::V6(address) = address {
        let is_inner = address.is_unicast_link_local() || address.is_unique_local();
        assert!(!(is_public && is_inner), "{address} is public");
    }
    assert!(
        !(is_public
            && (address.is_loopback() || address.is_unspecified() || address.is_multicast())),
        "{address} is {}",
        address_class(address)
    );
}

/// An IPv4 address is the same in each IPv6 clothing that has it.
fn mapped(bytes: [u8; 4]) {
    let v4 = std::net::Ipv4Addr::from(bytes);
    let is_public = is_public_address(v4.into());
    assert!(
        !(is_public && (v4.is_private() || v4.is_loopback() || v4.is_link_local())),
        "{v4}"
    );
    let [a, b, c, d] = bytes;
    let halves = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    let clothings = [
        std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, halves[0], halves[1]),
        std::net::Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, halves[0], halves[1]),
        std::net::Ipv6Addr::new(0x2002, halves[0], halves[1], 0, 0, 0, 0, 1),
    ];
    for v6 in clothings {
        assert!(
            is_public || !is_public_address(v6.into()),
            "{v6} is public, {v4} is not"
        );
    }
}
