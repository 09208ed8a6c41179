//! A node as clients see it: its attributes with the microversion that brought each, and what is never shown.

use super::kit::{date, document, links};
use super::schema::Schema;
use super::version::Version;
use corten_model::lifecycle::node::ProvisionState;
use corten_operations::metal::conductor::Assignment;
use corten_operations::metal::driver;
use corten_operations::metal::machine::HIDDEN;
use corten_operations::metal::node::Shown;
use corten_store::metal::node::Node;
use serde_json::{Map, Value, json};

pub const NODE: Schema = Schema {
    one: "node",
    fields: &[
        ("uuid", 1),
        ("name", 5),
        ("driver", 1),
        ("driver_info", 1),
        ("driver_internal_info", 3),
        ("properties", 1),
        ("extra", 1),
        ("instance_info", 1),
        ("instance_uuid", 1),
        ("instance_name", 104),
        ("chassis_uuid", 1),
        ("provision_state", 1),
        ("target_provision_state", 1),
        ("provision_updated_at", 1),
        ("power_state", 1),
        ("target_power_state", 1),
        ("maintenance", 1),
        ("maintenance_reason", 1),
        ("fault", 42),
        ("last_error", 1),
        ("reservation", 1),
        ("console_enabled", 1),
        ("inspection_started_at", 6),
        ("inspection_finished_at", 6),
        ("clean_step", 7),
        ("deploy_step", 44),
        ("service_step", 87),
        ("raid_config", 12),
        ("target_raid_config", 12),
        ("resource_class", 21),
        ("traits", 37),
        ("conductor_group", 46),
        ("automated_clean", 47),
        ("protected", 48),
        ("protected_reason", 48),
        ("conductor", 49),
        ("owner", 50),
        ("description", 51),
        ("allocation_uuid", 52),
        ("retired", 61),
        ("retired_reason", 61),
        ("lessee", 65),
        ("network_data", 66),
        ("boot_mode", 75),
        ("secure_boot", 75),
        ("shard", 82),
        ("parent_node", 83),
        ("disable_power_off", 95),
        ("health", 109),
        ("bios_interface", 40),
        ("boot_interface", 31),
        ("console_interface", 31),
        ("deploy_interface", 31),
        ("firmware_interface", 86),
        ("inspect_interface", 31),
        ("management_interface", 31),
        ("network_interface", 20),
        ("power_interface", 31),
        ("raid_interface", 31),
        ("rescue_interface", 38),
        ("storage_interface", 33),
        ("vendor_interface", 31),
        ("created_at", 1),
        ("updated_at", 1),
        ("links", 1),
        ("ports", 1),
        ("portgroups", 24),
        ("states", 14),
        ("volume", 32),
    ],
    created: &[
        "uuid",
        "name",
        "driver",
        "driver_info",
        "properties",
        "extra",
        "instance_info",
        "instance_uuid",
        "instance_name",
        "chassis_uuid",
        "resource_class",
        "conductor_group",
        "automated_clean",
        "owner",
        "lessee",
        "shard",
        "description",
        "network_data",
        "parent_node",
        "retired",
        "retired_reason",
        "disable_power_off",
        "maintenance",
        "maintenance_reason",
        "bios_interface",
        "boot_interface",
        "console_interface",
        "deploy_interface",
        "firmware_interface",
        "inspect_interface",
        "management_interface",
        "network_interface",
        "power_interface",
        "raid_interface",
        "rescue_interface",
        "storage_interface",
        "vendor_interface",
    ],
    patched: &[
        "name",
        "driver",
        "driver_info",
        "properties",
        "extra",
        "instance_info",
        "instance_uuid",
        "instance_name",
        "chassis_uuid",
        "resource_class",
        "conductor_group",
        "automated_clean",
        "protected",
        "protected_reason",
        "owner",
        "lessee",
        "shard",
        "description",
        "network_data",
        "parent_node",
        "retired",
        "retired_reason",
        "disable_power_off",
        "maintenance",
        "maintenance_reason",
        "bios_interface",
        "boot_interface",
        "console_interface",
        "deploy_interface",
        "firmware_interface",
        "inspect_interface",
        "management_interface",
        "network_interface",
        "power_interface",
        "raid_interface",
        "rescue_interface",
        "storage_interface",
        "vendor_interface",
    ],
    brief: &[
        "uuid",
        "name",
        "instance_uuid",
        "maintenance",
        "power_state",
        "provision_state",
        "links",
    ],
};

/// The word for a state in a version: some came later than others.
pub fn state_word(version: Version, state: Option<ProvisionState>) -> Option<&'static str> {
    match state? {
        ProvisionState::Available if !version.at_least(2) => None,
        ProvisionState::InspectWait if !version.at_least(39) => {
            Some(ProvisionState::Inspecting.as_str())
        }
        state => Some(state.as_str()),
    }
}

/// With each secret as one that is hidden.
fn with_hidden(object: &Map<String, Value>, node: &Node, name: &str) -> Map<String, Value> {
    let mut object = object.clone();
    for place in node.secrets.keys() {
        if let Some(key) = place
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            object.insert(key.to_owned(), HIDDEN.into());
        }
    }
    object
}

fn step_of(node: &Node, states: &[ProvisionState]) -> Value {
    match node.steps.first() {
        Some(step) if states.contains(&node.provision.state) => json!({
            "interface": step.interface,
            "step": step.step,
            "args": step.args,
            "priority": step.priority,
        }),
        _ => json!({}),
    }
}

/// What its owner says of a node.
fn described(node: &Node) -> Value {
    json!({
        "uuid": node.id,
        "name": node.name,
        "driver": node.driver,
        "driver_info": with_hidden(&node.driver_info, node, "driver_info"),
        "driver_internal_info": node.driver_internal_info,
        "properties": node.properties,
        "instance_info": with_hidden(&node.instance_info, node, "instance_info"),
        "instance_uuid": node.instance_id,
        "instance_name": node.instance_name,
        "chassis_uuid": node.chassis_id,
        "resource_class": node.resource_class,
        "traits": node.traits,
        "conductor_group": node.conductor_group,
        "automated_clean": node.automated_clean,
        "protected": node.protected,
        "protected_reason": node.protected_reason,
        "owner": node.owner,
        "description": node.description,
        "allocation_uuid": node.allocation_id,
        "retired": node.retired,
        "retired_reason": node.retired_reason,
        "lessee": node.lessee,
        "network_data": node.network_data,
        "shard": node.shard,
        "parent_node": node.parent_id,
        "disable_power_off": node.disable_power_off,
    })
}

/// Where a node stands.
fn observed(version: Version, node: &Node) -> Value {
    use ProvisionState as S;
    json!({
        "provision_state": state_word(version, Some(node.provision.state)),
        "target_provision_state": state_word(version, node.provision.target),
        "provision_updated_at": date(node.provision.moved.then_some(node.provision.since)),
        "power_state": node.power.seen,
        "target_power_state": node.power.target,
        "maintenance": node.maintenance,
        "maintenance_reason": node.maintenance_reason,
        "fault": node.fault,
        "last_error": node.last_error,
        "console_enabled": node.console_enabled,
        "inspection_started_at": date(node.inspection.started_at),
        "inspection_finished_at": date(node.inspection.finished_at),
        "clean_step": step_of(node, &[S::Cleaning, S::CleanWait, S::CleanHold]),
        "deploy_step": step_of(node, &[S::Deploying, S::WaitCallBack, S::DeployHold]),
        "service_step": step_of(node, &[S::Servicing, S::ServiceWait, S::ServiceHold]),
        "raid_config": node.raid_config,
        "target_raid_config": node.target_raid_config,
        "boot_mode": node.boot_mode,
        "secure_boot": node.secure_boot,
        // What a server's sensors say is among the metrics, and in no row yet.
        "health": null,
    })
}

/// Everything that can be shown of a node.
pub fn node_document(
    version: Version,
    base: &str,
    shown: &Shown,
    conductors: &Assignment,
) -> Map<String, Value> {
    let Shown { node, locked } = shown;
    let id = node.id;
    let mut view = document(described(node), &node.standard);
    if let Value::Object(observed) = observed(version, node) {
        view.extend(observed);
    }
    let conductor = conductors.of(id);
    view.insert("conductor".to_owned(), json!(conductor));
    let holder = conductor.filter(|_| *locked);
    view.insert("reservation".to_owned(), json!(holder));
    for (kind, _) in driver::KINDS {
        let way = node.driver_part(kind);
        let way = Some(way).filter(|way| !way.is_empty());
        view.insert(format!("{kind}_interface"), json!(way));
    }
    view.insert("links".to_owned(), links(base, &format!("nodes/{id}")));
    for part in ["ports", "portgroups", "states", "volume"] {
        let path = format!("nodes/{id}/{part}");
        view.insert(part.to_owned(), links(base, &path));
    }
    view
}
