//! The addresses at which a provider may be reached. Administrators of tenants write `base_url`, so an address inside the
//! operator's network counts as an attack unless the operator sets `allow_private_network`. The check applies to the very
//! address of the connection and never to the name alone, which may resolve differently a moment later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 prefix: the network and its length in bits.
type Prefix4 = (Ipv4Addr, u32);
/// An IPv6 prefix.
type Prefix6 = (Ipv6Addr, u32);

/// Link-local addresses, and those on which clouds serve credentials to any caller inside. Never allowed.
const METADATA_4: &[Prefix4] = &[
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Alibaba Cloud
    (Ipv4Addr::new(100, 100, 100, 200), 32),
    // Azure's platform address, in public space
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Oracle Cloud
    (Ipv4Addr::new(192, 0, 0, 192), 32),
];

const METADATA_6: &[Prefix6] = &[
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    // Amazon: metadata, names, time, pod identity
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    // Google Cloud
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32),
    // Scaleway
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
];

/// Addresses in IANA's special-purpose registry that are not globally reachable.
const PRIVATE_4: &[Prefix4] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The only block that IANA has assigned to global unicast; all other addresses are private.
const GLOBAL_6: Prefix6 = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The parts of that block that are not globally reachable.
const PRIVATE_6: &[Prefix6] = &[
    // protocol assignments, ORCHID and benchmarking among them
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

const COMPATIBLE: Prefix6 = (Ipv6Addr::UNSPECIFIED, 96);
const MAPPED: Prefix6 = (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
const NAT64: Prefix6 = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
/// NAT64 inside one network; usually the IPv4 address is at the end here too.
const NAT64_LOCAL: Prefix6 = (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48);
/// Stateless translation of IPv4 (SIIT).
const TRANSLATED: Prefix6 = (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96);
const SIX_TO_FOUR: Prefix6 = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const TEREDO: Prefix6 = (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);

/// Returns whether connections to `ip` are forbidden. `allow_private` allows addresses that are not globally routable
/// (loopback, RFC 1918, unique local and the like), but never link-local and metadata addresses. An IPv6 address that embeds
/// an IPv4 address is checked as that address.
pub fn is_forbidden(ip: IpAddr, allow_private: bool) -> bool {
    match ip {
        IpAddr::V4(ip) => is_forbidden_4(ip, allow_private),
        IpAddr::V6(ip) => is_forbidden_6(ip, allow_private),
    }
}

fn is_forbidden_4(ip: Ipv4Addr, allow_private: bool) -> bool {
    let within = |prefixes: &[Prefix4]| prefixes.iter().any(|prefix| contains_4(*prefix, ip));
    within(METADATA_4) || (!allow_private && within(PRIVATE_4))
}

fn is_forbidden_6(ip: Ipv6Addr, allow_private: bool) -> bool {
    let within = |prefixes: &[Prefix6]| prefixes.iter().any(|prefix| contains_6(*prefix, ip));
    if within(METADATA_6) || embedded(ip).into_iter().flatten().any(|ip| is_forbidden_4(ip, allow_private)) {
        return true;
    }
    // These are as reachable as the address inside, whatever block carries them.
    let transparent = contains_6(MAPPED, ip) || contains_6(NAT64, ip);
    !allow_private && !transparent && (!contains_6(GLOBAL_6, ip) || within(PRIVATE_6))
}

/// The IPv4 addresses that `ip` embeds: packets to it may arrive there. Teredo has two, the server and the client.
fn embedded(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let [.., g, h] = ip.segments();
    let last = from_segments(g, h);
    // `::` and `::1` embed nothing, but are as private as the IPv4 addresses that they are taken for.
    if [COMPATIBLE, MAPPED, NAT64, NAT64_LOCAL, TRANSLATED].into_iter().any(|prefix| contains_6(prefix, ip)) {
        return [Some(last), None];
    }
    let [_, b, c, d, e, f, ..] = ip.segments();
    if contains_6(SIX_TO_FOUR, ip) {
        return [Some(from_segments(b, c)), None];
    }
    if contains_6(TEREDO, ip) {
        return [Some(from_segments(c, d)), Some(from_segments(!g, !h))];
    }
    // ISATAP: any network, this interface.
    let isatap = matches!(e, 0 | 0x200) && f == 0x5efe;
    [isatap.then_some(last), None]
}

fn from_segments(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

fn contains_4((network, bits): Prefix4, ip: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(u32::BITS.saturating_sub(bits)).unwrap_or(0);
    u32::from(network) & mask == u32::from(ip) & mask
}

fn contains_6((network, bits): Prefix6, ip: Ipv6Addr) -> bool {
    let mask = u128::MAX.checked_shl(u128::BITS.saturating_sub(bits)).unwrap_or(0);
    u128::from(network) & mask == u128::from(ip) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks whether each address is forbidden: (without `allow_private`, with it).
    fn check(forbidden: (bool, bool), addresses: &[&str]) {
        for address in addresses {
            let ip: IpAddr = address.parse().expect("an address");
            assert_eq!((is_forbidden(ip, false), is_forbidden(ip, true)), forbidden, "{address}");
        }
    }

    #[test]
    fn public_addresses_are_open() {
        check(
            (false, false),
            &[
                "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
                "128.0.0.0", "168.63.129.15", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
                "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
                "2606:4700:4700::1111", "2001:4860:4860::8888", "2a00::1", "2001:200::1", "::ffff:1.1.1.1",
                "64:ff9b::1.1.1.1", "2002:101:101::1",
            ],
        );
    }

    #[test]
    fn private_and_reserved_addresses_need_the_opt_in() {
        check(
            (true, false),
            &[
                "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1",
                "127.255.255.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1",
                "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
                "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "100::1", "2001:2::1", "2001:10::1",
                "2001:20::1", "2001:db8::1", "3fff::1", "5f00::1", "64:ff9b:1::1", "fc00::1", "fd12:3456::1",
                "fec0::1", "ff02::1",
            ],
        );
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself() {
        check(
            (true, false),
            &[
                "::ffff:127.0.0.1",
                "::ffff:10.0.0.1",
                "::127.0.0.1",
                "::10.0.0.1",
                "64:ff9b::10.0.0.1",
                "64:ff9b::127.0.0.1",
                "2002:7f00:1::1",
                "2002:a00:1::1",
                // Teredo: a private server, then a private client, written inverted
                "2001:0:a00:1:0:0:fefe:fefe",
                "2001:0:101:101:0:0:f5ff:fffe",
                // ISATAP
                "2a00::5efe:10.0.0.1",
                "2a00::200:5efe:192.168.0.1",
            ],
        );
    }

    #[test]
    fn link_local_and_metadata_addresses_are_never_open() {
        check(
            (true, true),
            &[
                "169.254.0.1",
                "169.254.169.254",
                "169.254.170.2",
                "169.254.255.255",
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "fe80::1",
                "febf::1",
                "fd00:ec2::254",
                "fd00:ec2::23",
                "fd20:ce::254",
                "fd00:42::42",
                "::ffff:169.254.169.254",
                "::ffff:100.100.100.200",
                "::169.254.169.254",
                "64:ff9b::169.254.169.254",
                "64:ff9b:1::169.254.169.254",
                "::ffff:0:169.254.169.254",
                "2002:a9fe:a9fe::1",
                "2001:0:a9fe:a9fe:0:0:fefe:fefe",
                "2001:0:101:101:0:0:5601:5601",
                // every bit of the client's address counts: 100.100.100.200
                "2001:0:101:101:0:0:9b9b:9b37",
                "2a00::5efe:169.254.169.254",
            ],
        );
    }
}
