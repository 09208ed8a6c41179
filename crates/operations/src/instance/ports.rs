//! The ports of an instance's cards, in the transactions of its operations: made, joined to its host, taken away.
//!
//! A port of the instance's own is made under the id that was chosen with its card, so a step that runs again finds it.
//! A port that was given is the instance's from the moment of acceptance, and is given back with nothing of it left.
//! Everything here may be repeated.

use crate::context::Context;
use crate::instance::metadata::Card;
use crate::network::port::{self as rules, NewPort};
use crate::network::{self, ipam::Wanted, port_check, quota};
use crate::quota::check_fixed_ips;
use corten_model::ids::PortId;
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::instances::{Instance, Nic};
use corten_store::network::floating_ip;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::security_group::SecurityGroup;
use corten_store::network::subnet;
use corten_store::network::trunk::Trunk;
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What ports of an instance are called as devices: `compute:ZONE`.
fn device_owner(cx: &Context, instance: &Instance) -> String {
    let zone = instance.intent.availability_zone.as_ref();
    let zone = zone.unwrap_or(&cx.settings.compute.default_availability_zone);
    format!("compute:{zone}")
}

/// The port of a card, if it is there and the instance's still.
pub async fn of_card(tx: &mut Tx, instance: &Instance, nic: &Nic) -> Result<Option<Port>, Failure> {
    let port = record::get::<Port>(tx, nic.port_id).await?;
    Ok(port.filter(|port| port.device_id == instance.id.to_string()))
}

/// The same, to be changed in this transaction: nobody else changes it meanwhile.
async fn lock_of_card(
    tx: &mut Tx,
    instance: &Instance,
    nic: &Nic,
) -> Result<Option<Port>, Failure> {
    let port = record::lock::<Port>(tx, nic.port_id).await?;
    Ok(port.filter(|port| port.device_id == instance.id.to_string()))
}

/// The instance's cards with all that their guest is told of them, in order.
pub async fn cards(tx: &mut Tx, instance: &Instance) -> Result<Vec<Card>, Failure> {
    let mut cards = Vec::new();
    for nic in &instance.intent.nics {
        let Some(port) = of_card(tx, instance, nic).await? else {
            continue;
        };
        let Some(network) = record::get::<Network>(tx, port.network_id).await? else {
            continue;
        };
        let subnets = subnet::of_network(tx, port.network_id).await?;
        let public = floating_ip::of_port(tx, port.id).await?;
        cards.push(Card {
            tag: nic.tag.clone(),
            port,
            network,
            subnets,
            public_ip: public.first().map(|public| public.address),
        });
    }
    Ok(cards)
}

/// The networks that the instance is joined to, as the fabric is told of them.
pub fn units(instance: &Instance) -> Vec<Unit> {
    let networks: BTreeSet<_> = instance
        .intent
        .nics
        .iter()
        .map(|nic| Unit::Network(nic.network_id))
        .collect();
    networks.into_iter().collect()
}

/// Takes a given port for an instance that was just accepted.
pub async fn take(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    nic: &Nic,
) -> Result<(), Failure> {
    if nic.own {
        return Ok(());
    }
    let Some(mut port) = record::lock::<Port>(tx, nic.port_id).await? else {
        return Ok(());
    };
    if port.device_id == instance.id.to_string() {
        return Ok(());
    }
    if !port.device_id.is_empty() {
        let text = format!("Port {} is still in use.", port.id);
        return Err(Refusal::conflict(text).into());
    }
    port.device_id = instance.id.to_string();
    port.device_owner = device_owner(cx, instance);
    if port.dns_name.is_empty() {
        port.dns_name = dns_name(instance);
    }
    port.standard.touch(cx.now());
    record::update(tx, &port).await?;
    check_fixed_ips(tx, cx, &instance.project_id).await?;
    network::note(tx, cx, &Origin::system(), &[Unit::Network(port.network_id)]).await
}

/// The name by which the guest is known in its networks; none if its host name cannot be one.
fn dns_name(instance: &Instance) -> String {
    let name = &instance.intent.hostname;
    match port_check::dns_name(name) {
        Ok(()) => name.clone(),
        Err(_) => String::new(),
    }
}

/// Gives the guest another host name, and with it the ports that were called by the one before. The caller writes the
/// instance.
pub async fn rename(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &mut Instance,
    hostname: String,
    origin: &Origin,
) -> Result<(), Failure> {
    let before = dns_name(instance);
    instance.intent.hostname = hostname;
    let name = dns_name(instance);
    let mut changed = BTreeSet::new();
    for nic in &instance.intent.nics {
        let Some(mut port) = lock_of_card(tx, instance, nic).await? else {
            continue;
        };
        if port.dns_name == before && before != name {
            name.clone_into(&mut port.dns_name);
            port.standard.touch(cx.now());
            record::update(tx, &port).await?;
            changed.insert(Unit::Network(port.network_id));
        }
    }
    let changed: Vec<_> = changed.into_iter().collect();
    network::note(tx, cx, origin, &changed).await
}

/// Makes the port of a card, unless it is there.
pub async fn make(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    nic: &Nic,
) -> Result<(), Failure> {
    if !nic.own || record::get::<Port>(tx, nic.port_id).await?.is_some() {
        return Ok(());
    }
    let network: Network = record::get(tx, nic.network_id).await?.ok_or_else(|| {
        Refusal::not_found(format!("Network {} could not be found.", nic.network_id))
    })?;
    for group in &nic.security_groups {
        if record::get::<SecurityGroup>(tx, group).await?.is_none() {
            return Err(Refusal::no_such("Security group", group).into());
        }
    }
    quota::check(tx, cx, &instance.project_id, quota::PORT, 1).await?;
    let groups = nic.security_groups.clone();
    let new = NewPort {
        id: Some(nic.port_id),
        addresses: nic.fixed_ip.map(|ip| {
            vec![Wanted {
                subnet_id: None,
                ip_address: Some(ip),
            }]
        }),
        device_id: instance.id.to_string(),
        device_owner: device_owner(cx, instance),
        security_groups: (!groups.is_empty()).then_some(groups),
        dns_name: dns_name(instance),
        ..NewPort::on(network.id)
    };
    rules::insert(cx, tx, &network, instance.project_id.clone(), new).await?;
    check_fixed_ips(tx, cx, &instance.project_id).await
}

/// Makes the ports that are not there yet, and joins all of them to the instance's host (K9).
pub async fn make_and_join(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    origin: &Origin,
) -> Result<(), Failure> {
    for nic in &instance.intent.nics {
        make(tx, cx, instance, nic).await?;
    }
    join(tx, cx, instance, origin).await
}

/// Joins the ports that there are to the instance's host.
pub async fn join(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    origin: &Origin,
) -> Result<(), Failure> {
    let host = instance.host_name.clone().unwrap_or_default();
    bind(tx, cx, instance, origin, &host).await
}

/// The instance leaves its host: its ports stay, on none.
pub async fn leave(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    origin: &Origin,
) -> Result<(), Failure> {
    bind(tx, cx, instance, origin, "").await
}

async fn bind(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    origin: &Origin,
    host: &str,
) -> Result<(), Failure> {
    let mut changed = BTreeSet::new();
    for nic in &instance.intent.nics {
        let Some(mut port) = lock_of_card(tx, instance, nic).await? else {
            continue;
        };
        changed.insert(Unit::Network(port.network_id));
        if port.binding.host != host {
            host.clone_into(&mut port.binding.host);
            record::update(tx, &port).await?;
        }
    }
    let changed: Vec<_> = changed.into_iter().collect();
    network::note(tx, cx, origin, &changed).await
}

/// The instance ends: its own ports go, those that were given are given back, and so do its ephemeral public IPs.
pub async fn release(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    origin: &Origin,
) -> Result<(), Failure> {
    release_public(tx, cx, instance, origin).await?;
    for nic in &instance.intent.nics {
        release_one(tx, cx, instance, nic, origin).await?;
    }
    Ok(())
}

/// A card is taken away: its own port goes, one that was given is given back.
pub async fn release_one(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    nic: &Nic,
    origin: &Origin,
) -> Result<(), Failure> {
    let Some(port) = lock_of_card(tx, instance, nic).await? else {
        return Ok(());
    };
    let why = "the card that it led to was taken away";
    let mut units = release_ephemeral(tx, cx, port.id, origin, why).await?;
    units.extend(if nic.own && !carries_trunk(tx, port.id).await? {
        rules::remove(cx, tx, &port).await?
    } else {
        give_back(tx, cx, instance, port).await?
    });
    network::note(tx, cx, origin, &units).await
}

/// A trunk's parent goes with its trunk only.
async fn carries_trunk(tx: &mut Tx, port: PortId) -> Result<bool, Failure> {
    let trunk: Option<Trunk> = Query::new().equals("port_id", &port).first(tx).await?;
    Ok(trunk.is_some())
}

async fn give_back(
    tx: &mut Tx,
    cx: &Context,
    instance: &Instance,
    mut port: Port,
) -> Result<Vec<Unit>, Failure> {
    port.device_id.clear();
    port.device_owner.clear();
    port.binding.host.clear();
    if port.dns_name == instance.intent.hostname {
        port.dns_name.clear();
    }
    port.standard.touch(cx.now());
    record::update(tx, &port).await?;
    Ok(vec![Unit::Network(port.network_id)])
}

/// Releases the public IPs that last until the instance stops, is shelved or deleted (K69).
pub async fn release_public(
    tx: &mut Tx,
    cx: &Arc<Context>,
    instance: &Instance,
    origin: &Origin,
) -> Result<(), Failure> {
    let why = "its instance stopped, was shelved or deleted";
    let mut changed = BTreeSet::new();
    for nic in &instance.intent.nics {
        if lock_of_card(tx, instance, nic).await?.is_some() {
            changed.extend(release_ephemeral(tx, cx, nic.port_id, origin, why).await?);
        }
    }
    let changed: Vec<_> = changed.into_iter().collect();
    network::note(tx, cx, origin, &changed).await
}

/// Gives the ephemeral public IPs back that lead to a port. Says which units changed.
async fn release_ephemeral(
    tx: &mut Tx,
    cx: &Context,
    port: PortId,
    origin: &Origin,
    why: &str,
) -> Result<Vec<Unit>, Failure> {
    let leading = floating_ip::of_port(tx, port).await?;
    let mut units = Vec::new();
    for floating in leading.iter().filter(|floating| floating.ephemeral) {
        units.extend(network::floating_ip::router_of(floating));
        network::floating_ip::release(cx, tx, origin, floating, why).await?;
    }
    Ok(units)
}
