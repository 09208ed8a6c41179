//! Which addresses a port gets. Each is a row that can exist once, written in the transaction that makes the port.

use super::addresses::{address, autoconfigured, number, size, usable, usable_in_words};
use super::invalid_input;
use super::network::SERVICE_OWNER;
use super::subnet_check::whole;
use corten_model::ids::{NetworkId, SubnetId};
use corten_model::refusal::Refusal;
use corten_network::plan::Mac;
use corten_store::network::port::{self, Address, FixedIp, Port};
use corten_store::network::subnet::{self, Subnet};
use corten_store::{Failure, Tx};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One address that was asked for: in a subnet, or this one, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub subnet_id: Option<SubnetId>,
    pub ip_address: Option<IpAddr>,
}

/// As many as Neutron gives one port.
pub(crate) const ADDRESSES_MAX: usize = 5;

/// The addresses of a new port: what was asked for, or one of each family, and one of each subnet in which stations
/// make their own.
pub(super) async fn give(
    tx: &mut Tx,
    port: &Port,
    wanted: Option<&[Wanted]>,
) -> Result<Vec<FixedIp>, Failure> {
    let all = subnet::of_network(tx, port.network_id).await?;
    let subnets = serving(all, &port.device_owner);
    match wanted {
        Some(wanted) => exactly(tx, port, &subnets, wanted).await,
        None => by_default(tx, port, &subnets).await,
    }
}

/// Subnets with service types are for ports of those device owners alone.
fn serving(subnets: Vec<Subnet>, device_owner: &str) -> Vec<Subnet> {
    let is_for = |subnet: &Subnet| subnet.service_types.iter().any(|of| of == device_owner);
    let has_own = subnets.iter().any(is_for);
    subnets
        .into_iter()
        .filter(|subnet| is_for(subnet) || (!has_own && subnet.service_types.is_empty()))
        .collect()
}

async fn by_default(tx: &mut Tx, port: &Port, subnets: &[Subnet]) -> Result<Vec<FixedIp>, Failure> {
    let mut given = Vec::new();
    for is_ipv4 in [true, false] {
        let of_family: Vec<_> = subnets
            .iter()
            .filter(|subnet| subnet.cidr.addr().is_ipv4() == is_ipv4)
            .collect();
        let mut found = false;
        let mut leased = false;
        for subnet in &of_family {
            if subnet.is_autoconfigured() {
                if is_router(port) {
                    continue;
                }
                given.extend(claim_own(tx, port, subnet).await?);
                found = true;
            } else if !found || !leased {
                leased = true;
                if let Some(fixed) = next_free(tx, port, subnet).await? {
                    given.push(fixed);
                    found = true;
                } else {
                    leased = false;
                }
            }
        }
        if !found && !of_family.is_empty() && !is_router(port) {
            return Err(exhausted(port.network_id).into());
        }
    }
    Ok(given)
}

fn is_router(port: &Port) -> bool {
    port.device_owner.starts_with("network:router_interface")
}

async fn exactly(
    tx: &mut Tx,
    port: &Port,
    subnets: &[Subnet],
    wanted: &[Wanted],
) -> Result<Vec<FixedIp>, Failure> {
    check_count(wanted)?;
    let mut given = Vec::new();
    for wish in wanted {
        let fixed = one(tx, port, subnets, *wish).await?;
        given.push(fixed);
    }
    // Stations make these whether they were asked for or not. Only a port that shall have no address at all has none.
    let has = |id| given.iter().any(|fixed: &FixedIp| fixed.subnet_id == id);
    let own: Vec<_> = subnets
        .iter()
        .filter(|subnet| {
            subnet.is_autoconfigured()
                && !has(subnet.id)
                && !given.is_empty()
                && !port.device_owner.starts_with("network:")
        })
        .collect();
    for subnet in own {
        given.extend(claim_own(tx, port, subnet).await?);
    }
    Ok(given)
}

fn check_count(wanted: &[Wanted]) -> Result<(), Refusal> {
    if wanted.len() > ADDRESSES_MAX {
        return Err(invalid_input(format!(
            "Exceeded maximum amount of fixed ips per port: {} were asked for, at most {ADDRESSES_MAX} are given",
            wanted.len()
        )));
    }
    Ok(())
}

async fn one(
    tx: &mut Tx,
    port: &Port,
    subnets: &[Subnet],
    wish: Wanted,
) -> Result<FixedIp, Failure> {
    let subnet = match (wish.subnet_id, wish.ip_address) {
        (None, None) => {
            return Err(invalid_input("IP allocation requires subnet_id or ip_address").into());
        }
        (Some(id), _) => subnets.iter().find(|subnet| subnet.id == id).ok_or_else(|| {
            invalid_input(format!(
                "Failed to create port on network {}, because fixed_ips included invalid subnet {id}",
                port.network_id
            ))
        })?,
        (None, Some(ip)) => subnets
            .iter()
            .find(|subnet| subnet.cidr.contains(&ip))
            .ok_or_else(|| not_in_network(ip))?,
    };
    let Some(ip) = wish.ip_address else {
        if subnet.is_autoconfigured() && !port.device_owner.starts_with("network:router_") {
            let own = claim_own(tx, port, subnet).await?;
            return Ok(own.ok_or_else(|| exhausted(port.network_id))?);
        }
        let found = next_free(tx, port, subnet).await?;
        return Ok(found.ok_or_else(|| exhausted_in(port, subnet))?);
    };
    if !usable(subnet.cidr).contains(ip) {
        return Err(Refusal::invalid(format!(
            "IP address {ip} is not a valid IP for the specified subnet. The usable addresses of {} are {}: ask for \
             one of these, or for none in particular.",
            subnet.cidr,
            usable_in_words(subnet.cidr)
        ))
        .named("InvalidIpForSubnet")
        .into());
    }
    if subnet.is_autoconfigured()
        && !port.device_owner.starts_with("network:router_")
        && own_address(port, subnet) != Some(ip)
    {
        return Err(invalid_input(format!(
            "IPv6 address {ip} can not be directly assigned to a port on subnet {} since the subnet is configured for \
             automatic addresses",
            subnet.id
        ))
        .into());
    }
    let fixed = FixedIp {
        subnet_id: subnet.id,
        ip_address: ip,
    };
    if take(tx, port, fixed).await? {
        return Ok(fixed);
    }
    Err(Refusal::conflict(format!(
        "IP address {ip} already allocated in subnet {}.",
        subnet.id
    ))
    .named("IpAddressAlreadyAllocated")
    .into())
}

fn not_in_network(ip: IpAddr) -> Refusal {
    Refusal::invalid(format!(
        "IP address {ip} is not a valid IP for any of the subnets on the specified network."
    ))
    .named("InvalidIpForNetwork")
}

fn exhausted(network: NetworkId) -> Refusal {
    Refusal::conflict(format!(
        "No more IP addresses available on network {network}. Delete ports that are not needed, or add a subnet."
    ))
    .named("IpAddressGenerationFailure")
}

/// A subnet has no address left: what is the matter with it, if its pools never had one.
fn exhausted_in(port: &Port, subnet: &Subnet) -> Refusal {
    let network = port.network_id;
    if !subnet.pools.is_empty() {
        return exhausted(network);
    }
    let serves = port.device_owner == SERVICE_OWNER;
    let whom = if serves {
        "the port that serves DHCP"
    } else {
        "this port"
    };
    let without_dhcp = if serves {
        ", a subnet without DHCP (`--no-dhcp`)"
    } else {
        ""
    };
    let room = match size(usable(subnet.cidr)) {
        1 => "1 address".to_owned(),
        several => format!("{several} addresses"),
    };
    let cidr = subnet.cidr;
    let larger = if cidr.addr().is_ipv4() { 29 } else { 64 };
    let why = match subnet.gateway {
        Some(gateway) if whole(cidr, Some(gateway)).is_empty() => format!(
            "The range of subnet {cidr} has room for {room}, which its gateway {gateway} takes, so {whom} gets none. \
             Ask for a larger range (/{larger} or shorter){without_dhcp}, or a subnet without a gateway \
             (`--gateway none`)."
        ),
        _ => format!(
            "The range of subnet {cidr} has room for {room}, but the subnet has no allocation pool, so {whom} gets \
             none. Ask for a subnet with a pool (`--allocation-pool start=FIRST,end=LAST`){without_dhcp}."
        ),
    };
    Refusal::conflict(format!(
        "No more IP addresses available on network {network}. {why}"
    ))
    .named("IpAddressGenerationFailure")
}

async fn take(tx: &mut Tx, port: &Port, fixed: FixedIp) -> Result<bool, Failure> {
    let address = Address {
        subnet_id: fixed.subnet_id,
        address: fixed.ip_address,
        port_id: port.id,
    };
    Ok(port::claim(tx, address).await?)
}

/// The address that the port's station makes for itself in this subnet.
fn own_address(port: &Port, subnet: &Subnet) -> Option<IpAddr> {
    match (subnet.cidr, port.mac_address.parse::<Mac>()) {
        (IpNet::V6(prefix), Ok(mac)) => Some(IpAddr::V6(autoconfigured(prefix, mac))),
        _ => None,
    }
}

pub(super) async fn claim_own(
    tx: &mut Tx,
    port: &Port,
    subnet: &Subnet,
) -> Result<Option<FixedIp>, Failure> {
    let Some(ip_address) = own_address(port, subnet) else {
        return Ok(None);
    };
    let fixed = FixedIp {
        subnet_id: subnet.id,
        ip_address,
    };
    if take(tx, port, fixed).await? {
        Ok(Some(fixed))
    } else {
        Err(Refusal::conflict(format!(
            "IP address {ip_address} already allocated in subnet {}.",
            subnet.id
        ))
        .named("IpAddressAlreadyAllocated")
        .into())
    }
}

async fn taken(tx: &mut Tx, subnet: &Subnet) -> Result<BTreeSet<u128>, Failure> {
    let given = port::addresses_of_subnet(tx, subnet.id).await?;
    Ok(given.iter().map(|row| number(row.address)).collect())
}

/// The addresses of the pools that are not taken, lowest first.
fn untaken<'a>(subnet: &'a Subnet, taken: &'a BTreeSet<u128>) -> impl Iterator<Item = u128> + 'a {
    let pools = subnet.pools.iter();
    pools
        .flat_map(|pool| number(pool.start)..=number(pool.end))
        .filter(|candidate| !taken.contains(candidate))
}

/// The first IPv4 subnet of a network that has an address left for such a port.
pub(super) async fn ipv4_subnet_with_room(
    tx: &mut Tx,
    network: NetworkId,
    device_owner: &str,
) -> Result<Option<SubnetId>, Failure> {
    let all = subnet::of_network(tx, network).await?;
    for subnet in serving(all, device_owner) {
        let is_ipv4 = subnet.cidr.addr().is_ipv4();
        if is_ipv4
            && untaken(&subnet, &taken(tx, &subnet).await?)
                .next()
                .is_some()
        {
            return Ok(Some(subnet.id));
        }
    }
    Ok(None)
}

/// The lowest address of the pools that nobody has.
pub(crate) async fn next_free(
    tx: &mut Tx,
    port: &Port,
    subnet: &Subnet,
) -> Result<Option<FixedIp>, Failure> {
    let is_ipv4 = subnet.cidr.addr().is_ipv4();
    let taken = taken(tx, subnet).await?;
    for candidate in untaken(subnet, &taken) {
        let fixed = FixedIp {
            subnet_id: subnet.id,
            ip_address: address(candidate, is_ipv4),
        };
        // Another transaction may be taking it just now.
        if take(tx, port, fixed).await? {
            return Ok(Some(fixed));
        }
    }
    Ok(None)
}

/// What changes when a port's addresses are to be others: each wish keeps one that fulfils it, and the rest go.
pub(crate) async fn change(
    tx: &mut Tx,
    port: &Port,
    wanted: &[Wanted],
) -> Result<Vec<FixedIp>, Failure> {
    check_count(wanted)?;
    let mut left = port.addresses.clone();
    let mut more: Vec<Wanted> = Vec::new();
    // Each address that the port has answers one wish; those that name theirs choose first.
    let mut wishes = wanted.to_vec();
    wishes.sort_by_key(|wish| wish.ip_address.is_none());
    for wish in wishes {
        let answers = |fixed: &FixedIp| match wish.ip_address {
            Some(ip) => ip == fixed.ip_address,
            None => wish.subnet_id == Some(fixed.subnet_id),
        };
        match left.iter().position(answers) {
            Some(at) => drop(left.remove(at)),
            None => more.push(wish),
        }
    }
    let (gone, kept): (Vec<_>, Vec<_>) = port
        .addresses
        .iter()
        .copied()
        .partition(|fixed| left.contains(fixed));
    for fixed in gone {
        port::release(tx, fixed).await?;
    }
    let mut addresses = kept;
    if !more.is_empty() {
        let all = subnet::of_network(tx, port.network_id).await?;
        let subnets = serving(all, &port.device_owner);
        for wish in more {
            addresses.push(one(tx, port, &subnets, wish).await?);
        }
    }
    Ok(addresses)
}
