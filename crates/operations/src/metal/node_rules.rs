//! What a node's record may hold, and which changes its state allows.

use super::access::is_name;
use super::driver::{self, IPMI, REDFISH};
use super::machine::IPMI_PORT;
use super::network_data;
use crate::context::Context;
use corten_model::lifecycle::node::{NodeStateKind, ProvisionState as S};
use corten_model::refusal::Refusal;
use corten_store::metal::chassis::Chassis;
use corten_store::metal::node::Node;
use corten_store::{Failure, Tx, record};
use serde_json::Value;

const RESOURCE_CLASS_MAX: usize = 80;
const TEXT_MAX: usize = 255;
const DESCRIPTION_MAX: usize = 4096;

/// Where a driver's parts, the conductor group and the resource class may be changed.
const OPEN: &[S] = &[
    S::Enroll,
    S::Manageable,
    S::InspectFailed,
    S::Inspecting,
    S::InspectWait,
    S::Available,
];

/// Where a node may be protected: where it has an instance.
const PROTECTABLE: &[S] = &[S::Active, S::Rescue];

/// Everything that a new node must hold to.
pub fn check_new(cx: &Context, node: &Node) -> Result<(), Refusal> {
    let driver = driver::of_node(&cx.metal, &node.driver)?;
    for (kind, way) in &node.interfaces {
        driver.check(kind, way)?;
    }
    check_values(node)?;
    network_data::check(node)?;
    if node.protected {
        return Err(not_protectable(node));
    }
    Ok(())
}

fn not_protectable(node: &Node) -> Refusal {
    Refusal::conflict(format!(
        "Node {} can not have \"protected\" set unless it has an instance: it is {}.",
        node.id, node.provision.state
    ))
}

fn too_long(field: &str, text: &str, max: usize) -> Result<(), Refusal> {
    match text.chars().count() {
        length if length > max => Err(Refusal::invalid(format!(
            "Cannot set {field}: it has {length} characters, and at most {max} are taken."
        ))),
        _ => Ok(()),
    }
}

/// What the values of a node's record may be, whoever wrote them.
pub(super) fn check_values(node: &Node) -> Result<(), Refusal> {
    if let Some(name) = &node.name
        && !is_name(name)
    {
        return Err(Refusal::invalid(format!(
            "Cannot give node the name '{name}': a name is up to 255 letters, digits, '-', '.', '_' and '~', and no UUID."
        )));
    }
    if let Some(class) = &node.resource_class {
        too_long("resource_class", class, RESOURCE_CLASS_MAX)?;
    }
    if let Some(description) = &node.description {
        too_long("description", description, DESCRIPTION_MAX)?;
    }
    for (field, text) in [
        ("owner", &node.owner),
        ("lessee", &node.lessee),
        ("shard", &node.shard),
        ("instance_name", &node.instance_name),
    ] {
        too_long(field, text.as_deref().unwrap_or_default(), TEXT_MAX)?;
    }
    let group = &node.conductor_group;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if group.len() > TEXT_MAX || !group.chars().all(legal) {
        return Err(Refusal::invalid(format!(
            "The conductor_group '{group}' holds other characters than letters, digits, '-', '_' and '.'."
        )));
    }
    if node.automated_clean == Some(false) {
        return Err(Refusal::invalid(
            "automated_clean cannot be false: this cloud makes no server available that is not proved to be wiped.",
        ));
    }
    if node.protected_reason.is_some() && !node.protected {
        return Err(Refusal::invalid(
            "protected_reason is set, and protected is false: a reason belongs to a node that is protected.",
        ));
    }
    if node.retired_reason.is_some() && !node.retired {
        return Err(Refusal::invalid(
            "retired_reason is set, and retired is false: a reason belongs to a node that is retired.",
        ));
    }
    Ok(())
}

/// What a node names must exist.
pub async fn check_references(tx: &mut Tx, node: &Node) -> Result<(), Failure> {
    if let Some(chassis) = node.chassis_id
        && record::get::<Chassis>(tx, chassis).await?.is_none()
    {
        return Err(Refusal::invalid(format!("Chassis {chassis} could not be found.")).into());
    }
    if let Some(parent) = node.parent_id {
        let found = record::get::<Node>(tx, parent).await?;
        let problem = match found {
            None => Some("could not be found"),
            Some(found) if found.id == node.id => Some("is the node itself"),
            Some(found) if found.parent_id.is_some() => Some("has a parent itself"),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return Err(Refusal::invalid(format!("The parent node {parent} {problem}.")).into());
        }
    }
    Ok(())
}

/// Whether a change of the record is legal now. What follows from the change is written into `after`.
pub fn check_change(cx: &Context, before: &Node, after: &mut Node) -> Result<(), Refusal> {
    let state = before.provision.state;
    let kind = state.row().map(|row| row.kind);
    let moves = before.provision.target.is_some() && kind == Some(NodeStateKind::Moves);
    if moves && !before.maintenance {
        return Err(Refusal::conflict(format!(
            "Node {} can not be updated while a state transition is in progress: it is {state}.",
            before.id
        )));
    }
    if before.protected && !after.protected {
        after.protected_reason = None;
    }
    if before.retired && !after.retired {
        after.retired_reason = None;
    }
    if before.maintenance && !after.maintenance {
        after.maintenance_reason = None;
        after.fault = None;
    }
    check_values(after)?;
    network_data::check_change(before, after)?;
    if after.protected && !before.protected && !PROTECTABLE.contains(&state) {
        return Err(not_protectable(before));
    }
    if after.retired && !before.retired && state == S::Available {
        return Err(Refusal::conflict(format!(
            "Node {} can not have 'retired' set in provision state 'available': manage it first, so that nobody is given it.",
            before.id
        )));
    }
    let driver = driver::of_node(&cx.metal, &after.driver)?;
    for (part, way) in &after.interfaces {
        driver.check(part, way)?;
    }
    let open = before.maintenance || OPEN.contains(&state);
    for (field, changed) in [
        ("driver", before.driver != after.driver),
        ("interfaces", before.interfaces != after.interfaces),
        (
            "conductor_group",
            before.conductor_group != after.conductor_group,
        ),
        (
            "resource_class",
            before.resource_class != after.resource_class,
        ),
    ] {
        let legal: Vec<_> = OPEN.iter().map(|state| state.as_str()).collect();
        if changed && !open {
            return Err(Refusal::conflict(format!(
                "Node {} can not have \"{field}\" updated unless it is in maintenance or in one of these states: {}. It is {state}.",
                before.id,
                legal.join(", ")
            )));
        }
    }
    check_server(before, after)?;
    check_association(before, after)
}

/// The keys of `driver_info` that say, with the driver, which server a node is. A simulated server goes with its node.
fn server(node: &Node) -> Vec<(&'static str, String)> {
    let text = |key: &str| match node.driver_info.get(key) {
        Some(Value::String(text)) => text.trim().trim_end_matches('/').to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    match node.driver.as_str() {
        REDFISH => {
            let mut address = text("redfish_address");
            if !address.contains("://") {
                address.insert_str(0, "https://");
            }
            vec![
                ("redfish_address", address),
                ("redfish_system_id", text("redfish_system_id")),
            ]
        }
        IPMI => {
            let mut port = text("ipmi_port");
            if port.is_empty() {
                port = IPMI_PORT.to_string();
            }
            vec![("ipmi_address", text("ipmi_address")), ("ipmi_port", port)]
        }
        _ => Vec::new(),
    }
}

/// The field by whose change a node becomes another server.
fn other_server(before: &Node, after: &Node) -> Option<&'static str> {
    if before.driver != after.driver {
        return Some("driver");
    }
    let mut both = server(before).into_iter().zip(server(after));
    both.find_map(|((key, before), (_, after))| (before != after).then_some(key))
}

/// A wipe proves something about one server. A node that is offered with the proof, or that is worked on, stays that server; of
/// any other node the proof is gone with the server.
fn check_server(before: &Node, after: &mut Node) -> Result<(), Refusal> {
    use NodeStateKind::{Holds, Moves, Waits};
    let Some(field) = other_server(before, after) else {
        return Ok(());
    };
    let (id, state) = (before.id, before.provision.state);
    if state == S::Available {
        return Err(Refusal::conflict(format!(
            "Node {id} is available, since its server is proved to be wiped: \"{field}\", which says which server that is, can \
             not be updated now. Take it to manageable first (target 'manage'); target 'provide' wipes the server that it is then."
        )));
    }
    if let Some(Moves | Waits | Holds) = state.row().map(|row| row.kind) {
        return Err(Refusal::conflict(format!(
            "Node {id} is {state}, so its server is worked on: \"{field}\", which says which server that is, can not be updated \
             now. Wait until that has ended, or end it (target 'abort')."
        )));
    }
    after.wiped = None;
    Ok(())
}

/// Who has an instance or an allocation is not taken it away by a change of the record.
fn check_association(before: &Node, after: &Node) -> Result<(), Refusal> {
    if let (Some(old), Some(new)) = (before.instance_id, after.instance_id)
        && old != new
    {
        return Err(Refusal::conflict(format!(
            "Node {} is associated with instance {old}.",
            before.id
        )));
    }
    if let (Some(allocation), true) = (
        before.allocation_id,
        before.instance_id != after.instance_id && !before.maintenance,
    ) {
        return Err(Refusal::conflict(format!(
            "Node {} is set aside by allocation {allocation}: delete that in place of changing instance_uuid.",
            before.id
        )));
    }
    if before.owner != after.owner && before.allocation_id.is_some() {
        return Err(Refusal::conflict(format!(
            "Node {} has an allocation: its owner cannot be changed.",
            before.id
        )));
    }
    Ok(())
}

/// Whether a node's record may be removed.
pub fn check_removal(node: &Node) -> Result<(), Refusal> {
    let state = node.provision.state;
    if node.protected {
        return Err(Refusal::forbidden(format!(
            "Node {} is protected and cannot be undeployed, rebuilt or deleted. Set protected to false first.",
            node.id
        )));
    }
    if let Some(instance) = node.instance_id.filter(|_| !node.maintenance) {
        return Err(Refusal::conflict(format!(
            "Node {} is associated with instance {instance}.",
            node.id
        )));
    }
    if !state.may_be_removed() && !node.maintenance {
        return Err(Refusal::conflict(format!(
            "Node {} can not be deleted in provision state {state}: it must be enroll, manageable, available or adopt failed, or in maintenance.",
            node.id
        )));
    }
    Ok(())
}
