//! The network cards of an instance that is there: attached, detached, shown; and what their ports hold (security
//! groups, fixed addresses).

use super::capability::{self, CABLING, ENFORCER};
use super::command::{self, Accepted, accept};
use super::networks::{self, Asked, Asker, Networks, rule};
use super::{ports, query};
use crate::attach_interface::{self, AttachInterface};
use crate::context::Context;
use crate::detach_interface::{self, DetachInterface};
use crate::network::{commit, floating_ip, ipam};
use crate::quota::check_fixed_ips;
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::{InstanceId, NetworkId, PortId};
use corten_model::lifecycle::Command;
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;

use corten_store::instances::{self, Instance, Nic};
use corten_store::network::port::{self, Port};
use corten_store::network::subnet;
use corten_store::{Failure, Tx, WakeUp, operations};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;

/// The listeners of this place are told when a card was attached or detached, or could not be.
pub const SETTLED: &str = "instance/interface";

/// How long an attach is waited for; it goes on without a listener.
const PATIENCE: Duration = Duration::from_secs(10);

/// A card with its port.
#[derive(Debug, Clone)]
pub struct Interface {
    pub nic: Nic,
    pub port: Port,
}

/// The cards of an instance, in order.
pub async fn list(cx: &Context, actor: &Actor, id: InstanceId) -> Result<Vec<Interface>, Failure> {
    let instance = query::show(cx, actor, id).await?;
    interfaces(&mut cx.store.read().await?, &instance).await
}

async fn interfaces(tx: &mut Tx, instance: &Instance) -> Result<Vec<Interface>, Failure> {
    let mut found = Vec::new();
    for nic in &instance.intent.nics {
        if let Some(port) = ports::of_card(tx, instance, nic).await? {
            let nic = nic.clone();
            found.push(Interface { nic, port });
        }
    }
    Ok(found)
}

/// The 404 of a port that no card of the instance is joined to.
fn no_such_port(port: impl std::fmt::Display) -> Refusal {
    Refusal::not_found(format!("Port id {port} could not be found."))
}

pub async fn show(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    port: PortId,
) -> Result<Interface, Failure> {
    let found = list(cx, actor, id).await?.into_iter();
    let mut found = found.filter(|interface| interface.port.id == port);
    Ok(found.next().ok_or_else(|| no_such_port(port))?)
}

/// Gives the guest another card, and answers when it has it.
pub async fn attach(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    asked: Asked,
) -> Result<Interface, Failure> {
    let wake_ups = cx.store.wake_ups();
    let port = accept_attach(cx, actor, id, asked).await?;
    settled(cx, wake_ups, id).await?;
    match show(cx, actor, id, port).await {
        Err(Failure::Refused(_)) => Err(Refusal::unavailable(format!(
            "Failed to attach network adapter device to {id}: the list of the server's actions says why."
        ))
        .into()),
        shown => shown,
    }
}

/// Accepts another card. Its port is there at once; the guest has it when the operation ends.
pub async fn accept_attach(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    asked: Asked,
) -> Result<PortId, Failure> {
    let command = Command::AttachInterface;
    let mut accepted = accept(cx, actor, id, command, compute::SERVERS_WRITE).await?;
    let Accepted { tx, instance, .. } = &mut accepted;
    let host = host_of(instance)?;
    let nic = card(cx, actor, tx, instance, asked)
        .await
        .map_err(wrong_attach)?;
    ports::take(tx, cx, instance, &nic).await?;
    ports::make(tx, cx, instance, &nic)
        .await
        .map_err(wrong_attach)?;
    instance.intent.nics.push(nic.clone());
    ports::join(tx, cx, instance, &actor.origin()).await?;
    instances::update(tx, instance, cx.now()).await?;
    let input = attach_interface::Input {
        instance_id: id,
        port_id: nic.port_id,
    };
    let first = (super::work::at(host), attach_interface::Step::Plug { host });
    let workflow = AttachInterface(cx.clone());
    command::go(cx, actor, accepted, &workflow, first, input).await?;
    Ok(nic.port_id)
}

fn host_of(instance: &Instance) -> Result<corten_model::ids::HostId, Refusal> {
    let no_host = || Refusal::conflict(format!("Instance {} is on no host.", instance.id));
    instance.host_id.ok_or_else(no_host)
}

async fn card(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    instance: &Instance,
    asked: Asked,
) -> Result<Nic, Failure> {
    let project = &instance.project_id;
    let asker = Asker { cx, actor, project };
    let networks = Networks::These(vec![asked]);
    let mut cards = asker.cards(tx, &networks, &BTreeSet::new()).await?;
    if asker.room(tx, &cards).await? == Some(0) {
        return Err(networks::too_many_ports().into());
    }
    let card = cards.pop().ok_or_else(|| no_such_port(""))?;
    networks::check_apart(&instance.intent.nics, &card)?;
    Ok(card)
}

/// The 400s of an attach that are 409s elsewhere.
fn wrong_attach(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(refusal)
            if [Some(rule::AMBIGUOUS), Some("IpAddressGenerationFailure")]
                .contains(&refusal.name) =>
        {
            Refusal::invalid(refusal.message).into()
        }
        other => other,
    }
}

/// Waits until nothing works on the instance any more, or for as long as a caller would.
async fn settled(
    cx: &Context,
    mut wake_ups: Receiver<WakeUp>,
    id: InstanceId,
) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut tx = cx.store.read().await?;
        let running = operations::running_on(&mut tx, instances::SUBJECT, &id.to_string()).await?;
        drop(tx);
        if running.is_none() {
            return Ok(());
        }
        loop {
            match tokio::time::timeout_at(deadline, wake_ups.recv()).await {
                Err(_) => return Ok(()),
                Ok(Ok(wake_up)) if wake_up.place != SETTLED => {}
                Ok(_) => break,
            }
        }
    }
}

/// Takes a card away.
pub async fn detach(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    port: PortId,
) -> Result<(), Failure> {
    let command = Command::DetachInterface;
    let accepted = accept(cx, actor, id, command, compute::SERVERS_WRITE).await?;
    let mut nics = accepted.instance.intent.nics.iter();
    if !nics.any(|nic| nic.port_id == port) {
        return Err(no_such_port(port).into());
    }
    let host = host_of(&accepted.instance)?;
    let input = detach_interface::Input {
        instance_id: id,
        port_id: port,
    };
    let first = (
        super::work::at(host),
        detach_interface::Step::Unplug { host },
    );
    let workflow = DetachInterface(cx.clone());
    command::go(cx, actor, accepted, &workflow, first, input).await
}

/// Puts the ports of an instance into a security group, or takes them out.
pub async fn set_group(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    group: &str,
    member: bool,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let instance = query::lock(cx, &mut tx, actor, id, compute::SERVERS_WRITE).await?;
    let word = match member {
        true => "addSecurityGroup",
        false => "removeSecurityGroup",
    };
    capability::refuse(&instance, word, ENFORCER)?;
    let project = &instance.project_id;
    let group = Asker { cx, actor, project }.group(&mut tx, group).await?;
    let found = interfaces(&mut tx, &instance).await?;
    let guarded = found.into_iter().filter(|found| found.port.port_security);
    let mut ports: Vec<Port> = guarded.map(|found| found.port).collect();
    if member && ports.is_empty() {
        return Err(Refusal::invalid(
            "Network requires port_security_enabled and subnet associated in order to apply security groups: the \
             server has no port that a group could guard.",
        )
        .into());
    }
    if !member
        && !ports
            .iter()
            .any(|port| port.security_groups.contains(&group))
    {
        return Err(Refusal::invalid(format!(
            "Security group {group} is not associated with the instance {id}."
        ))
        .into());
    }
    ports.retain(|port| port.security_groups.contains(&group) != member);
    let mut units = BTreeSet::new();
    for mut port in ports {
        if member {
            port.security_groups.insert(group);
        } else {
            port.security_groups.remove(&group);
        }
        port.standard.touch(cx.now());
        port::update(&mut tx, &port).await?;
        units.insert(Unit::Network(port.network_id));
    }
    let units: Vec<_> = units.into_iter().collect();
    commit(tx, cx, &actor.origin(), &units).await
}

/// Gives the instance's port on this network another address.
pub async fn add_address(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    network: NetworkId,
) -> Result<(), Failure> {
    let (mut tx, found) = open(cx, actor, id, "addFixedIp").await?;
    let mut ports = found.into_iter().map(|found| found.port);
    let port = ports.find(|port| port.network_id == network);
    let mut port = port.ok_or_else(|| {
        Refusal::invalid(format!(
            "Instance {id} has no port on network {network}: attach an interface."
        ))
    })?;
    if port.addresses.len() >= ipam::ADDRESSES_MAX {
        return Err(Refusal::invalid(format!(
            "Exceeded maximum amount of fixed ips per port: at most {} are given.",
            ipam::ADDRESSES_MAX
        ))
        .into());
    }
    for subnet in subnet::of_network(&mut tx, network).await? {
        if !subnet.is_autoconfigured()
            && let Some(fixed) = ipam::next_free(&mut tx, &port, &subnet).await?
        {
            port.addresses.push(fixed);
            return written(cx, actor, tx, port).await;
        }
    }
    Err(Refusal::invalid(format!(
        "No fixed IP addresses available for network: {network}."
    ))
    .into())
}

/// Takes an address from the instance.
pub async fn remove_address(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    address: IpAddr,
) -> Result<(), Failure> {
    let (mut tx, found) = open(cx, actor, id, "removeFixedIp").await?;
    for Interface { mut port, .. } in found {
        let held = port.addresses.iter().copied();
        if let Some(fixed) = held.clone().find(|fixed| fixed.ip_address == address) {
            port::release(&mut tx, fixed).await?;
            port.addresses = held.filter(|held| *held != fixed).collect();
            return written(cx, actor, tx, port).await;
        }
    }
    Err(Refusal::invalid(format!(
        "Fixed IP address {address} could not be found on instance {id}."
    ))
    .into())
}

async fn open(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    word: &str,
) -> Result<(Tx, Vec<Interface>), Failure> {
    let mut tx = cx.store.write().await?;
    let instance = query::lock(cx, &mut tx, actor, id, compute::SERVERS_WRITE).await?;
    command::refuse_if_locked(cx, actor, &instance)?;
    capability::refuse(&instance, word, CABLING)?;
    let found = interfaces(&mut tx, &instance).await?;
    Ok((tx, found))
}

async fn written(
    cx: &Arc<Context>,
    actor: &Actor,
    mut tx: Tx,
    mut port: Port,
) -> Result<(), Failure> {
    port.standard.touch(cx.now());
    port::update(&mut tx, &port).await?;
    check_fixed_ips(&mut tx, cx, &port.standard.project_id).await?;
    let mut units = vec![Unit::Network(port.network_id)];
    // A public IP does not lead to an address that the port gave back.
    units.extend(floating_ip::follow(cx, &mut tx, port.id, &port.addresses).await?);
    units.sort_unstable();
    units.dedup();
    commit(tx, cx, &actor.origin(), &units).await
}
