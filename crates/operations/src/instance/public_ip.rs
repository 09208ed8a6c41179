//! Public IPs of an instance: given at its create or later, taken away, shown (K140).
//!
//! There are two kinds (K69). A static one is the project's: it leads to an instance or to nothing, and moves by detach
//! and attach (K143). An ephemeral one is taken for one instance and given back when that stops, is shelved or deleted
//! (K141); an instance that starts again has none until it is given another. Both cost while they are held (K144).

use super::capability::{self, CABLING};
use super::command::refuse_if_locked;
use super::{interface, ports, query};
use crate::context::Context;
use crate::network::floating_ip::{self, FloatingIpChange, Shown};
use crate::network::{Narrow, commit};
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{FloatingIpId, InstanceId, PortId};
use corten_model::lifecycle::VmState;
use corten_model::refusal::{Reason, Refusal};
use corten_network::plan::Unit;
use corten_store::instances::Instance;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::port::{FixedIp, Port};
use corten_store::{Failure, Query, Tx, record};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The public IP that is wanted for an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// One from the pool, until the instance stops, is shelved or deleted.
    Ephemeral,
    /// One that the project holds and that leads nowhere.
    Static(FloatingIpId),
}

/// Has a public IP lead to the first card from which the outside is reached; the ports are there. Says which units
/// changed.
pub(super) async fn give(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: &mut Tx,
    instance: &Instance,
    wanted: Wanted,
) -> Result<(FloatingIp, Vec<Unit>), Failure> {
    permit(cx, actor, instance)?;
    let (port, inside) = end_of(tx, instance, wanted).await?;
    let floating = match wanted {
        Wanted::Ephemeral => floating_ip::insert_ephemeral(cx, actor, tx, &port, inside).await?,
        Wanted::Static(id) => {
            floating_ip::lead(cx, actor, tx, id, port.id, inside.ip_address).await?
        }
    };
    let units = floating_ip::router_of(&floating).into_iter().collect();
    Ok((floating, units))
}

/// Setting a public IP takes more than changing the instance (K70).
fn permit(cx: &Context, actor: &Actor, instance: &Instance) -> Result<(), Refusal> {
    let target = Target::project(&instance.project_id);
    cx.policy.check(actor, floating_ip::setting(cx), &target)
}

/// The port and the address that a public IP is to lead to: where none can, the first, of which the refusal tells.
async fn end_of(
    tx: &mut Tx,
    instance: &Instance,
    wanted: Wanted,
) -> Result<(Port, FixedIp), Failure> {
    let outside = match wanted {
        Wanted::Ephemeral => None,
        Wanted::Static(id) => record::get::<FloatingIp>(tx, id)
            .await?
            .map(|floating| floating.network_id),
    };
    let mut first = None;
    for nic in &instance.intent.nics {
        let port = ports::of_card(tx, instance, nic).await?;
        let Some((port, inside)) = port.and_then(addressed) else {
            continue;
        };
        if floating_ip::is_reachable(tx, &port, inside, outside).await? {
            return Ok((port, inside));
        }
        first = first.or(Some((port, inside)));
    }
    Ok(first.ok_or_else(|| {
        Refusal::conflict(format!(
            "Instance {} has no address of IPv4 that a public IP could lead to.",
            instance.id
        ))
    })?)
}

/// A port with its first address of IPv4.
fn addressed(port: Port) -> Option<(Port, FixedIp)> {
    let mut addresses = port.addresses.iter();
    let inside = addresses.find(|fixed| fixed.ip_address.is_ipv4()).copied();
    inside.map(|inside| (port, inside))
}

/// Gives an instance that runs a public IP.
pub async fn attach(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    wanted: Wanted,
) -> Result<FloatingIp, Failure> {
    let mut tx = cx.store.write().await?;
    let instance = query::lock(cx, &mut tx, actor, id, compute::SERVERS_WRITE).await?;
    refuse_if_locked(cx, actor, &instance)?;
    capability::refuse_field(&instance, "a public IP", CABLING)?;
    if wanted == Wanted::Ephemeral {
        check_runs(&instance)?;
    }
    let (floating, units) = give(cx, actor, &mut tx, &instance, wanted).await?;
    commit(tx, cx, &actor.origin(), &units).await?;
    Ok(floating)
}

/// What ends with a stop cannot begin while the instance is stopped, or about to be.
fn check_runs(instance: &Instance) -> Result<(), Refusal> {
    let state = instance.state;
    let runs = matches!(
        state.vm,
        VmState::Active | VmState::Paused | VmState::Suspended | VmState::Rescued
    );
    if runs && state.task.is_none() {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "Instance {} is {}: an ephemeral public IP lasts while an instance runs. Start the instance first, or attach a \
         static one.",
        instance.id,
        state.display(instance.class).as_str()
    )))
}

/// Takes a public IP from an instance: an ephemeral one is given back, a static one stays with its project.
pub async fn detach(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    address: IpAddr,
) -> Result<(), Failure> {
    let instance = query::show(cx, actor, id).await?;
    query::permit(cx, actor, &instance, compute::SERVERS_WRITE)?;
    permit(cx, actor, &instance)?;
    refuse_if_locked(cx, actor, &instance)?;
    let led = of(cx, &[instance]).await?.remove(&id).unwrap_or_default();
    let found = led.iter().find(|floating| floating.address == address);
    let floating = found.ok_or_else(|| {
        Refusal::not_found(format!(
            "Public IP {address} does not lead to instance {id}."
        ))
    })?;
    end(cx, actor, floating).await
}

/// A floating IP leads to its instance no longer.
async fn end(cx: &Arc<Context>, actor: &Actor, floating: &FloatingIp) -> Result<(), Failure> {
    if floating.ephemeral {
        return floating_ip::delete(cx, actor, floating.id).await;
    }
    let change = FloatingIpChange {
        port_id: Some(None),
        ..FloatingIpChange::default()
    };
    floating_ip::update(cx, actor, floating.id, change).await?;
    Ok(())
}

/// The public IPs that lead to each of these instances, in the order of their addresses.
pub async fn of(
    cx: &Context,
    instances: &[Instance],
) -> Result<HashMap<InstanceId, Vec<FloatingIp>>, Failure> {
    let nics = instances.iter().flat_map(|one| &one.intent.nics);
    let ids: BTreeSet<String> = nics.map(|nic| nic.port_id.to_string()).collect();
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let mut tx = cx.store.read().await?;
    let mut leading: Vec<FloatingIp> = Query::new().any_of("port_id", ids).all(&mut tx).await?;
    leading.sort_by_key(|floating| floating.address);
    let targets = leading.iter().filter_map(|floating| floating.target);
    let targets: BTreeSet<_> = targets.map(|target| target.port_id.to_string()).collect();
    let ports: Vec<Port> = Query::new().any_of("id", targets).all(&mut tx).await?;
    let devices: HashMap<PortId, InstanceId> = ports
        .iter()
        .filter_map(|port| Some((port.id, port.device_id.parse().ok()?)))
        .collect();
    for floating in leading {
        let device = floating.target.and_then(|to| devices.get(&to.port_id));
        if let Some(device) = device {
            found.entry(*device).or_default().push(floating);
        }
    }
    Ok(found)
}

/// The floating IP with this address, if the actor sees it.
async fn find(cx: &Context, actor: &Actor, address: IpAddr) -> Result<Shown, Failure> {
    let narrow = Narrow(vec![("address", vec![address.to_string()])]);
    let mut found = floating_ip::list(cx, actor, narrow).await?;
    Ok(found
        .pop()
        .ok_or_else(|| Refusal::not_found(format!("floating IP not found: {address}")))?)
}

/// Has a floating IP lead to an instance, as the compute API of old does it: to this address of it, or to its first of
/// IPv4, wherever it led before.
pub async fn lead(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    address: IpAddr,
    fixed: Option<IpAddr>,
) -> Result<(), Failure> {
    let instance = query::show(cx, actor, id).await?;
    query::permit(cx, actor, &instance, compute::SERVERS_WRITE)?;
    capability::refuse(&instance, "addFloatingIp", CABLING)?;
    let found = find(cx, actor, address).await?;
    let interfaces = interface::list(cx, actor, id).await?;
    let addressed = |port: &Port| -> Option<IpAddr> {
        let mut own = port.addresses.iter().map(|fixed| fixed.ip_address);
        own.find(|ip| fixed.map_or(ip.is_ipv4(), |fixed| *ip == fixed))
    };
    let target = interfaces
        .iter()
        .find_map(|interface| Some((interface.port.id, addressed(&interface.port)?)));
    let Some((port, fixed)) = target else {
        return Err(Refusal::invalid(match fixed {
            Some(fixed) => {
                format!("Specified fixed address {fixed} not assigned to instance {id}.")
            }
            None => format!("No fixed IPs associated to instance {id}."),
        })
        .into());
    };
    let change = FloatingIpChange {
        port_id: Some(Some(port)),
        fixed_address: Some(fixed),
        ..FloatingIpChange::default()
    };
    let led = floating_ip::update(cx, actor, found.floating.id, change).await;
    led.map_err(|failure| match failure {
        // An address that another public IP leads to is a wrong request to Nova.
        Failure::Refused(refusal) if refusal.reason == Reason::Conflict => {
            Refusal::invalid(refusal.message).into()
        }
        other => other,
    })?;
    Ok(())
}

/// Has a floating IP lead to an instance no longer, as the compute API of old does it.
pub async fn part(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    address: IpAddr,
) -> Result<(), Failure> {
    let instance = query::show(cx, actor, id).await?;
    query::permit(cx, actor, &instance, compute::SERVERS_WRITE)?;
    capability::refuse(&instance, "removeFloatingIp", CABLING)?;
    let found = find(cx, actor, address).await?;
    let leads_here = |port: &Port| port.device_id == id.to_string();
    if !found.port.as_ref().is_some_and(leads_here) {
        return Err(Refusal::conflict(format!(
            "Floating IP {address} is not associated with instance {id}."
        ))
        .into());
    }
    end(cx, actor, &found.floating).await
}
