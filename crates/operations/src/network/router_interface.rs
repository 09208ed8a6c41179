//! Interfaces of routers: the ports by which they join subnets.

use super::access::{self, lock};
use super::ipam::{self, Wanted};
use super::port::{self, NewPort};
use super::{bad_request, commit, quota};
use crate::context::Context;
use corten_iam::action::network::{NETWORKS_WRITE, PORTS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NetworkId, PortId, ProjectId, RouterId, SubnetId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::router::{INTERFACE, Router};
use corten_store::network::subnet::Subnet;
use corten_store::network::{floating_ip, port as ports, port_forwarding};
use corten_store::{Failure, Tx, record};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// Which interface is meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    pub subnet_id: Option<SubnetId>,
    pub port_id: Option<PortId>,
}

/// An interface that was made, or is gone.
#[derive(Debug, Clone)]
pub struct Interface {
    pub router_id: RouterId,
    pub project_id: ProjectId,
    pub port_id: PortId,
    pub network_id: NetworkId,
    pub subnet_ids: Vec<SubnetId>,
}

impl Interface {
    fn of(router: &Router, port: &Port, subnet_ids: Vec<SubnetId>) -> Self {
        Self {
            router_id: router.id,
            project_id: router.standard.project_id.clone(),
            port_id: port.id,
            network_id: port.network_id,
            subnet_ids,
        }
    }
}

/// Joins the router to a subnet, or makes a port its interface.
pub async fn add(
    cx: &Arc<Context>,
    actor: &Actor,
    id: RouterId,
    asked: Asked,
) -> Result<Interface, Failure> {
    let mut tx = cx.store.write().await?;
    let router = lock::<Router>(cx, actor, &mut tx, id).await?;
    let (port, subnets) = match (asked.subnet_id, asked.port_id) {
        (Some(subnet), None) => add_subnet(cx, actor, &mut tx, &router, subnet).await?,
        (None, Some(port)) => add_port(cx, actor, &mut tx, &router, port).await?,
        (Some(_), Some(_)) => {
            return Err(bad_request("router", "Cannot specify both subnet-id and port-id").into());
        }
        (None, None) => {
            return Err(
                bad_request("router", "Either subnet_id or port_id must be specified").into(),
            );
        }
    };
    let interface = Interface::of(&router, &port, subnets);
    let units = [Unit::Network(port.network_id)];
    changed(cx, actor, tx, router, units.into()).await?;
    Ok(interface)
}

async fn changed(
    cx: &Arc<Context>,
    actor: &Actor,
    mut tx: Tx,
    mut router: Router,
    mut units: Vec<Unit>,
) -> Result<(), Failure> {
    router.standard.touch(cx.now());
    record::update(&mut tx, &router).await?;
    units.push(Unit::Router(router.id));
    units.sort_unstable();
    units.dedup();
    commit(tx, cx, &actor.origin(), &units).await
}

/// Neutron's "internal interface" by subnet: it has the subnet's gateway address.
pub(super) async fn add_subnet(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    router: &Router,
    id: SubnetId,
) -> Result<(Port, Vec<SubnetId>), Failure> {
    let subnet = access::get::<Subnet>(cx, actor, tx, id).await?;
    let network: Network = record::get(tx, subnet.network_id)
        .await?
        .ok_or_else(|| access::missing::<Network>(subnet.network_id))?;
    let gateway = subnet.gateway.ok_or_else(|| {
        bad_request(
            "router",
            "Subnet for router interface must have a gateway IP",
        )
    })?;
    if subnet.ipv6_ra_mode.is_none() && subnet.ipv6_address_mode.is_some() {
        return Err(bad_request(
            "router",
            format_args!(
                "IPv6 subnet {id} configured to receive RAs from an external router cannot be added to Neutron Router"
            ),
        )
        .into());
    }
    check_apart(tx, router.id, std::slice::from_ref(&subnet), None).await?;
    let target = Target::project(&network.standard.project_id);
    let is_own = cx.policy.check(actor, NETWORKS_WRITE, &target).is_ok();
    let wanted = Wanted {
        subnet_id: Some(id),
        // The gateway of a network is its owner's to give.
        ip_address: is_own.then_some(gateway),
    };
    let project = &router.standard.project_id;
    if !access::may_use(cx, actor, tx, &network, project).await? {
        return Err(access::missing::<Subnet>(id).into());
    }
    if subnet.cidr.addr().is_ipv6()
        && let Some(mut port) = ipv6_port(tx, router.id, network.id).await?
    {
        let mut all: Vec<Wanted> = port.addresses.iter().map(kept).collect();
        all.push(wanted);
        port.addresses = ipam::change(tx, &port, &all).await?;
        port.standard.touch(cx.now());
        record::update(tx, &port).await?;
        return Ok((port, vec![id]));
    }
    quota::check(tx, cx, project, quota::PORT, 1).await?;
    let new = NewPort {
        device_id: router.id.to_string(),
        device_owner: INTERFACE.to_owned(),
        addresses: Some(vec![wanted]),
        ..NewPort::on(network.id)
    };
    let port = port::insert(cx, tx, &network, project.clone(), new).await?;
    Ok((port, vec![id]))
}

fn kept(fixed: &ports::FixedIp) -> Wanted {
    Wanted {
        subnet_id: Some(fixed.subnet_id),
        ip_address: Some(fixed.ip_address),
    }
}

/// The router's interface on a network that has IPv6 addresses: all its IPv6 subnets there share it.
async fn ipv6_port(
    tx: &mut Tx,
    router: RouterId,
    network: NetworkId,
) -> Result<Option<Port>, Failure> {
    let found = interfaces(tx, router).await?;
    Ok(found.into_iter().find(|port| {
        let mut addresses = port.addresses.iter();
        port.network_id == network && addresses.any(|fixed| fixed.ip_address.is_ipv6())
    }))
}

async fn interfaces(tx: &mut Tx, router: RouterId) -> Result<Vec<Port>, Failure> {
    let mut found = ports::of_device(tx, &router.to_string()).await?;
    found.retain(|port| port.device_owner == INTERFACE);
    Ok(found)
}

async fn add_port(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    router: &Router,
    id: PortId,
) -> Result<(Port, Vec<SubnetId>), Failure> {
    let mut port = access::lock_for::<Port>(cx, actor, tx, id, PORTS_WRITE).await?;
    if !port.device_id.is_empty() {
        return Err(Refusal::conflict(format!(
            "Unable to complete operation on port {id} for network {}. Port already has an attached device {}.",
            port.network_id, port.device_id
        ))
        .named("PortInUse")
        .into());
    }
    let subnets = port::subnets_of(tx, &port).await?;
    let is_ipv4 = |subnet: &&Subnet| subnet.cidr.addr().is_ipv4();
    if subnets.is_empty() {
        return Err(bad_request("router", "Router port must have at least one fixed IP").into());
    }
    let of_ipv4 = port
        .addresses
        .iter()
        .filter(|fixed| fixed.ip_address.is_ipv4());
    if of_ipv4.count() > 1 {
        return Err(
            bad_request("router", "Cannot have multiple IPv4 subnets on router port").into(),
        );
    }
    let has_ipv6 = subnets.iter().any(|subnet| !is_ipv4(&subnet));
    if has_ipv6 && let Some(other) = ipv6_port(tx, router.id, port.network_id).await? {
        return Err(bad_request(
            "router",
            format_args!(
                "Router already contains IPv6 port {} belonging to network id {}. Only one IPv6 port from the same \
                 network subnet can be connected to a router",
                other.id, port.network_id
            ),
        )
        .into());
    }
    check_apart(tx, router.id, &subnets, Some(id)).await?;
    port.device_id = router.id.to_string();
    port.device_owner = INTERFACE.to_owned();
    // What a router forwards has other addresses than its own: nothing of this could be enforced.
    port.port_security = false;
    port.security_groups.clear();
    port.allowed_pairs.clear();
    port.standard.touch(cx.now());
    ports::update(tx, &port).await?;
    let subnets = subnets.iter().map(|subnet| subnet.id).collect();
    Ok((port, subnets))
}

/// A router joins a subnet once, and no two with the same addresses. `own` is the port that joins.
pub(super) async fn check_apart(
    tx: &mut Tx,
    router: RouterId,
    new: &[Subnet],
    own: Option<PortId>,
) -> Result<(), Failure> {
    for port in ports::of_device(tx, &router.to_string()).await? {
        if Some(port.id) == own {
            continue;
        }
        for joined in port::subnets_of(tx, &port).await? {
            for subnet in new {
                let text = if joined.id == subnet.id {
                    format!("Router already has a port on subnet {}", subnet.id)
                } else if overlap(joined.cidr, subnet.cidr) {
                    format!(
                        "Cidr {} of subnet {} overlaps with cidr {} of subnet {}",
                        subnet.cidr, subnet.id, joined.cidr, joined.id
                    )
                } else {
                    continue;
                };
                return Err(bad_request("router", text).into());
            }
        }
    }
    Ok(())
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Ends an interface: of one subnet, or a port with all that it joins.
pub async fn remove(
    cx: &Arc<Context>,
    actor: &Actor,
    id: RouterId,
    asked: Asked,
) -> Result<Interface, Failure> {
    let mut tx = cx.store.write().await?;
    let router = lock::<Router>(cx, actor, &mut tx, id).await?;
    let port = find(&mut tx, &router, asked).await?;
    let joined = port::subnets_of(&mut tx, &port).await?;
    let gone: Vec<Subnet> = match asked.port_id {
        Some(_) => joined.clone(),
        None => joined
            .iter()
            .filter(|subnet| Some(subnet.id) == asked.subnet_id)
            .cloned()
            .collect(),
    };
    for subnet in &gone {
        check_not_needed(&mut tx, &router, subnet).await?;
    }
    let interface = Interface::of(
        &router,
        &port,
        gone.iter().map(|subnet| subnet.id).collect(),
    );
    let units = if gone.len() == joined.len() {
        port::remove(cx, &mut tx, &port).await?
    } else {
        leave(cx, &mut tx, port, &interface.subnet_ids).await?
    };
    changed(cx, actor, tx, router, units).await?;
    Ok(interface)
}

/// The port stays for the other subnets that it joins.
async fn leave(
    cx: &Context,
    tx: &mut Tx,
    mut port: Port,
    subnets: &[SubnetId],
) -> Result<Vec<Unit>, Failure> {
    for fixed in &port.addresses {
        if subnets.contains(&fixed.subnet_id) {
            ports::release(tx, *fixed).await?;
        }
    }
    port.addresses
        .retain(|fixed| !subnets.contains(&fixed.subnet_id));
    port.standard.touch(cx.now());
    record::update(tx, &port).await?;
    Ok(vec![Unit::Network(port.network_id)])
}

async fn find(tx: &mut Tx, router: &Router, asked: Asked) -> Result<Port, Failure> {
    let found = interfaces(tx, router.id).await?;
    let joins = |port: &Port, subnet: SubnetId| {
        let mut addresses = port.addresses.iter();
        addresses.any(|fixed| fixed.subnet_id == subnet)
    };
    match (asked.port_id, asked.subnet_id) {
        (Some(id), subnet) => {
            let port = found.into_iter().find(|port| port.id == id);
            let port = port.ok_or_else(|| {
                Refusal::not_found(format!(
                    "Router {} does not have an interface with id {id}",
                    router.id
                ))
                .named("RouterInterfaceNotFound")
            })?;
            match subnet.filter(|subnet| !joins(&port, *subnet)) {
                None => Ok(port),
                Some(subnet) => Err(Refusal::invalid(format!(
                    "Subnet on port {id} does not match the requested subnet {subnet}."
                ))
                .named("SubnetMismatchForPort")
                .into()),
            }
        }
        (None, Some(subnet)) => {
            let port = found.into_iter().find(|port| joins(port, subnet));
            Ok(port.ok_or_else(|| {
                Refusal::not_found(format!(
                    "Router {} has no interface on subnet {subnet}",
                    router.id
                ))
                .named("RouterInterfaceNotFoundForSubnet")
            })?)
        }
        (None, None) => {
            Err(bad_request("router", "Either subnet_id or port_id must be specified").into())
        }
    }
}

/// Floating IPs, forwardings and routes need the interface that they pass.
async fn check_not_needed(tx: &mut Tx, router: &Router, subnet: &Subnet) -> Result<(), Failure> {
    if let Some(example) = floating_example(tx, router, Some(subnet.cidr)).await? {
        return Err(Refusal::conflict(format!(
            "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more floating \
             IPs, for example {example}",
            subnet.id, router.id
        ))
        .named("RouterInterfaceInUseByFloatingIP")
        .into());
    }
    Ok(check_no_route(router, subnet)?)
}

/// One of the floating IPs that a router translates, of those that lead into this range if one is given, and what to do
/// about it. None if there are none. Of those of other projects no more is told than that there is one.
pub(super) async fn floating_example(
    tx: &mut Tx,
    router: &Router,
    within: Option<IpNet>,
) -> Result<Option<String>, Failure> {
    const ANOTHERS: &str =
        "one of another project. First have it disassociated by its project's administrator.";
    let is_meant = |address: IpAddr| within.is_none_or(|range| range.contains(&address));
    let is_own = |floating: &FloatingIp| floating.standard.project_id == router.standard.project_id;
    for floating in floating_ip::of_router(tx, router.id).await? {
        let Some(target) = floating.target.as_ref() else {
            continue;
        };
        if !is_meant(target.address) {
            continue;
        }
        return Ok(Some(if is_own(&floating) {
            format!(
                "{0}, which leads to {1}. First have each disassociated (`openstack floating ip unset --port {0}`), or \
                 deleted.",
                floating.address, target.address
            )
        } else {
            ANOTHERS.to_owned()
        }));
    }
    for forward in port_forwarding::of_router(tx, router.id).await? {
        if !is_meant(forward.internal_address) {
            continue;
        }
        let floating = record::get::<FloatingIp>(tx, forward.floating_ip_id).await?;
        return Ok(Some(match floating.filter(is_own) {
            Some(floating) => format!(
                "{0}, whose {1} port {2} is forwarded to {3}. First delete each such forwarding (`openstack floating ip \
                 port forwarding delete {0} {4}`).",
                floating.address,
                forward.protocol,
                forward.external_port,
                forward.internal_address,
                forward.id
            ),
            None => ANOTHERS.to_owned(),
        }));
    }
    Ok(None)
}

pub(super) fn check_no_route(router: &Router, subnet: &Subnet) -> Result<(), Refusal> {
    let mut routes = router.routes.iter();
    match routes.find(|route| subnet.cidr.contains(&route.nexthop)) {
        None => Ok(()),
        Some(route) => Err(Refusal::conflict(format!(
            "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more routes, \
             for example {} via {}.",
            subnet.id, router.id, route.destination, route.nexthop
        ))
        .named("RouterInterfaceInUseByRoute")),
    }
}
