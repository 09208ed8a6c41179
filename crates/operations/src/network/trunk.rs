//! Trunks: several networks for one guest over one NIC. A sub-port belongs to one trunk.

use super::access::{self, Narrow, list as visible, lock, owner};
use super::{commit, invalid_input, quota};
use crate::context::Context;
use corten_iam::action::network::TRUNKS_WRITE;
use corten_iam::actor::Actor;
use corten_model::ids::{PortId, ProjectId, TrunkId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::trunk::{self, SUB_PORT_OWNER, SubPort, Trunk};
use corten_store::{Error, Failure, Query, Tx, record};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct NewTrunk {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub port_id: PortId,
    pub sub_ports: Vec<SubPort>,
    pub tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
pub struct TrunkChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
}

/// A trunk with what follows from its ports.
#[derive(Debug, Clone)]
pub struct Shown {
    pub trunk: Trunk,
    pub status: &'static str,
}

pub async fn create(cx: &Arc<Context>, actor: &Actor, new: NewTrunk) -> Result<Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let NewTrunk {
        project_id,
        name,
        description,
        enabled,
        port_id,
        sub_ports,
        tags,
    } = new;
    let project = owner(cx, actor, project_id, TRUNKS_WRITE)?;
    quota::check(&mut tx, cx, &project, quota::TRUNK, 1).await?;
    let parent = lock::<Port>(cx, actor, &mut tx, port_id).await?;
    if parent.device_owner == SUB_PORT_OWNER {
        return Err(is_sub_port(&mut tx, parent.id).await?.into());
    }
    let mut trunk = Trunk {
        id: TrunkId::random(),
        standard: Standard {
            tags,
            ..Standard::new(project, name, description, cx.now())
        },
        enabled,
        port_id,
        sub_ports: Vec::new(),
    };
    record::insert(&mut tx, &trunk)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => Refusal::conflict(format!(
                "Port {port_id} is currently in use and is not eligible for use as a parent port: it has a trunk."
            ))
            .named("ParentPortInUse")
            .into(),
            other => Failure::from(other),
        })?;
    let mut units = vec![Unit::Network(parent.network_id)];
    units.extend(take(cx, actor, &mut tx, &mut trunk, sub_ports).await?);
    record::update(&mut tx, &trunk).await?;
    finish(cx, actor, tx, trunk, units).await
}

pub(super) async fn is_sub_port(tx: &mut Tx, port: PortId) -> Result<Refusal, Failure> {
    let trunk = trunk::of_sub_port(tx, port).await?;
    let trunk = trunk.map_or_else(|| "another".to_owned(), |trunk| trunk.id.to_string());
    Ok(Refusal::conflict(format!(
        "Port {port} is currently a subport for trunk {trunk}."
    ))
    .named("PortInUseAsSubPort"))
}

/// Makes ports sub-ports of a trunk, and says which units of the fabric changed. The trunk's row is the caller's.
async fn take(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    trunk: &mut Trunk,
    more: Vec<SubPort>,
) -> Result<Vec<Unit>, Failure> {
    let parent = access::get::<Port>(cx, actor, tx, trunk.port_id).await?;
    let widest = network_of(tx, &parent).await?.mtu;
    let mut units = Vec::new();
    for sub in more {
        check_vlan(trunk, &sub)?;
        let mut port = lock::<Port>(cx, actor, tx, sub.port_id).await?;
        check_free(tx, trunk, &port).await?;
        let network = network_of(tx, &port).await?;
        if network.mtu > widest {
            return Err(Refusal::conflict(format!(
                "MTU {} of subport {} cannot be greater than MTU {widest} of the trunk's port {}.",
                network.mtu, port.id, parent.id
            ))
            .named("SubPortMtuGreaterThanTrunkPortMtu")
            .into());
        }
        port.device_owner = SUB_PORT_OWNER.to_owned();
        port.standard.touch(cx.now());
        record::update(tx, &port).await?;
        units.push(Unit::Network(port.network_id));
        trunk.sub_ports.push(sub);
    }
    Ok(units)
}

async fn network_of(tx: &mut Tx, port: &Port) -> Result<Network, Failure> {
    let found: Option<Network> = record::get(tx, port.network_id).await?;
    Ok(found.ok_or_else(|| access::missing::<Network>(port.network_id))?)
}

fn check_vlan(trunk: &Trunk, sub: &SubPort) -> Result<(), Refusal> {
    if !(1..=4094).contains(&sub.vlan) {
        return Err(invalid_input(format!(
            "Invalid segmentation_id '{}' for subport {}: a VLAN's is 1 to 4094",
            sub.vlan, sub.port_id
        )));
    }
    if trunk.sub_ports.iter().any(|other| other.vlan == sub.vlan) {
        return Err(Refusal::conflict(format!(
            "segmentation_type vlan and segmentation_id {} already in use on trunk {}.",
            sub.vlan, trunk.id
        ))
        .named("DuplicateSubPort"));
    }
    Ok(())
}

/// A sub-port is no other trunk's, no parent, and plugged into nothing of its own.
async fn check_free(tx: &mut Tx, trunk: &Trunk, port: &Port) -> Result<(), Failure> {
    if port.device_owner == SUB_PORT_OWNER {
        return Err(is_sub_port(tx, port.id).await?.into());
    }
    if port.id == trunk.port_id || trunk::of_parent(tx, port.id).await?.is_some() {
        return Err(Refusal::conflict(format!(
            "Port {} is currently a parent port for a trunk.",
            port.id
        ))
        .named("PortInUseAsTrunkParent")
        .into());
    }
    if !port.device_id.is_empty() {
        return Err(Refusal::conflict(format!(
            "Unable to complete operation on port {} for network {}. Port already has an attached device {}.",
            port.id, port.network_id, port.device_id
        ))
        .named("PortInUse")
        .into());
    }
    Ok(())
}

/// Lets sub-ports of a trunk go, and says which units of the fabric changed. The trunk's row is the caller's.
async fn let_go(
    cx: &Context,
    tx: &mut Tx,
    trunk: &mut Trunk,
    gone: &[PortId],
) -> Result<Vec<Unit>, Failure> {
    let mut units = Vec::new();
    for id in gone {
        if !trunk.sub_ports.iter().any(|sub| sub.port_id == *id) {
            return Err(Refusal::not_found(format!(
                "SubPort on trunk {} with parent port {} and id {id} could not be found.",
                trunk.id, trunk.port_id
            ))
            .named("SubPortNotFound")
            .into());
        }
        trunk.sub_ports.retain(|sub| sub.port_id != *id);
        if let Some(mut port) = record::lock::<Port>(tx, id).await? {
            port.device_owner.clear();
            port.standard.touch(cx.now());
            record::update(tx, &port).await?;
            units.push(Unit::Network(port.network_id));
        }
    }
    Ok(units)
}

async fn finish(
    cx: &Arc<Context>,
    actor: &Actor,
    tx: Tx,
    trunk: Trunk,
    mut units: Vec<Unit>,
) -> Result<Shown, Failure> {
    units.sort_unstable();
    units.dedup();
    commit(tx, cx, &actor.origin(), &units).await?;
    let mut tx = cx.store.read().await?;
    let mut shown = show_all(&mut tx, vec![trunk]).await?;
    Ok(shown
        .pop()
        .ok_or_else(|| Refusal::not_found("The trunk is gone."))?)
}

async fn show_all(tx: &mut Tx, trunks: Vec<Trunk>) -> Result<Vec<Shown>, Failure> {
    let ids = trunks.iter().flat_map(|trunk| {
        let subs = trunk.sub_ports.iter().map(|sub| sub.port_id);
        subs.chain([trunk.port_id]).map(|id| id.to_string())
    });
    let ports: Vec<Port> = Query::new().any_of("id", ids).all(tx).await?;
    let up: BTreeMap<PortId, bool> = ports
        .iter()
        .map(|port| (port.id, port.up && port.enabled))
        .collect();
    let shown = trunks.into_iter().map(|trunk| Shown {
        status: status(&trunk, &up),
        trunk,
    });
    Ok(shown.collect())
}

/// In Neutron's words: it carries all, some or none of its networks.
fn status(trunk: &Trunk, up: &BTreeMap<PortId, bool>) -> &'static str {
    let is_up = |id: PortId| up.get(&id).copied().unwrap_or(false);
    if !trunk.enabled || !is_up(trunk.port_id) {
        return "DOWN";
    }
    if trunk.sub_ports.iter().all(|sub| is_up(sub.port_id)) {
        "ACTIVE"
    } else {
        "DEGRADED"
    }
}

/// The trunks that the actor sees.
pub async fn list(cx: &Context, actor: &Actor, narrow: Narrow) -> Result<Vec<Shown>, Failure> {
    let mut tx = cx.store.read().await?;
    let found = visible(cx, actor, &mut tx, narrow).await?;
    show_all(&mut tx, found).await
}

pub async fn show(cx: &Context, actor: &Actor, id: TrunkId) -> Result<Shown, Failure> {
    let mut tx = cx.store.read().await?;
    let trunk = access::get::<Trunk>(cx, actor, &mut tx, id).await?;
    let mut shown = show_all(&mut tx, vec![trunk]).await?;
    Ok(shown.pop().ok_or_else(|| access::missing::<Trunk>(id))?)
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: TrunkId,
    change: TrunkChange,
) -> Result<Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut trunk = lock::<Trunk>(cx, actor, &mut tx, id).await?;
    let TrunkChange {
        name,
        description,
        enabled,
    } = change;
    let standard = &mut trunk.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    trunk.enabled = enabled.unwrap_or(trunk.enabled);
    trunk.standard.touch(cx.now());
    record::update(&mut tx, &trunk).await?;
    let units = units_of(&mut tx, &trunk).await?;
    finish(cx, actor, tx, trunk, units).await
}

/// The networks of its sub-ports.
async fn units_of(tx: &mut Tx, trunk: &Trunk) -> Result<Vec<Unit>, Failure> {
    let ids = trunk.sub_ports.iter().map(|sub| sub.port_id.to_string());
    let ports: Vec<Port> = Query::new().any_of("id", ids).all(tx).await?;
    Ok(ports
        .iter()
        .map(|port| Unit::Network(port.network_id))
        .collect())
}

async fn lock_enabled(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    id: TrunkId,
) -> Result<Trunk, Failure> {
    let trunk = lock::<Trunk>(cx, actor, tx, id).await?;
    if trunk.enabled {
        return Ok(trunk);
    }
    Err(Refusal::conflict(format!(
        "Trunk {id} is currently disabled: enable it first."
    ))
    .named("TrunkDisabled")
    .into())
}

pub async fn add_sub_ports(
    cx: &Arc<Context>,
    actor: &Actor,
    id: TrunkId,
    more: Vec<SubPort>,
) -> Result<Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut trunk = lock_enabled(cx, actor, &mut tx, id).await?;
    let units = take(cx, actor, &mut tx, &mut trunk, more).await?;
    trunk.standard.touch(cx.now());
    record::update(&mut tx, &trunk).await?;
    finish(cx, actor, tx, trunk, units).await
}

pub async fn remove_sub_ports(
    cx: &Arc<Context>,
    actor: &Actor,
    id: TrunkId,
    gone: Vec<PortId>,
) -> Result<Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut trunk = lock_enabled(cx, actor, &mut tx, id).await?;
    let units = let_go(cx, &mut tx, &mut trunk, &gone).await?;
    trunk.standard.touch(cx.now());
    record::update(&mut tx, &trunk).await?;
    finish(cx, actor, tx, trunk, units).await
}

/// Removes a trunk; its ports stay.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: TrunkId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut trunk = lock_enabled(cx, actor, &mut tx, id).await?;
    let all: Vec<PortId> = trunk.sub_ports.iter().map(|sub| sub.port_id).collect();
    let mut units = let_go(cx, &mut tx, &mut trunk, &all).await?;
    record::delete::<Trunk>(&mut tx, id).await?;
    units.sort_unstable();
    units.dedup();
    commit(tx, cx, &actor.origin(), &units).await
}

/// The trunks that these ports are the parents of, each with the MAC addresses of its sub-ports.
pub async fn of_ports(
    cx: &Context,
    ports: &[Port],
) -> Result<BTreeMap<PortId, (Trunk, BTreeMap<PortId, String>)>, Failure> {
    let mut tx = cx.store.read().await?;
    let ids = ports.iter().map(|port| port.id.to_string());
    let trunks: Vec<Trunk> = Query::new().any_of("port_id", ids).all(&mut tx).await?;
    let mut found = BTreeMap::new();
    for trunk in trunks {
        let ids = trunk.sub_ports.iter().map(|sub| sub.port_id.to_string());
        let subs: Vec<Port> = Query::new().any_of("id", ids).all(&mut tx).await?;
        let macs = subs.into_iter().map(|port| (port.id, port.mac_address));
        found.insert(trunk.port_id, (trunk, macs.collect()));
    }
    Ok(found)
}
