//! Arithmetic of addresses and prefixes.

use corten_network::plan::Mac;
use corten_store::network::subnet::Range;
use ipnet::{IpNet, Ipv6Net};
use rand::Rng as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address as a number, and back in the same family.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

pub(crate) fn address(number: u128, is_ipv4: bool) -> IpAddr {
    if is_ipv4 {
        // Numbers of IPv4 addresses have 32 bits.
        IpAddr::V4(Ipv4Addr::from(number as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from(number))
    }
}

/// The first and the last address that a station of this prefix may have.
pub(crate) fn usable(cidr: IpNet) -> Range {
    let (first, last) = (number(cidr.network()), number(cidr.broadcast()));
    let is_ipv4 = cidr.addr().is_ipv4();
    let (start, end) = match cidr {
        // RFC 3021 and single addresses: all are stations'.
        IpNet::V4(net) if net.prefix_len() >= 31 => (first, last),
        IpNet::V4(_) => (first + 1, last - 1),
        IpNet::V6(net) if net.prefix_len() >= 127 => (first, last),
        // The first is the subnet-router anycast address.
        IpNet::V6(_) => (first + 1, last),
    };
    Range {
        start: address(start, is_ipv4),
        end: address(end, is_ipv4),
    }
}

/// The usable addresses of a prefix, in words: the first and the last.
pub(crate) fn usable_in_words(cidr: IpNet) -> String {
    let Range { start, end } = usable(cidr);
    if start == end {
        format!("{start} alone")
    } else {
        format!("{start} to {end}")
    }
}

/// How many addresses a range has.
pub(crate) fn size(range: Range) -> u128 {
    number(range.end) - number(range.start) + 1
}

/// The ranges without one address.
pub(crate) fn without(range: Range, hole: IpAddr) -> Vec<Range> {
    if !range.contains(hole) {
        return vec![range];
    }
    let is_ipv4 = hole.is_ipv4();
    let at = number(hole);
    let mut parts = Vec::new();
    if range.start < hole {
        parts.push(Range {
            start: range.start,
            end: address(at - 1, is_ipv4),
        });
    }
    if hole < range.end {
        parts.push(Range {
            start: address(at + 1, is_ipv4),
            end: range.end,
        });
    }
    parts
}

/// The address that a station makes for itself from its MAC address (RFC 4291, appendix A).
pub(crate) fn autoconfigured(prefix: Ipv6Net, mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let station = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from(u128::from(prefix.network()) | u128::from(station))
}

/// A MAC address of our own making, under Neutron's usual prefix.
pub(crate) fn random_mac() -> Mac {
    let mut mac = [0xfa, 0x16, 0x3e, 0, 0, 0];
    rand::rng().fill(&mut mac[3..]);
    Mac(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str) -> Range {
        Range {
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
        }
    }

    #[test]
    fn stations_get_neither_the_first_nor_the_last_address_of_ipv4() {
        assert_eq!(
            usable("10.0.0.0/24".parse().unwrap()),
            range("10.0.0.1", "10.0.0.254")
        );
        assert_eq!(
            usable("10.0.0.8/31".parse().unwrap()),
            range("10.0.0.8", "10.0.0.9")
        );
        assert_eq!(
            usable("2001:db8::/64".parse().unwrap()),
            range("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff")
        );
    }

    #[test]
    fn the_usable_addresses_are_said_in_words() {
        let said = |cidr: &str| usable_in_words(cidr.parse().unwrap());
        assert_eq!(said("192.168.52.0/24"), "192.168.52.1 to 192.168.52.254");
        assert_eq!(said("192.168.58.0/32"), "192.168.58.0 alone");
    }

    #[test]
    fn a_hole_splits_a_range() {
        let whole = range("10.0.0.1", "10.0.0.9");
        assert_eq!(
            without(whole, "10.0.0.1".parse().unwrap()),
            [range("10.0.0.2", "10.0.0.9")]
        );
        assert_eq!(
            without(whole, "10.0.0.5".parse().unwrap()),
            [range("10.0.0.1", "10.0.0.4"), range("10.0.0.6", "10.0.0.9")]
        );
        assert_eq!(without(whole, "10.0.1.1".parse().unwrap()), [whole]);
        assert!(without(range("10.0.0.1", "10.0.0.1"), "10.0.0.1".parse().unwrap()).is_empty());
    }

    #[test]
    fn a_station_makes_its_address_from_its_mac() {
        let made = autoconfigured(
            "2001:db8::/64".parse().unwrap(),
            "fa:16:3e:01:02:03".parse().unwrap(),
        );
        assert_eq!(
            made,
            "2001:db8::f816:3eff:fe01:203".parse::<Ipv6Addr>().unwrap()
        );
    }
}
