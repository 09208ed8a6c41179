//! Port forwardings: one port of a floating IP that leads to one port of a guest.

use super::access::{self, lock_for};
use super::floating_ip::setting;
use super::floating_ip_target as target;
use super::{bad_request, commit};
use crate::context::Context;
use corten_iam::actor::Actor;
use corten_model::ids::{FloatingIpId, PortForwardingId, PortId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::floating_ip::{self, FloatingIp};
use corten_store::network::port_forwarding::{self, PortForwarding};
use corten_store::{Error, Failure, Tx, record};
use std::net::IpAddr;
use std::sync::Arc;

/// What can be forwarded.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

#[derive(Debug, Clone)]
pub struct NewPortForwarding {
    pub description: String,
    pub protocol: String,
    pub external_port: u16,
    pub internal_port: u16,
    pub port_id: PortId,
    /// Of the port, which has one of IPv4 if none is named.
    pub internal_address: Option<IpAddr>,
}

#[derive(Debug, Clone, Default)]
pub struct PortForwardingChange {
    pub description: Option<String>,
    pub protocol: Option<String>,
    pub external_port: Option<u16>,
    pub internal_port: Option<u16>,
    pub port_id: Option<PortId>,
    pub internal_address: Option<IpAddr>,
}

/// Forwards a port of a floating IP that leads nowhere as a whole.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    floating: FloatingIpId,
    new: NewPortForwarding,
) -> Result<PortForwarding, Failure> {
    let mut tx = cx.store.write().await?;
    let floating = lock_for::<FloatingIp>(cx, actor, &mut tx, floating, setting(cx)).await?;
    let NewPortForwarding {
        description,
        protocol,
        external_port,
        internal_port,
        port_id,
        internal_address,
    } = new;
    if let Some(target) = floating.target {
        return Err(target::taken(&floating, target.port_id, target.address).into());
    }
    let project = floating.standard.project_id.clone();
    let mut forwarding = PortForwarding {
        id: PortForwardingId::random(),
        standard: Standard::new(project, String::new(), description, cx.now()),
        floating_ip_id: floating.id,
        protocol,
        external_port,
        internal_port,
        port_id,
        internal_address: floating.address,
        router_id: corten_model::ids::RouterId::random(),
    };
    lead(
        cx,
        actor,
        &mut tx,
        &floating,
        &mut forwarding,
        internal_address,
    )
    .await?;
    record::insert(&mut tx, &forwarding)
        .await
        .map_err(|error| taken(error, &forwarding))?;
    let units = [Unit::Router(forwarding.router_id)];
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(forwarding)
}

/// Finds the address inside and the way to it.
async fn lead(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    floating: &FloatingIp,
    forwarding: &mut PortForwarding,
    address: Option<IpAddr>,
) -> Result<(), Failure> {
    let protocol = forwarding.protocol.to_ascii_lowercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        return Err(Refusal::invalid(format!(
            "Invalid input for protocol. Reason: '{protocol}' is not in {}.",
            PROTOCOLS.join(", ")
        ))
        .into());
    }
    forwarding.protocol = protocol;
    let port = target::reachable(cx, actor, tx, floating, forwarding.port_id).await?;
    let inside = target::inside(&port, address)?;
    let bound = floating_ip::of_port(tx, port.id).await?;
    let leads_there = |other: &&FloatingIp| {
        let target = other.target;
        target.is_some_and(|target| target.address == inside.ip_address)
    };
    if let Some(other) = bound.iter().find(leads_there) {
        return Err(Refusal::conflict(format!(
            "Cannot create port forwarding to floating IP {} ({}) with port {} using fixed IP {}, as that port already \
             has a binding floating IP.",
            other.address, other.id, port.id, inside.ip_address
        ))
        .named("PortHasBindingFloatingIP")
        .into());
    }
    let router = target::router_to(tx, &port, inside, floating.network_id).await?;
    let others = port_forwarding::of_floating_ip(tx, floating.id).await?;
    let is_elsewhere =
        |other: &&PortForwarding| other.id != forwarding.id && other.router_id != router;
    if let Some(other) = others.iter().find(is_elsewhere) {
        return Err(bad_request(
            "port_forwarding",
            format_args!(
                "Floating IP {} is forwarded by router {}; port {} is behind router {router}",
                floating.id, other.router_id, port.id
            ),
        )
        .into());
    }
    forwarding.internal_address = inside.ip_address;
    forwarding.router_id = router;
    Ok(())
}

fn taken(error: Error, forwarding: &PortForwarding) -> Failure {
    match error {
        Error::Exists { .. } => bad_request(
            "port_forwarding",
            format_args!(
                "A duplicate port forwarding entry with same attributes already exists, conflicting values are among \
                 protocol {}, external_port {} and {}:{}",
                forwarding.protocol,
                forwarding.external_port,
                forwarding.internal_address,
                forwarding.internal_port
            ),
        )
        .into(),
        other => other.into(),
    }
}

/// What is forwarded of a floating IP that the actor sees.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    floating: FloatingIpId,
) -> Result<Vec<PortForwarding>, Failure> {
    let mut tx = cx.store.read().await?;
    access::get::<FloatingIp>(cx, actor, &mut tx, floating).await?;
    Ok(port_forwarding::of_floating_ip(&mut tx, floating).await?)
}

pub async fn show(
    cx: &Context,
    actor: &Actor,
    floating: FloatingIpId,
    id: PortForwardingId,
) -> Result<PortForwarding, Failure> {
    let mut tx = cx.store.read().await?;
    access::get::<FloatingIp>(cx, actor, &mut tx, floating).await?;
    of(&mut tx, floating, id).await
}

async fn of(
    tx: &mut Tx,
    floating: FloatingIpId,
    id: PortForwardingId,
) -> Result<PortForwarding, Failure> {
    let found: Option<PortForwarding> = record::get(tx, id).await?;
    let found = found.filter(|forwarding| forwarding.floating_ip_id == floating);
    Ok(found.ok_or_else(|| access::missing::<PortForwarding>(id))?)
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    floating: FloatingIpId,
    id: PortForwardingId,
    change: PortForwardingChange,
) -> Result<PortForwarding, Failure> {
    let mut tx = cx.store.write().await?;
    let floating = lock_for::<FloatingIp>(cx, actor, &mut tx, floating, setting(cx)).await?;
    let mut forwarding = of(&mut tx, floating.id, id).await?;
    let before = Unit::Router(forwarding.router_id);
    let PortForwardingChange {
        description,
        protocol,
        external_port,
        internal_port,
        port_id,
        internal_address,
    } = change;
    let is_same_port = port_id.is_none_or(|port| port == forwarding.port_id);
    let address = internal_address.or(is_same_port.then_some(forwarding.internal_address));
    let standard = &mut forwarding.standard;
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    standard.touch(cx.now());
    forwarding.protocol = protocol.unwrap_or(std::mem::take(&mut forwarding.protocol));
    forwarding.external_port = external_port.unwrap_or(forwarding.external_port);
    forwarding.internal_port = internal_port.unwrap_or(forwarding.internal_port);
    forwarding.port_id = port_id.unwrap_or(forwarding.port_id);
    lead(cx, actor, &mut tx, &floating, &mut forwarding, address).await?;
    record::update(&mut tx, &forwarding)
        .await
        .map_err(|error| taken(error, &forwarding))?;
    let mut units = vec![before, Unit::Router(forwarding.router_id)];
    units.dedup();
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(forwarding)
}

pub async fn delete(
    cx: &Arc<Context>,
    actor: &Actor,
    floating: FloatingIpId,
    id: PortForwardingId,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let floating = lock_for::<FloatingIp>(cx, actor, &mut tx, floating, setting(cx)).await?;
    let forwarding = of(&mut tx, floating.id, id).await?;
    record::delete::<PortForwarding>(&mut tx, id).await?;
    let units = [Unit::Router(forwarding.router_id)];
    commit(tx, cx, &actor.origin(), &units).await
}
