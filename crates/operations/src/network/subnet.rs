//! Subnets: making, changing and removing them.

use super::access::{self, Narrow, list as visible, lock, owner};
use super::addresses::usable;
use super::network::SERVICE_OWNER;
use super::{commit, invalid_input, port, quota, subnet_check as check, subnet_pool_cut};
use crate::context::Context;
use corten_iam::action::network::{NETWORKS_WRITE, SUBNETS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NetworkId, ProjectId, SubnetId, SubnetPoolId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::network::Network;
use corten_store::network::port::{FixedIp, Port};
use corten_store::network::router;
use corten_store::network::subnet::{self, Ipv6Mode, Range, Route, Subnet};
use corten_store::{Failure, Query, Tx, record};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct NewSubnet {
    pub project_id: Option<ProjectId>,
    pub network_id: NetworkId,
    pub name: String,
    pub description: String,
    /// 4 or 6.
    pub ip_version: u8,
    pub cidr: Option<IpNet>,
    /// Cut from this pool if no range is given.
    pub subnet_pool_id: Option<SubnetPoolId>,
    /// Cut from the default pool of its IP version.
    pub use_default_pool: bool,
    pub prefix_len: Option<u8>,
    /// Absent: the first address. `Some(None)`: no gateway.
    pub gateway: Option<Option<IpAddr>>,
    pub dhcp: bool,
    pub pools: Option<Vec<Range>>,
    pub dns_servers: Vec<IpAddr>,
    pub host_routes: Vec<Route>,
    pub ipv6_ra_mode: Option<Ipv6Mode>,
    pub ipv6_address_mode: Option<Ipv6Mode>,
    pub service_types: Vec<String>,
    pub dns_publish_fixed_ip: bool,
    pub tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
pub struct SubnetChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub gateway: Option<Option<IpAddr>>,
    pub dhcp: Option<bool>,
    pub pools: Option<Vec<Range>>,
    pub dns_servers: Option<Vec<IpAddr>>,
    pub host_routes: Option<Vec<Route>>,
    pub service_types: Option<Vec<String>>,
    pub dns_publish_fixed_ip: Option<bool>,
}

/// Makes subnets, all or none.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    new: Vec<NewSubnet>,
) -> Result<Vec<Subnet>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut made = Vec::new();
    for new in new {
        made.push(insert(cx, actor, &mut tx, new).await?);
    }
    let units: BTreeSet<_> = made
        .iter()
        .map(|subnet| Unit::Network(subnet.network_id))
        .collect();
    let units: Vec<_> = units.into_iter().collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(made)
}

pub(super) async fn insert(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    mut new: NewSubnet,
) -> Result<Subnet, Failure> {
    // The network's row is locked, so that two subnets of it cannot overlap.
    let seen = access::get::<Network>(cx, actor, tx, new.network_id).await?;
    let target = Target::project(&seen.standard.project_id);
    cx.policy.check(actor, NETWORKS_WRITE, &target)?;
    record::lock::<Network>(tx, new.network_id).await?;
    let mtu = seen.mtu;
    let project = new.project_id.clone().or(Some(seen.standard.project_id));
    let project = owner(cx, actor, project, SUBNETS_WRITE)?;
    quota::check(tx, cx, &project, quota::SUBNET, 1).await?;
    new.subnet_pool_id = subnet_pool_cut::chosen(tx, &new).await?;
    let present = subnet::of_network(tx, new.network_id).await?;
    subnet_pool_cut::check_affinity(tx, new.subnet_pool_id, new.ip_version, &present).await?;
    let range = match new.cidr {
        Some(range) if new.subnet_pool_id.is_none() => check::cidr(range)?,
        asked => subnet_pool_cut::cut(cx, actor, tx, &project, &new, asked).await?,
    };
    if range.addr().is_ipv4() != (new.ip_version == 4) {
        return Err(invalid_input(format!(
            "cidr '{range}' does not match the ip_version '{}'",
            new.ip_version
        ))
        .into());
    }
    let subnet = built(cx, project, range, new);
    check::gateway(&subnet)?;
    check::pools(&subnet)?;
    check::told_to_guests(&subnet)?;
    check::ipv6_modes(&subnet)?;
    check::mtu(&subnet, mtu)?;
    check::apart(&subnet, &present)?;
    record::insert(tx, &subnet).await?;
    if subnet.dhcp {
        port::serve(tx, cx, &seen.id, &subnet).await?;
    }
    if subnet.is_autoconfigured() {
        port::add_autoconfigured(tx, cx, &subnet).await?;
    }
    Ok(subnet)
}

fn built(cx: &Context, project: ProjectId, cidr: IpNet, new: NewSubnet) -> Subnet {
    let NewSubnet {
        project_id: _,
        network_id,
        name,
        description,
        ip_version: _,
        cidr: _,
        subnet_pool_id,
        use_default_pool: _,
        prefix_len: _,
        gateway,
        dhcp,
        pools,
        dns_servers,
        host_routes,
        ipv6_ra_mode,
        ipv6_address_mode,
        service_types,
        dns_publish_fixed_ip,
        tags,
    } = new;
    let gateway = gateway.unwrap_or_else(|| Some(usable(cidr).start));
    Subnet {
        id: SubnetId::random(),
        standard: Standard {
            tags,
            ..Standard::new(project, name, description, cx.now())
        },
        network_id,
        cidr,
        gateway,
        dhcp,
        pools: pools.unwrap_or_else(|| check::whole(cidr, gateway)),
        dns_servers,
        host_routes,
        ipv6_ra_mode,
        ipv6_address_mode,
        subnet_pool_id,
        service_types,
        dns_publish_fixed_ip,
    }
}

/// The subnets that the actor sees.
pub async fn list(cx: &Context, actor: &Actor, narrow: Narrow) -> Result<Vec<Subnet>, Failure> {
    let mut tx = cx.store.read().await?;
    visible(cx, actor, &mut tx, narrow).await
}

pub async fn show(cx: &Context, actor: &Actor, id: SubnetId) -> Result<Subnet, Failure> {
    let mut tx = cx.store.read().await?;
    access::get(cx, actor, &mut tx, id).await
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: SubnetId,
    change: SubnetChange,
) -> Result<Subnet, Failure> {
    let mut tx = cx.store.write().await?;
    let mut subnet = lock::<Subnet>(cx, actor, &mut tx, id).await?;
    let before = subnet.clone();
    let SubnetChange {
        name,
        description,
        gateway,
        dhcp,
        pools,
        dns_servers,
        host_routes,
        service_types,
        dns_publish_fixed_ip,
    } = change;
    let standard = &mut subnet.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    subnet.gateway = gateway.unwrap_or(subnet.gateway);
    subnet.dhcp = dhcp.unwrap_or(subnet.dhcp);
    subnet.pools = pools.unwrap_or(std::mem::take(&mut subnet.pools));
    subnet.dns_servers = dns_servers.unwrap_or(std::mem::take(&mut subnet.dns_servers));
    subnet.host_routes = host_routes.unwrap_or(std::mem::take(&mut subnet.host_routes));
    subnet.service_types = service_types.unwrap_or(std::mem::take(&mut subnet.service_types));
    subnet.dns_publish_fixed_ip = dns_publish_fixed_ip.unwrap_or(subnet.dns_publish_fixed_ip);
    check::gateway(&subnet)?;
    check::pools(&subnet)?;
    check::told_to_guests(&subnet)?;
    check::ipv6_modes(&subnet)?;
    if subnet.gateway != before.gateway {
        check_gateway_is_free(&mut tx, &before).await?;
    }
    if subnet.dhcp && !before.dhcp {
        port::serve(&mut tx, cx, &subnet.network_id, &subnet).await?;
    }
    if before.dhcp && !subnet.dhcp {
        port::stop_serving(&mut tx, cx, &subnet).await?;
    }
    subnet.standard.touch(cx.now());
    record::update(&mut tx, &subnet).await?;
    let mut units = vec![Unit::Network(subnet.network_id)];
    units.extend(routers_on(&mut tx, subnet.network_id).await?);
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(subnet)
}

/// The routers that have a port in a network: what they do follows its subnets.
pub(super) async fn routers_on(tx: &mut Tx, network: NetworkId) -> Result<Vec<Unit>, Failure> {
    let ports = corten_store::network::port::of_network(tx, network).await?;
    Ok(ports
        .iter()
        .filter(|port| [router::INTERFACE, router::GATEWAY].contains(&port.device_owner.as_str()))
        .filter_map(|port| port.device_id.parse().ok().map(Unit::Router))
        .collect())
}

/// A gateway that a router has cannot be renamed under it.
async fn check_gateway_is_free(tx: &mut Tx, subnet: &Subnet) -> Result<(), Failure> {
    let Some(gateway) = subnet.gateway else {
        return Ok(());
    };
    let holder = holders(tx, subnet.id)
        .await?
        .into_iter()
        .find(|(_, fixed)| fixed.ip_address == gateway);
    match holder {
        Some((port, _)) if port.device_owner == router::INTERFACE => {
            Err(Refusal::conflict(format!(
                "Current gateway ip {gateway} already in use by port {}. Unable to update.",
                port.id
            ))
            .named("GatewayIpInUse")
            .into())
        }
        _ => Ok(()),
    }
}

/// The ports with an address in a subnet.
async fn holders(tx: &mut Tx, id: SubnetId) -> Result<Vec<(Port, FixedIp)>, Failure> {
    let addresses = corten_store::network::port::addresses_of_subnet(tx, id).await?;
    let ids: Vec<_> = addresses
        .iter()
        .map(|row| row.port_id.to_string())
        .collect();
    let ports: Vec<Port> = Query::new().any_of("id", ids).all(tx).await?;
    let held = |port: Port| {
        let fixed = port.addresses.iter().find(|fixed| fixed.subnet_id == id);
        fixed.copied().map(|fixed| (port, fixed))
    };
    Ok(ports.into_iter().filter_map(held).collect())
}

/// Removes a subnet that no port needs. Addresses that stations made for themselves go with it.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: SubnetId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let subnet = lock::<Subnet>(cx, actor, &mut tx, id).await?;
    let holders = holders(&mut tx, id).await?;
    let keeps = |port: &Port| {
        port.device_owner != SERVICE_OWNER
            && (!subnet.is_autoconfigured() || port.device_owner.starts_with("network:router_"))
    };
    if let Some((port, _)) = holders.iter().find(|(port, _)| keeps(port)) {
        return Err(Refusal::conflict(format!(
            "Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet, \
             for example port {}.",
            port.id
        ))
        .named("SubnetInUse")
        .into());
    }
    for (mut port, fixed) in holders {
        corten_store::network::port::release(&mut tx, fixed).await?;
        port.addresses.retain(|held| held.subnet_id != id);
        port.standard.touch(cx.now());
        if port.device_owner == SERVICE_OWNER && port.addresses.is_empty() {
            record::delete::<Port>(&mut tx, port.id).await?;
        } else {
            record::update(&mut tx, &port).await?;
        }
    }
    record::delete::<Subnet>(&mut tx, id).await?;
    commit(tx, cx, &actor.origin(), &[Unit::Network(subnet.network_id)]).await
}
