//! Floating IPs: holding an address of an external network, and pointing it at a port.
//!
//! Each is held by a port of its own on the external network, so that the address is given once. What it costs follows
//! from the log: a line when it is held, one when it is released.

use super::access::{self, Narrow, list as visible, lock_for, owner};
use super::floating_ip_target as target;
use super::ipam::{self, Wanted};
use super::port::{self, NewPort};
use super::{bad_request, commit, quota};
use crate::context::Context;
use corten_iam::action::Action;
use corten_iam::action::network::{
    FLOATING_IPS_CHOOSE, FLOATING_IPS_WRITE, FLOATING_IPS_WRITE_AS_MEMBER,
};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{FloatingIpId, NetworkId, PortId, ProjectId, SubnetId, TransitionId};
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::floating_ip::{self, FloatingIp, HELD, OWNER, RELEASED, SUBJECT};
use corten_store::network::network::Network;
use corten_store::network::port::{FixedIp, Port};
use corten_store::network::port_forwarding::{self, PortForwarding};
use corten_store::network::subnet;
use corten_store::transitions::{self, Transition};
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct NewFloatingIp {
    pub project_id: Option<ProjectId>,
    pub description: String,
    pub network_id: NetworkId,
    pub subnet_id: Option<SubnetId>,
    /// Absent: one that is free.
    pub address: Option<IpAddr>,
    pub port_id: Option<PortId>,
    /// Of the port, which has one of IPv4 if none is named.
    pub fixed_address: Option<IpAddr>,
    pub tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
pub struct FloatingIpChange {
    pub description: Option<String>,
    /// `Some(None)`: it leads nowhere.
    pub port_id: Option<Option<PortId>>,
    pub fixed_address: Option<IpAddr>,
}

/// A floating IP with what an answer shows of it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub floating: FloatingIp,
    /// The port that it leads to.
    pub port: Option<Port>,
    pub forwardings: Vec<PortForwarding>,
}

/// What setting a public IP needs: to be the project's administrator (K70, K117), unless the operator lets members.
pub(crate) fn setting(cx: &Context) -> Action {
    if cx.settings.network.members_set_public_ips {
        FLOATING_IPS_WRITE_AS_MEMBER
    } else {
        FLOATING_IPS_WRITE
    }
}

/// Makes floating IPs, all or none.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    new: Vec<NewFloatingIp>,
) -> Result<Vec<Shown>, Failure> {
    let mut tx = cx.store.write().await?;
    let (mut made, mut units) = (Vec::new(), BTreeSet::new());
    for new in new {
        let floating = insert(cx, actor, &mut tx, new, false).await?;
        units.extend(router_of(&floating));
        made.push(floating);
    }
    let units: Vec<_> = units.into_iter().collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    show_all(&mut cx.store.read().await?, made).await
}

pub(crate) fn router_of(floating: &FloatingIp) -> Option<Unit> {
    floating.target.map(|target| Unit::Router(target.router_id))
}

async fn insert(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    new: NewFloatingIp,
    ephemeral: bool,
) -> Result<FloatingIp, Failure> {
    let NewFloatingIp {
        project_id,
        description,
        network_id,
        subnet_id,
        address,
        port_id,
        fixed_address,
        tags,
    } = new;
    let project = owner(cx, actor, project_id, setting(cx))?;
    let network = access::get::<Network>(cx, actor, tx, network_id).await?;
    if !network.external {
        return Err(bad_request(
            "floatingip",
            format_args!("Network {network_id} is not a valid external network"),
        )
        .into());
    }
    if address.is_some() {
        let target = Target::project(&network.standard.project_id);
        cx.policy.check(actor, FLOATING_IPS_CHOOSE, &target)?;
    }
    quota::check(tx, cx, &project, quota::FLOATING_IP, 1).await?;
    let id = FloatingIpId::random();
    let (holder, held) = hold(cx, tx, &network, id, subnet_id, address).await?;
    let mut floating = FloatingIp {
        id,
        standard: Standard {
            tags,
            ..Standard::new(project, String::new(), description, cx.now())
        },
        network_id,
        subnet_id: held.subnet_id,
        address: held.ip_address,
        holder_id: holder,
        target: None,
        dns_name: String::new(),
        dns_domain: String::new(),
        qos_policy_id: None,
        ephemeral,
    };
    record::insert(tx, &floating).await?;
    log(cx, tx, &actor.origin(), &floating, HELD, "it was asked for").await?;
    match port_id {
        Some(port) => target::lead(cx, actor, tx, &mut floating, port, fixed_address).await?,
        None => check_alone(fixed_address)?,
    }
    Ok(floating)
}

/// Takes a public IP for an instance's port that lasts until the instance stops (K69), of the external network that
/// the port reaches. The caller notes its router.
pub(crate) async fn insert_ephemeral(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    port: &Port,
    inside: FixedIp,
) -> Result<FloatingIp, Failure> {
    let (_, network_id) = target::way_out(tx, port, inside, |_| true)
        .await?
        .ok_or_else(|| {
            Refusal::conflict(format!(
                "No external network is reachable from subnet {}, so port {} cannot have a public IP: join the subnet \
                 to a router that has a gateway.",
                inside.subnet_id, port.id
            ))
        })?;
    let new = NewFloatingIp {
        project_id: Some(port.standard.project_id.clone()),
        description: String::new(),
        network_id,
        subnet_id: None,
        address: None,
        port_id: Some(port.id),
        fixed_address: Some(inside.ip_address),
        tags: BTreeSet::new(),
    };
    insert(cx, actor, tx, new, true).await
}

/// Whether a port's address reaches an external network: this one, or any.
pub(crate) async fn is_reachable(
    tx: &mut Tx,
    port: &Port,
    inside: FixedIp,
    outside: Option<NetworkId>,
) -> Result<bool, Failure> {
    let will_do = |network| outside.is_none_or(|outside| network == outside);
    let found = target::way_out(tx, port, inside, will_do).await?;
    Ok(found.is_some())
}

/// Has a floating IP that leads nowhere lead to a port, in a transaction that does more. The caller notes its router.
pub(crate) async fn lead(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    id: FloatingIpId,
    port: PortId,
    address: IpAddr,
) -> Result<FloatingIp, Failure> {
    let mut floating = lock_for::<FloatingIp>(cx, actor, tx, id, setting(cx)).await?;
    if let Some(target) = floating.target {
        return Err(Refusal::conflict(format!(
            "Floating IP {} ({id}) leads to port {}: detach it first.",
            floating.address, target.port_id
        ))
        .into());
    }
    floating.standard.touch(cx.now());
    target::lead(cx, actor, tx, &mut floating, port, Some(address)).await?;
    Ok(floating)
}

/// An ephemeral floating IP ends where it began: it neither moves to another port nor waits for one (K69).
fn check_stays(floating: &FloatingIp, port_id: Option<Option<PortId>>) -> Result<(), Refusal> {
    let own = floating.target.map(|target| target.port_id);
    match port_id {
        Some(asked) if floating.ephemeral && asked != own => Err(Refusal::conflict(format!(
            "Floating IP {} ({}) is ephemeral: it leads to its server until that stops, is shelved or deleted. Delete \
             it, or use a static one, which can be moved.",
            floating.address, floating.id
        ))),
        _ => Ok(()),
    }
}

fn check_alone(fixed_address: Option<IpAddr>) -> Result<(), Refusal> {
    match fixed_address {
        None => Ok(()),
        Some(_) => Err(bad_request(
            "floatingip",
            "fixed_ip_address cannot be specified without a port_id",
        )),
    }
}

/// Takes an address of the external network: the one asked for, or one of the subnet, or of any that has one left.
async fn hold(
    cx: &Arc<Context>,
    tx: &mut Tx,
    network: &Network,
    id: FloatingIpId,
    subnet_id: Option<SubnetId>,
    ip_address: Option<IpAddr>,
) -> Result<(PortId, FixedIp), Failure> {
    if let Some(address) = ip_address.filter(IpAddr::is_ipv6) {
        return Err(bad_request(
            "floatingip",
            format_args!("floating_ip_address {address} is not of IPv4"),
        )
        .into());
    }
    let subnets = subnet::of_network(tx, network.id).await?;
    let is_ipv6 = |subnet: &subnet::Subnet| subnet.cidr.addr().is_ipv6();
    let asked = subnets.iter().find(|subnet| Some(subnet.id) == subnet_id);
    if subnets.iter().all(is_ipv6) || asked.is_some_and(is_ipv6) {
        return Err(bad_request(
            "floatingip",
            format_args!("Network {} does not contain any IPv4 subnet", network.id),
        )
        .into());
    }
    let subnet_id = match (subnet_id, ip_address) {
        (None, None) => {
            let found = ipam::ipv4_subnet_with_room(tx, network.id, OWNER).await?;
            Some(found.ok_or_else(|| exhausted(network.id))?)
        }
        (asked, _) => asked,
    };
    let new = NewPort {
        device_id: id.to_string(),
        device_owner: OWNER.to_owned(),
        addresses: Some(vec![Wanted {
            subnet_id,
            ip_address,
        }]),
        ..NewPort::on(network.id)
    };
    // The port is the operator's: no project has it.
    let port = port::insert(cx, tx, network, ProjectId::from(""), new).await?;
    let held = port.addresses.first().copied();
    Ok((port.id, held.ok_or_else(|| exhausted(network.id))?))
}

fn exhausted(network: NetworkId) -> Refusal {
    Refusal::invalid(format!(
        "Unable to find any IP address on external network {network}."
    ))
    .named("ExternalIpAddressExhausted")
}

async fn log(
    cx: &Context,
    tx: &mut Tx,
    origin: &Origin,
    floating: &FloatingIp,
    to: &str,
    why: &str,
) -> Result<(), Failure> {
    let now = cx.now();
    let is_new = to == HELD;
    let lasted = now.since(floating.standard.created_at);
    let transition = Transition {
        id: TransitionId::next(),
        at: now,
        subject_kind: SUBJECT.to_owned(),
        subject_id: floating.id.to_string(),
        project_id: Some(floating.standard.project_id.clone()),
        from: (!is_new).then(|| HELD.to_owned()),
        to: to.to_owned(),
        why: why.to_owned(),
        origin: origin.clone(),
        lasted_micros: if is_new { 0 } else { lasted.as_micros() as i64 },
    };
    Ok(transitions::append(tx, &transition).await?)
}

async fn show_all(tx: &mut Tx, all: Vec<FloatingIp>) -> Result<Vec<Shown>, Failure> {
    let targets = all.iter().filter_map(|floating| floating.target);
    let ids: Vec<_> = targets.map(|target| target.port_id.to_string()).collect();
    let ports: Vec<Port> = Query::new().any_of("id", ids).all(tx).await?;
    let ids: Vec<_> = all.iter().map(|floating| floating.id.to_string()).collect();
    let forwardings = port_forwarding::of_floating_ips(tx, ids).await?;
    let shown = all.into_iter().map(|floating| Shown {
        port: floating.target.and_then(|target| {
            let port = ports.iter().find(|port| port.id == target.port_id);
            port.cloned()
        }),
        forwardings: forwardings
            .iter()
            .filter(|forwarding| forwarding.floating_ip_id == floating.id)
            .cloned()
            .collect(),
        floating,
    });
    Ok(shown.collect())
}

/// The floating IPs that the actor sees.
pub async fn list(cx: &Context, actor: &Actor, narrow: Narrow) -> Result<Vec<Shown>, Failure> {
    let mut tx = cx.store.read().await?;
    let found = visible::<FloatingIp>(cx, actor, &mut tx, narrow).await?;
    show_all(&mut tx, found).await
}

pub async fn show(cx: &Context, actor: &Actor, id: FloatingIpId) -> Result<Shown, Failure> {
    let mut tx = cx.store.read().await?;
    let floating = access::get::<FloatingIp>(cx, actor, &mut tx, id).await?;
    let mut shown = show_all(&mut tx, vec![floating]).await?;
    Ok(shown
        .pop()
        .ok_or_else(|| access::missing::<FloatingIp>(id))?)
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: FloatingIpId,
    change: FloatingIpChange,
) -> Result<Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut floating = lock_for::<FloatingIp>(cx, actor, &mut tx, id, setting(cx)).await?;
    let FloatingIpChange {
        description,
        port_id,
        fixed_address,
    } = change;
    check_stays(&floating, port_id)?;
    let standard = &mut floating.standard;
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    floating.standard.touch(cx.now());
    let mut units: BTreeSet<_> = router_of(&floating).into_iter().collect();
    match port_id {
        Some(Some(port)) => {
            target::lead(cx, actor, &mut tx, &mut floating, port, fixed_address).await?;
        }
        other => {
            check_alone(fixed_address)?;
            if other.is_some() {
                floating.target = None;
            }
            record::update(&mut tx, &floating).await?;
        }
    }
    units.extend(router_of(&floating));
    let units: Vec<_> = units.into_iter().collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    show(cx, actor, id).await
}

/// Gives a floating IP back, unless some of its ports are forwarded.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: FloatingIpId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let floating = lock_for::<FloatingIp>(cx, actor, &mut tx, id, setting(cx)).await?;
    target::check_no_forwarding(&mut tx, &floating).await?;
    let origin = actor.origin();
    release(cx, &mut tx, &origin, &floating, "it was given back").await?;
    let units: Vec<_> = router_of(&floating).into_iter().collect();
    commit(tx, cx, &origin, &units).await
}

/// Takes a floating IP away with the port that holds its address. The caller notes its router.
pub(crate) async fn release(
    cx: &Context,
    tx: &mut Tx,
    origin: &Origin,
    floating: &FloatingIp,
    why: &str,
) -> Result<(), Failure> {
    log(cx, tx, origin, floating, RELEASED, why).await?;
    record::delete::<FloatingIp>(tx, floating.id).await?;
    record::delete::<Port>(tx, floating.holder_id).await?;
    Ok(())
}

/// A port now has these addresses alone: what led to others of it ends. An ephemeral floating IP goes, a static one
/// stays with its project (K69). Says which units changed.
pub(crate) async fn follow(
    cx: &Context,
    tx: &mut Tx,
    port: PortId,
    held: &[FixedIp],
) -> Result<Vec<Unit>, Failure> {
    let has = |address: IpAddr| held.iter().any(|fixed| fixed.ip_address == address);
    let mut units = Vec::new();
    for mut floating in floating_ip::of_port(tx, port).await? {
        if floating.target.is_some_and(|target| has(target.address)) {
            continue;
        }
        units.extend(router_of(&floating));
        if floating.ephemeral {
            let why = format!("the address of port {port} that it led to is gone");
            release(cx, tx, &Origin::system(), &floating, &why).await?;
        } else {
            floating.target = None;
            floating.standard.touch(cx.now());
            record::update(tx, &floating).await?;
        }
    }
    for forwarding in port_forwarding::of_port(tx, port).await? {
        if !has(forwarding.internal_address) {
            units.push(Unit::Router(forwarding.router_id));
            record::delete::<PortForwarding>(tx, forwarding.id).await?;
        }
    }
    Ok(units)
}
