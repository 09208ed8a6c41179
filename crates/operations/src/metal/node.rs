//! Nodes: enrolling one, lists, changes of its record, and removing it.

use super::access::{self, Ident, Narrow, Page, SortBy};
use super::conductor::Assignment;
use super::watch::POWER_FAILURE;
use super::{at_rest, discovery, driver, firmware_steps, machine, node_rules, rotate_key, steps};
use crate::context::Context;
use crate::metal_instance::ready;
use corten_bmc::{Health, Order, Progress, Task};
use corten_iam::action::baremetal::{
    NODES_CREATE, NODES_DELETE, NODES_OPERATE, NODES_READ, NODES_WRITE,
};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{NodeId, ProjectId};
use corten_model::lifecycle::node::ProvisionState;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::metal::allocation::NodeAllocation;
use corten_store::metal::lease::MetalLease;
use corten_store::metal::node::{Inspection, Node, POWER_SUBJECT, Power, Provision, SUBJECT};
use corten_store::metal::port::NodePort;
use corten_store::metal::port_group::PortGroup;
use corten_store::metal::vault_keys::{self, VaultKeys};
use corten_store::metal::volume_connector::VolumeConnector;
use corten_store::metal::volume_target::VolumeTarget;
use corten_store::metal::{Object, Standard};
use corten_store::operations::{self, Filter};
use corten_store::transitions::{self, Transition};
use corten_store::{Error, Failure, Query, Tx, record};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A node as a request describes it, with what is secret in clear: JSON by place.
pub struct Edit {
    pub node: Node,
    /// `None` takes a secret away.
    pub secrets: BTreeMap<String, Option<String>>,
}

/// Which fields a change is about, as far as different people may change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// `extra`, `instance_info` and `maintenance`: a lessee's manager may change them too.
    Operate,
    /// Anything.
    Write,
}

/// What nodes can be sorted by and is in no row, as places of [`SortBy::Place`].
pub const CONDUCTOR: &str = "/conductor";
pub const RESERVATION: &str = "/reservation";
pub const HEALTH: &str = "/health";

/// A node with what is known of it besides its row.
pub struct Shown {
    pub node: Node,
    /// Something works on it.
    pub locked: bool,
    /// The worst that its sensors told last; `None` if this process has read none.
    pub health: Option<Health>,
}

/// A node that holds nothing yet.
pub fn blank(id: NodeId, driver: &driver::Driver, now: Timestamp) -> Node {
    Node {
        id,
        name: None,
        driver: driver.name.to_owned(),
        interfaces: driver.defaults(),
        driver_info: Object::new(),
        secrets: BTreeMap::new(),
        driver_internal_info: Object::new(),
        properties: Object::new(),
        instance_info: Object::new(),
        network_data: Object::new(),
        traits: BTreeSet::new(),
        resource_class: None,
        conductor_group: String::new(),
        owner: None,
        lessee: None,
        shard: None,
        description: None,
        chassis_id: None,
        parent_id: None,
        instance_id: None,
        instance_name: None,
        allocation_id: None,
        automated_clean: None,
        disable_power_off: false,
        protected: false,
        protected_reason: None,
        retired: false,
        retired_reason: None,
        maintenance: false,
        maintenance_reason: None,
        fault: None,
        last_error: None,
        provision: Provision {
            state: ProvisionState::Enroll,
            target: None,
            since: now,
            moved: false,
        },
        power: Power::default(),
        console_enabled: false,
        boot_mode: None,
        secure_boot: None,
        raid_config: Object::new(),
        target_raid_config: Object::new(),
        steps: Vec::new(),
        inspection: Inspection::default(),
        bios: Vec::new(),
        firmware: Vec::new(),
        flashes: Vec::new(),
        wiped: None,
        agent: None,
        boot: None,
        failures: 0,
        found_off: false,
        image_written: false,
        image_unfit: false,
        standard: Standard::new(Object::new(), now),
    }
}

/// Whether an actor may enrol nodes, for themselves or for this owner.
pub fn may_create(cx: &Context, actor: &Actor, owner: Option<&str>) -> Result<(), Refusal> {
    let target = owner.map_or_else(Target::cloud, |owner| {
        Target::project(&ProjectId::from(owner))
    });
    cx.policy.check(actor, NODES_CREATE, &target)
}

/// Enrols a node. `ready`: it begins as available, as the API had it before 1.11.
pub async fn create(cx: &Context, actor: &Actor, edit: Edit, ready: bool) -> Result<Node, Failure> {
    let Edit { mut node, secrets } = edit;
    may_create(cx, actor, node.owner.as_deref())?;
    let keys = record::get::<VaultKeys>(&mut cx.store.read().await?, vault_keys::ID).await?;
    let key = keys.and_then(|keys| keys.primary);
    seal(cx, key.as_deref(), &mut node, secrets)?;
    node_rules::check_new(cx, &node)?;
    access::check_reserved(node.name.as_deref())?;
    // The wipe comes before the row: a node is never seen available without its proof.
    let wipe = if ready {
        Some(prove_blank(cx, actor, &node).await?)
    } else {
        None
    };
    let mut tx = cx.store.write().await?;
    rotate_key::settle(&mut tx, &cx.metal.vault, &mut node).await?;
    node_rules::check_references(&mut tx, &node).await?;
    check_taken(&mut tx, &node).await?;
    if let Some(wipe) = &wipe {
        record::insert(&mut tx, wipe).await?;
        node.wiped = Some(wipe.id);
        let why = "a simulated server is blank";
        node.enter(
            &mut tx,
            ProvisionState::Available,
            why,
            &actor.origin(),
            cx.now(),
        )
        .await?;
        node.provision.moved = false;
    }
    match record::insert(&mut tx, &node).await {
        Ok(()) => {}
        Err(Error::Exists { .. }) => {
            return Err(Refusal::conflict(format!(
                "A node with UUID {}, or with its name or instance, already exists.",
                node.id
            ))
            .into());
        }
        Err(error) => return Err(error.into()),
    }
    tx.commit().await?;
    Ok(node)
}

/// Has a server that is new be blank, with the proof.
async fn prove_blank(
    cx: &Context,
    actor: &Actor,
    node: &Node,
) -> Result<corten_store::metal::wipe::Wipe, Failure> {
    let machine = machine::open(cx, node)?;
    let Some(inside) = machine.inside else {
        return Err(Refusal::invalid(format!(
            "Before API version 1.11 a new node begins as available, and no server with the driver {} is available before \
             a wipe is on record. Ask with version 1.11 or later, then manage and provide it.",
            node.driver
        ))
        .into());
    };
    let order = Order {
        mark: "a new node is blank".to_owned(),
        epoch: 0,
        task: Task::Erase,
    };
    let disks = match inside.work(&order).await.map_err(machine::unanswered)? {
        Progress::Done(report) => report.wiped,
        Progress::Running { .. } => Vec::new(),
    };
    Ok(steps::proof(node.id, disks, cx.now(), actor.origin()))
}

async fn check_taken(tx: &mut Tx, node: &Node) -> Result<(), Failure> {
    if let Some(name) = &node.name {
        let other: Option<Node> = Query::new()
            .equals("name", name.as_str())
            .differs("id", &node.id)
            .first(tx)
            .await?;
        if let Some(other) = other {
            return Err(Refusal::conflict(format!(
                "A node with name {name} already exists: {}.",
                other.id
            ))
            .into());
        }
    }
    if let Some(instance) = node.instance_id {
        let other: Option<Node> = Query::new()
            .equals("instance_id", &instance)
            .differs("id", &node.id)
            .first(tx)
            .await?;
        if let Some(other) = other {
            return Err(Refusal::conflict(format!(
                "Instance {instance} is already associated with node {}, it cannot be associated with this other node {}.",
                other.id, node.id
            ))
            .into());
        }
    }
    Ok(())
}

fn seal(
    cx: &Context,
    key: Option<&str>,
    node: &mut Node,
    secrets: BTreeMap<String, Option<String>>,
) -> Result<(), Failure> {
    for (place, secret) in secrets {
        match secret {
            None => {
                node.secrets.remove(&place);
            }
            Some(secret) => {
                let sealed = cx
                    .metal
                    .vault
                    .seal(key, node.id, &place, &secret)
                    .map_err(|error| Failure::outside("sealing a secret", error))?;
                node.secrets.insert(place, sealed);
            }
        }
    }
    Ok(())
}

/// The ids of the nodes that something works on.
pub(super) async fn running(tx: &mut Tx) -> Result<BTreeSet<String>, Failure> {
    let filter = Filter {
        running: true,
        ..Filter::default()
    };
    let all = operations::list(tx, filter).await?;
    Ok(all
        .into_iter()
        .filter(|operation| operation.subject_kind == SUBJECT)
        .map(|operation| operation.subject_id)
        .collect())
}

/// The nodes that the actor sees of what the request narrowed the list to.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    query: Query<Node>,
    narrow: Narrow,
    page: &Page,
) -> Result<Vec<Shown>, Failure> {
    let query = access::own_nodes(cx, actor, query)?;
    let conductors = Assignment::read(cx).await?;
    let mut tx = cx.store.read().await?;
    let running = running(&mut tx).await?;
    let is_locked = |node: &Node| running.contains(&node.id.to_string());
    let conductor = |node: &Node| Value::from(conductors.of(node.id));
    let found = match page.sort {
        Some(SortBy::Place(CONDUCTOR)) => {
            access::page_by(&mut tx, query, narrow, page, conductor).await?
        }
        Some(SortBy::Place(RESERVATION)) => {
            let holder = |node: &Node| {
                let holder = conductors.of(node.id);
                Value::from(holder.filter(|_| is_locked(node)))
            };
            access::page_by(&mut tx, query, narrow, page, holder).await?
        }
        Some(SortBy::Place(HEALTH)) => {
            // By how bad it is, not by the word.
            let worst = |node: &Node| {
                let health = cx.metal.readings.health(node.id);
                Value::from(health.map(|health| health as u8))
            };
            access::page_by(&mut tx, query, narrow, page, worst).await?
        }
        _ => access::page(&mut tx, query, narrow, page).await?,
    };
    Ok(found
        .into_iter()
        .map(|node| Shown {
            locked: is_locked(&node),
            health: cx.metal.readings.health(node.id),
            node,
        })
        .collect())
}

/// The nodes whose parts the actor may list, by id.
pub async fn names(
    cx: &Context,
    ids: impl IntoIterator<Item = NodeId>,
) -> Result<BTreeMap<NodeId, Node>, Failure> {
    access::nodes_by_id(&mut cx.store.read().await?, ids).await
}

pub async fn show(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Shown, Failure> {
    let mut tx = cx.store.read().await?;
    let node = access::node(cx, actor, &mut tx, ident, NODES_READ).await?;
    let running = operations::running_on(&mut tx, SUBJECT, &node.id.to_string()).await?;
    Ok(Shown {
        locked: running.is_some(),
        health: cx.metal.readings.health(node.id),
        node,
    })
}

/// Changes the record of a node. `edit` gets it as it is and returns it as it should be.
pub async fn update(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    reach: Reach,
    edit: impl FnOnce(&Node) -> Result<Edit, Refusal> + Send,
) -> Result<Node, Failure> {
    let found = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    permit(cx, actor, &found, ident, reach)?;
    at_rest(cx, found.id).await?;
    let mut tx = cx.store.write().await?;
    let named = access::get::<Node>(&mut tx, ident).await?;
    let before = record::lock::<Node>(&mut tx, named.id)
        .await?
        .ok_or_else(|| access::missing::<Node>(&ident.text))?;
    permit(cx, actor, &before, ident, reach)?;
    let Edit { mut node, secrets } = edit(&before)?;
    if !secrets.is_empty() {
        let key = rotate_key::sealing_key(&mut tx).await?;
        seal(cx, key.as_deref(), &mut node, secrets)?;
    }
    node_rules::check_change(cx, &before, &mut node)?;
    if node.instance_id != before.instance_id {
        ready::check_unowned(&mut tx, &before, "change of its instance_uuid").await?;
    }
    if node.name != before.name {
        access::check_reserved(node.name.as_deref())?;
    }
    node_rules::check_references(&mut tx, &node).await?;
    check_taken(&mut tx, &node).await?;
    if before.shard != node.shard {
        let ports: Vec<NodePort> = Query::new()
            .equals("node_id", &node.id)
            .all(&mut tx)
            .await?;
        for mut port in ports {
            port.shard.clone_from(&node.shard);
            record::update(&mut tx, &port).await?;
        }
    }
    node.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &node).await?;
    discovery::take_up(&mut tx, node.id).await?;
    super::tell_watch(&mut tx, node.id);
    tx.commit().await?;
    Ok(node)
}

fn permit(
    cx: &Context,
    actor: &Actor,
    node: &Node,
    ident: &Ident,
    reach: Reach,
) -> Result<(), Refusal> {
    match reach {
        Reach::Operate => access::check_operate(cx, actor, node, ident, NODES_OPERATE),
        Reach::Write => access::check(cx, actor, node, ident, NODES_WRITE),
    }
}

/// Puts a node into maintenance, or takes it out.
pub async fn maintain(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    maintenance: bool,
    reason: Option<String>,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut node = access::lock_node_to_operate(cx, actor, &mut tx, ident, NODES_OPERATE).await?;
    node.maintenance = maintenance;
    node.maintenance_reason = reason;
    // Maintenance that a person asks for does not end by itself, as that of a silent BMC does.
    if !maintenance || node.fault.as_deref() == Some(POWER_FAILURE) {
        node.fault = None;
    }
    node.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &node).await?;
    discovery::take_up(&mut tx, node.id).await?;
    super::tell_watch(&mut tx, node.id);
    tx.commit().await?;
    Ok(())
}

/// Removes a node's record with everything that belongs to it. The proofs of its wipes stay.
pub async fn delete(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let found = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    access::check(cx, actor, &found, ident, NODES_DELETE)?;
    firmware_steps::check_quiet(&found, cx.now(), "removal")?;
    at_rest(cx, found.id).await?;
    let mut tx = cx.store.write().await?;
    let node = access::lock_node(cx, actor, &mut tx, ident, NODES_DELETE).await?;
    if let Some(running) = operations::running_on(&mut tx, SUBJECT, &node.id.to_string()).await? {
        return Err(super::locked(cx, node.id, &running).into());
    }
    ready::check_unowned(&mut tx, &node, "removal").await?;
    node_rules::check_removal(&node)?;
    let children: Vec<Node> = Query::new()
        .equals("parent_id", &node.id)
        .all(&mut tx)
        .await?;
    if let Some(child) = children.first() {
        return Err(Refusal::conflict(format!(
            "Node {} is the parent of node {}: remove that first.",
            node.id, child.id
        ))
        .into());
    }
    let id = &node.id;
    Query::<NodePort>::new()
        .equals("node_id", id)
        .delete(&mut tx)
        .await?;
    Query::<PortGroup>::new()
        .equals("node_id", id)
        .delete(&mut tx)
        .await?;
    Query::<MetalLease>::new()
        .equals("node_id", id)
        .delete(&mut tx)
        .await?;
    Query::<VolumeConnector>::new()
        .equals("node_id", id)
        .delete(&mut tx)
        .await?;
    Query::<VolumeTarget>::new()
        .equals("node_id", id)
        .delete(&mut tx)
        .await?;
    Query::<NodeAllocation>::new()
        .equals("node_id", id)
        .delete(&mut tx)
        .await?;
    discovery::forget_node(&mut tx, node.id).await?;
    record::delete::<Node>(&mut tx, node.id).await?;
    super::tell_watch(&mut tx, node.id);
    tx.commit().await?;
    Ok(())
}

/// What happened to a node and to its power, oldest first.
pub async fn history(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
) -> Result<Vec<Transition>, Failure> {
    let mut tx = cx.store.read().await?;
    let node = access::node(cx, actor, &mut tx, ident, NODES_READ).await?;
    let id = node.id.to_string();
    let mut log = transitions::of_subject(&mut tx, SUBJECT, &id).await?;
    log.extend(transitions::of_subject(&mut tx, POWER_SUBJECT, &id).await?);
    log.sort_by_key(|transition| (transition.at, transition.id));
    Ok(log)
}

/// The ids of the nodes whose parent this is.
pub async fn children(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Vec<NodeId>, Failure> {
    let mut tx = cx.store.read().await?;
    let node = access::node(cx, actor, &mut tx, ident, NODES_READ).await?;
    let children: Vec<Node> = Query::new()
        .equals("parent_id", &node.id)
        .all(&mut tx)
        .await?;
    Ok(children.iter().map(|child| child.id).collect())
}

/// The driver of a node that is about to be made or changed.
pub fn driver_of(cx: &Context, name: &str) -> Result<&'static driver::Driver, Refusal> {
    driver::of_node(&cx.metal, name)
}

/// The ids of the nodes whose column holds one of these, for lists of what belongs to them.
pub async fn ids_with(
    cx: &Context,
    column: &'static str,
    values: Vec<String>,
) -> Result<Vec<String>, Failure> {
    let query = Query::<Node>::new().any_of(column, values);
    let found = query.all(&mut cx.store.read().await?).await?;
    Ok(found.iter().map(|node| node.id.to_string()).collect())
}

/// The id of the node that a list is narrowed to; `None` if the actor sees no such node.
pub async fn id_of(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Option<NodeId>, Failure> {
    let mut tx = cx.store.read().await?;
    let found = access::find::<Node>(&mut tx, ident).await?;
    let seen = found.filter(|node| access::sees(cx, actor, node));
    Ok(seen.map(|node| node.id))
}

/// The ids of the nodes that this conductor works for and whose description has these words.
pub async fn with_content(
    cx: &Context,
    conductor: Option<&str>,
    words: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let conductors = Assignment::read(cx).await?;
    let all: Vec<Node> = Query::new().all(&mut cx.store.read().await?).await?;
    let fitting = all.iter().filter(|node| {
        let described = node.description.as_deref().unwrap_or_default();
        conductor.is_none_or(|name| conductors.of(node.id) == Some(name))
            && words.is_none_or(|words| described.contains(words))
    });
    Ok(fitting.map(|node| node.id.to_string()).collect())
}
