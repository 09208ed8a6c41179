//! A node as clients see it: its attributes with the microversion that brought each, and what is never shown.

use super::kit::{date, links};
use super::schema::Schema;
use super::version::Version;
use corten_model::lifecycle::node::ProvisionState;
use corten_operations::metal::conductor::Assignment;
use corten_operations::metal::machine::HIDDEN;
use corten_operations::metal::node::Shown;
use corten_store::metal::node::Node;
use serde_json::{Map, Value, json};

/// What only one node's own page shows.
pub const PARTS: [&str; 4] = ["ports", "portgroups", "states", "volume"];

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

/// What each attribute of a node is shown as.
pub struct NodeView<'a> {
    version: Version,
    base: &'a str,
    shown: &'a Shown,
    conductors: &'a Assignment,
}

impl<'a> NodeView<'a> {
    pub fn new(
        version: Version,
        base: &'a str,
        shown: &'a Shown,
        conductors: &'a Assignment,
    ) -> Self {
        Self {
            version,
            base,
            shown,
            conductors,
        }
    }

    /// These attributes, and no work for others.
    pub fn of(&self, fields: impl IntoIterator<Item = &'static str>) -> Map<String, Value> {
        let value = |field: &'static str| Some((field.to_owned(), self.value(field)?));
        fields.into_iter().filter_map(value).collect()
    }

    /// All that there are in any version.
    pub fn whole(&self) -> Map<String, Value> {
        self.of(NODE.fields.iter().map(|(field, _)| *field))
    }

    fn value(&self, field: &str) -> Option<Value> {
        self.described(field)
            .or_else(|| self.observed(field))
            .or_else(|| self.placed(field))
    }

    /// What its owner says of it.
    fn described(&self, field: &str) -> Option<Value> {
        let node = &self.shown.node;
        Some(match field {
            "uuid" => json!(node.id),
            "name" => json!(node.name),
            "driver" => json!(node.driver),
            "driver_info" => with_hidden(&node.driver_info, node, "driver_info").into(),
            "driver_internal_info" => json!(node.driver_internal_info),
            "properties" => json!(node.properties),
            "extra" => json!(node.standard.extra),
            "instance_info" => with_hidden(&node.instance_info, node, "instance_info").into(),
            "instance_uuid" => json!(node.instance_id),
            "instance_name" => json!(node.instance_name),
            "chassis_uuid" => json!(node.chassis_id),
            "resource_class" => json!(node.resource_class),
            "traits" => json!(node.traits),
            "conductor_group" => json!(node.conductor_group),
            "automated_clean" => json!(node.automated_clean),
            "protected" => json!(node.protected),
            "protected_reason" => json!(node.protected_reason),
            "owner" => json!(node.owner),
            "description" => json!(node.description),
            "allocation_uuid" => json!(node.allocation_id),
            "retired" => json!(node.retired),
            "retired_reason" => json!(node.retired_reason),
            "lessee" => json!(node.lessee),
            "network_data" => json!(node.network_data),
            "shard" => json!(node.shard),
            "parent_node" => json!(node.parent_id),
            "disable_power_off" => json!(node.disable_power_off),
            "created_at" => json!(node.standard.created_at.seconds_offset()),
            "updated_at" => json!(date(node.standard.updated_at)),
            _ => return None,
        })
    }

    /// Where it stands.
    fn observed(&self, field: &str) -> Option<Value> {
        use ProvisionState as S;
        let node = &self.shown.node;
        let (provision, inspection) = (&node.provision, &node.inspection);
        Some(match field {
            "provision_state" => json!(state_word(self.version, Some(provision.state))),
            "target_provision_state" => json!(state_word(self.version, provision.target)),
            "provision_updated_at" => json!(date(provision.moved.then_some(provision.since))),
            "power_state" => json!(node.power.seen),
            "target_power_state" => json!(node.power.target),
            "maintenance" => json!(node.maintenance),
            "maintenance_reason" => json!(node.maintenance_reason),
            "fault" => json!(node.fault),
            "last_error" => json!(node.last_error),
            "console_enabled" => json!(node.console_enabled),
            "inspection_started_at" => json!(date(inspection.started_at)),
            "inspection_finished_at" => json!(date(inspection.finished_at)),
            "clean_step" => step_of(node, &[S::Cleaning, S::CleanWait, S::CleanHold]),
            "deploy_step" => step_of(node, &[S::Deploying, S::WaitCallBack, S::DeployHold]),
            "service_step" => step_of(node, &[S::Servicing, S::ServiceWait, S::ServiceHold]),
            "raid_config" => json!(node.raid_config),
            "target_raid_config" => json!(node.target_raid_config),
            "boot_mode" => json!(node.boot_mode),
            "secure_boot" => json!(node.secure_boot),
            "health" => json!(self.shown.health),
            _ => return None,
        })
    }

    /// Who works on it, by which ways, and where to read on.
    fn placed(&self, field: &str) -> Option<Value> {
        let Shown {
            node,
            locked,
            health: _,
        } = self.shown;
        let id = node.id;
        if let Some(kind) = field.strip_suffix("_interface") {
            let way = node.driver_part(kind);
            return Some(json!(Some(way).filter(|way| !way.is_empty())));
        }
        let conductor = self.conductors.of(id);
        Some(match field {
            "conductor" => json!(conductor),
            "reservation" => json!(conductor.filter(|_| *locked)),
            "links" => links(self.base, &format!("nodes/{id}")),
            part if PARTS.contains(&part) => links(self.base, &format!("nodes/{id}/{part}")),
            _ => return None,
        })
    }
}
