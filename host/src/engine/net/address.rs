//! What kind of address an address is: only public ones may be connected to unasked.
//!
//! A name that a guest may ask for can point anywhere, also at the host itself, at its neighbours, or at the
//! service that hands out the machine's credentials. So the answer counts, not the name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of addresses. All but [`Class::Public`] are refused unless granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// An address of the internet.
    Public,
    /// `0.0.0.0/8`, `::`: this host.
    Unspecified,
    /// `127.0.0.0/8`, `::1`: this host.
    Loopback,
    /// RFC 1918.
    Private,
    /// `fc00::/7`: IPv6's private addresses.
    UniqueLocal,
    /// `fec0::/10`: what was private before.
    SiteLocal,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// Where clouds hand out the credentials of a machine.
    Metadata,
    /// `100.64.0.0/10`: behind a carrier's NAT, and in overlay networks.
    Shared,
    /// Examples in documents.
    Documentation,
    /// `198.18.0.0/15`, `2001:2::/48`.
    Benchmarking,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// All else that is not routed on the internet.
    Reserved,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::UniqueLocal => "unique-local",
            Self::SiteLocal => "site-local",
            Self::LinkLocal => "link-local",
            Self::Metadata => "a metadata service",
            Self::Shared => "shared (carrier-grade NAT)",
            Self::Documentation => "for documentation",
            Self::Benchmarking => "for benchmarks",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Reserved => "reserved",
        })
    }
}

/// Whether an address belongs to the internet at large.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    class(address) == Class::Public
}

/// The kind of an address. One that has an IPv4 address inside is what that address is; where that is a part of it
/// only (ISATAP), both have to be public.
#[must_use]
pub fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

/// IPv4, the first that fits; what is in none is public. Sources: IANA's special-purpose registry (RFC 6890),
/// and what clouds document about their metadata services.
const V4: &[(u32, u32, Class)] = &[
    (ip4(0, 0, 0, 0), 8, Class::Unspecified),
    (ip4(10, 0, 0, 0), 8, Class::Private),
    // Alibaba's is inside the shared range, Oracle's inside 192.0.0.0/24.
    (ip4(100, 100, 100, 200), 32, Class::Metadata),
    (ip4(100, 64, 0, 0), 10, Class::Shared),
    (ip4(127, 0, 0, 0), 8, Class::Loopback),
    // Azure's host agent: a public address by its number, this machine's own host in truth.
    (ip4(168, 63, 129, 16), 32, Class::Metadata),
    (ip4(169, 254, 169, 254), 32, Class::Metadata),
    (ip4(169, 254, 170, 2), 32, Class::Metadata),
    (ip4(169, 254, 0, 0), 16, Class::LinkLocal),
    (ip4(172, 16, 0, 0), 12, Class::Private),
    (ip4(192, 0, 0, 192), 32, Class::Metadata),
    (ip4(192, 0, 0, 0), 24, Class::Reserved),
    (ip4(192, 0, 2, 0), 24, Class::Documentation),
    (ip4(192, 88, 99, 0), 24, Class::Reserved),
    (ip4(192, 168, 0, 0), 16, Class::Private),
    (ip4(198, 18, 0, 0), 15, Class::Benchmarking),
    (ip4(198, 51, 100, 0), 24, Class::Documentation),
    (ip4(203, 0, 113, 0), 24, Class::Documentation),
    (ip4(224, 0, 0, 0), 4, Class::Multicast),
    (ip4(255, 255, 255, 255), 32, Class::Broadcast),
    (ip4(240, 0, 0, 0), 4, Class::Reserved),
];

/// IPv6, the first that fits; what is in none is public if it is in `2000::/3`, and reserved otherwise.
const V6: &[([u16; 8], u32, Class)] = &[
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, Class::Benchmarking),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Class::Documentation),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Class::Documentation),
    // Protocol assignments: ORCHID, AMT, AS112 and the like.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Class::Reserved),
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, Class::Metadata),
    ([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, Class::Metadata),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Class::UniqueLocal),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Class::LinkLocal),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Class::SiteLocal),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Class::Multicast),
];

const fn ip4(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

fn class_v4(address: Ipv4Addr) -> Class {
    let bits = address.to_bits();
    let is_in = |network: u32, prefix: u32| (bits ^ network) >> (32 - prefix) == 0;
    V4.iter()
        .find(|(network, prefix, _)| is_in(*network, *prefix))
        .map_or(Class::Public, |(_, _, class)| *class)
}

fn class_v6(address: Ipv6Addr) -> Class {
    let bits = address.to_bits();
    let is_in = |network: [u16; 8], prefix: u32| {
        (bits ^ Ipv6Addr::from(network).to_bits()) >> (128 - prefix) == 0
    };
    // Before those that carry an address: they look like one.
    if address.is_unspecified() {
        return Class::Unspecified;
    }
    if address.is_loopback() {
        return Class::Loopback;
    }
    if let Some(inside) = embedded(address) {
        // The worst of several decides.
        return inside
            .into_iter()
            .flatten()
            .map(class_v4)
            .find(|class| *class != Class::Public)
            .unwrap_or(Class::Public);
    }
    // ISATAP is a part of an address and no range of its own: the rest of it counts too.
    if let Some(class) = isatap(address).map(class_v4)
        && class != Class::Public
    {
        return class;
    }
    if let Some((_, _, class)) = V6.iter().find(|(net, prefix, _)| is_in(*net, *prefix)) {
        return *class;
    }
    if is_in([0x2000, 0, 0, 0, 0, 0, 0, 0], 3) {
        Class::Public
    } else {
        Class::Reserved
    }
}

/// The IPv4 address that an interface of this name tunnels to, within any prefix.
fn isatap(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., e, f, g, h] = address.segments();
    matches!((e, f), (0 | 0x200, 0x5efe))
        .then(|| Ipv4Addr::from_bits(u32::from(g) << 16 | u32::from(h)))
}

/// The IPv4 addresses inside an IPv6 address of a kind that some router or kernel turns into them.
fn embedded(address: Ipv6Addr) -> Option<[Option<Ipv4Addr>; 2]> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let last = pair(g, h);
    match (a, b, c, d, e, f) {
        // Mapped ::ffff:0:0/96, compatible ::/96, translated ::ffff:0:0:0/96, NAT64 64:ff9b::/96.
        (0, 0, 0, 0, 0, 0xffff | 0) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => {
            Some([Some(last), None])
        }
        // 6to4 2002::/16.
        (0x2002, ..) => Some([Some(pair(b, c)), None]),
        // Teredo 2001::/32: the server, and the client with its bits turned around.
        (0x2001, 0, ..) => Some([Some(pair(c, d)), Some(pair(!g, !h))]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Class {
        class(text.parse().unwrap())
    }

    #[test]
    fn the_first_and_the_last_of_each_range_and_their_neighbours() {
        use Class::*;
        // Class, then pairs: first, last; the neighbours on both sides are checked against `outside`.
        let ranges = [
            (Unspecified, "0.0.0.0", "0.255.255.255"),
            (Private, "10.0.0.0", "10.255.255.255"),
            (Shared, "100.64.0.0", "100.127.255.255"),
            (Loopback, "127.0.0.0", "127.255.255.255"),
            (LinkLocal, "169.254.0.0", "169.254.255.255"),
            (Private, "172.16.0.0", "172.31.255.255"),
            (Reserved, "192.0.0.0", "192.0.0.255"),
            (Documentation, "192.0.2.0", "192.0.2.255"),
            (Reserved, "192.88.99.0", "192.88.99.255"),
            (Private, "192.168.0.0", "192.168.255.255"),
            (Benchmarking, "198.18.0.0", "198.19.255.255"),
            (Documentation, "198.51.100.0", "198.51.100.255"),
            (Documentation, "203.0.113.0", "203.0.113.255"),
        ];
        for (class, first, last) in ranges {
            assert_eq!((of(first), of(last)), (class, class), "{first} {last}");
            let bits = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
            for neighbour in [bits(first).checked_sub(1), bits(last).checked_add(1)] {
                let Some(neighbour) = neighbour else { continue };
                let neighbour = Ipv4Addr::from_bits(neighbour);
                assert_eq!(class_v4(neighbour), Public, "{neighbour}");
            }
        }
        assert_eq!(of("223.255.255.255"), Public);
        assert_eq!(
            (of("224.0.0.0"), of("239.255.255.255")),
            (Multicast, Multicast)
        );
        assert_eq!(
            (of("240.0.0.0"), of("255.255.255.254")),
            (Reserved, Reserved)
        );
        assert_eq!(of("255.255.255.255"), Broadcast);
    }

    #[test]
    fn knows_the_metadata_services() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert_eq!(of(address), Class::Metadata, "{address}");
        }
    }

    #[test]
    fn knows_ipv6s_own_ranges() {
        use Class::*;
        for (address, class) in [
            ("::", Unspecified),
            ("::1", Loopback),
            ("fc00::", UniqueLocal),
            ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", UniqueLocal),
            ("fe80::1", LinkLocal),
            ("febf:ffff::1", LinkLocal),
            ("fec0::1", SiteLocal),
            ("feff:ffff::1", SiteLocal),
            ("ff02::1", Multicast),
            ("2001:db8::1", Documentation),
            ("3fff:fff::1", Documentation),
            ("2001:2::1", Benchmarking),
            ("2001:20::1", Reserved),
            ("2001:1ff:ffff::1", Reserved),
            ("100::1", Reserved),
            ("64:ff9b:1::1", Reserved),
            ("5f00::1", Reserved),
            ("4000::1", Reserved),
            ("1fff::1", Reserved),
            ("2001:200::1", Public),
            ("2606:4700:4700::1111", Public),
            ("3ffe:ffff::1", Public),
        ] {
            assert_eq!(of(address), class, "{address}");
        }
    }

    #[test]
    fn looks_into_addresses_that_carry_another() {
        use Class::*;
        for (address, class) in [
            ("::ffff:10.0.0.1", Private),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:8.8.8.8", Public),
            ("::10.0.0.1", Private),
            ("::8.8.8.8", Public),
            ("::0.0.0.2", Unspecified),
            ("::ffff:0:10.0.0.1", Private),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b::8.8.8.8", Public),
            ("2002:a00:1::", Private),
            ("2002:7f00:1::1", Loopback),
            ("2002:808:808::1", Public),
            // The client 10.0.0.1 behind a public server, and a private server.
            ("2001:0:808:808::f5ff:fffe", Private),
            ("2001:0:a00:1::f7f7:f7f7", Private),
            ("2001:0:808:808::f7f7:f7f7", Public),
            ("2606:4700::5efe:10.0.0.1", Private),
            ("2606:4700::200:5efe:192.168.0.1", Private),
            ("2606:4700::5efe:8.8.8.8", Public),
            // A public address inside makes nothing public that is not.
            ("fe80::5efe:8.8.8.8", LinkLocal),
            ("fe80::200:5efe:8.8.8.8", LinkLocal),
            ("fd00::5efe:8.8.8.8", UniqueLocal),
            ("fec0::5efe:8.8.8.8", SiteLocal),
            ("ff02::5efe:8.8.8.8", Multicast),
            ("2001:db8::5efe:8.8.8.8", Documentation),
            ("4000::5efe:8.8.8.8", Reserved),
        ] {
            assert_eq!(of(address), class, "{address}");
        }
    }

    #[test]
    fn public_means_public() {
        for address in ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2a00:1450::1"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        assert!(!is_public("10.0.0.1".parse().unwrap()));
    }
}
