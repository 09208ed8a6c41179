//! What makes a subnet a good one. The texts are Neutron's where clients look into them.

use super::addresses::{number, size, usable, usable_in_words, without};
use super::invalid_input;
use corten_model::refusal::Refusal;
use corten_store::network::subnet::{Ipv6Mode, Range, Route, Subnet};
use ipnet::IpNet;
use std::net::IpAddr;

/// As many of each as Neutron allows.
const DNS_SERVERS_MAX: usize = 5;
const HOST_ROUTES_MAX: usize = 20;

pub(super) fn cidr(cidr: IpNet) -> Result<IpNet, Refusal> {
    let net = cidr.trunc();
    let refuse = |why: &str| {
        Err(invalid_input(format!(
            "'{net}' is no range for a subnet: {why}"
        )))
    };
    if net.prefix_len() == 0 {
        return refuse("its prefix length is 0");
    }
    match net.addr() {
        address if address.is_loopback() => refuse("it is of loopback addresses"),
        address if address.is_multicast() => refuse("it is of multicast addresses"),
        IpAddr::V4(address) if address.is_link_local() => {
            refuse("it is of link-local addresses, where the metadata service is")
        }
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            refuse("it is of link-local addresses")
        }
        _ => Ok(net),
    }
}

/// Subnets of one network have addresses of their own.
pub(super) fn apart(new: &Subnet, others: &[Subnet]) -> Result<(), Refusal> {
    let overlaps = |other: &&Subnet| {
        other.id != new.id && (other.cidr.contains(&new.cidr) || new.cidr.contains(&other.cidr))
    };
    match others.iter().find(overlaps) {
        None => Ok(()),
        Some(other) => Err(invalid_input(format!(
            "Requested subnet with cidr: {} for network: {} overlaps with another subnet: {} ({}).",
            new.cidr, new.network_id, other.cidr, other.id
        ))),
    }
}

/// IPv6 needs packets of 1280 bytes (RFC 8200, section 5).
const IPV6_MTU_MIN: u16 = 1280;

pub(super) fn mtu(subnet: &Subnet, mtu: u16) -> Result<(), Refusal> {
    if subnet.cidr.addr().is_ipv4() || mtu >= IPV6_MTU_MIN {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "Invalid CIDR {} for network {}: an MTU of {mtu} is less than the {IPV6_MTU_MIN} of IPv6.",
        subnet.cidr, subnet.network_id
    ))
    .named("NetworkMTUSubnetConflict"))
}

pub(super) fn gateway(subnet: &Subnet) -> Result<(), Refusal> {
    let Some(gateway) = subnet.gateway else {
        return Ok(());
    };
    let is_link_local = matches!(gateway, IpAddr::V6(address) if address.is_unicast_link_local());
    if gateway.is_ipv4() != subnet.cidr.addr().is_ipv4() {
        return Err(invalid_input(format!(
            "gateway_ip '{gateway}' is not an address of the family of {}",
            subnet.cidr
        )));
    }
    if !is_link_local && !usable(subnet.cidr).contains(gateway) {
        return Err(invalid_input(format!(
            "Gateway is not valid on subnet: {gateway} is not one of the usable addresses of {}, which are {}. Give \
             one of these as the gateway, or none (`--gateway none`).",
            subnet.cidr,
            usable_in_words(subnet.cidr)
        )));
    }
    Ok(())
}

/// The ranges that addresses come from when none are asked for: everything but the gateway.
pub(super) fn whole(cidr: IpNet, gateway: Option<IpAddr>) -> Vec<Range> {
    match gateway {
        None => vec![usable(cidr)],
        Some(gateway) => without(usable(cidr), gateway),
    }
}

pub(super) fn pools(subnet: &Subnet) -> Result<(), Refusal> {
    let whole = usable(subnet.cidr);
    for pool in &subnet.pools {
        let text = format!("{}-{}", pool.start, pool.end);
        if pool.start.is_ipv4() != pool.end.is_ipv4() || pool.start > pool.end {
            return Err(Refusal::invalid(format!(
                "The allocation pool {text} is not valid: its end comes before its start."
            ))
            .named("InvalidAllocationPool"));
        }
        if !whole.contains(pool.start) || !whole.contains(pool.end) {
            return Err(Refusal::invalid(format!(
                "The allocation pool {text} spans beyond the subnet cidr {}.",
                subnet.cidr
            ))
            .named("OutOfBoundsAllocationPool"));
        }
        if let Some(gateway) = subnet.gateway.filter(|gateway| pool.contains(*gateway)) {
            return Err(Refusal::conflict(format!(
                "Gateway ip {gateway} conflicts with allocation pool {text}."
            ))
            .named("GatewayConflictWithAllocationPools"));
        }
    }
    let mut sorted = subnet.pools.clone();
    sorted.sort_by_key(|pool| number(pool.start));
    for pair in sorted.windows(2) {
        if pair[1].start <= pair[0].end {
            return Err(Refusal::conflict(format!(
                "Found overlapping allocation pools: {}-{} and {}-{} for subnet {}.",
                pair[0].start, pair[0].end, pair[1].start, pair[1].end, subnet.cidr
            ))
            .named("OverlappingAllocationPools"));
        }
    }
    Ok(())
}

pub(super) fn told_to_guests(subnet: &Subnet) -> Result<(), Refusal> {
    if subnet.dns_servers.len() > DNS_SERVERS_MAX {
        return Err(Refusal::invalid(format!(
            "Unable to complete operation for {}. The number of DNS nameservers exceeds the limit {DNS_SERVERS_MAX}.",
            subnet.id
        ))
        .named("DNSNameServersExhausted"));
    }
    if subnet.host_routes.len() > HOST_ROUTES_MAX {
        return Err(Refusal::invalid(format!(
            "Unable to complete operation for {}. The number of host routes exceeds the limit {HOST_ROUTES_MAX}.",
            subnet.id
        ))
        .named("HostRoutesExhausted"));
    }
    if subnet.dns_publish_fixed_ip {
        return Err(Refusal::invalid(
            "Invalid input for dns_publish_fixed_ip. Reason: no DNS service outside publishes names of ports; inside \
             their network they are known without it.",
        )
        .named("InvalidInput"));
    }
    let is_ipv4 = subnet.cidr.addr().is_ipv4();
    let fits = |route: &Route| {
        route.nexthop.is_ipv4() == is_ipv4 && route.destination.addr().is_ipv4() == is_ipv4
    };
    match subnet.host_routes.iter().find(|route| !fits(route)) {
        None => Ok(()),
        Some(route) => Err(invalid_input(format!(
            "host route {} via {} is not of the family of {}",
            route.destination, route.nexthop, subnet.cidr
        ))),
    }
}

/// The two IPv6 modes must agree, and say nothing for IPv4 or without DHCP.
pub(super) fn ipv6_modes(subnet: &Subnet) -> Result<(), Refusal> {
    let (ra, address) = (subnet.ipv6_ra_mode, subnet.ipv6_address_mode);
    if ra.is_none() && address.is_none() {
        return Ok(());
    }
    if subnet.cidr.addr().is_ipv4() {
        return Err(invalid_input(
            "ipv6_ra_mode or ipv6_address_mode cannot be set on a subnet of ip_version 4",
        ));
    }
    if !subnet.dhcp {
        return Err(invalid_input(
            "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False",
        ));
    }
    if let (Some(ra), Some(address)) = (ra, address)
        && ra != address
    {
        return Err(invalid_input(format!(
            "ipv6_ra_mode set to '{}' with ipv6_address_mode set to '{}' is not valid. If both attributes are set, \
             they must be the same value",
            ra.as_str(),
            address.as_str()
        )));
    }
    let is_made_from_mac = [ra, address]
        .iter()
        .flatten()
        .any(|mode| matches!(mode, Ipv6Mode::Slaac | Ipv6Mode::Dhcpv6Stateless));
    if is_made_from_mac && subnet.cidr.prefix_len() != 64 {
        return Err(invalid_input(format!(
            "Invalid CIDR {} for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the \
             prefix to be /64",
            subnet.cidr
        )));
    }
    Ok(())
}

/// How many addresses the pools have.
pub fn capacity(pools: &[Range]) -> u128 {
    pools.iter().map(|pool| size(*pool)).sum()
}
