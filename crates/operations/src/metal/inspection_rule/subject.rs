//! What rules work on: a node with its ports and what was found, changed in memory until all rules are through.

use super::action::{Action, Stop};
use super::condition::Condition;
use super::text::Data;
use crate::metal::Metal;
use crate::metal::secrets::is_secret;
use corten_model::ids::NodePortId;
use corten_store::metal::Object;
use corten_store::metal::inspection_rule::InspectionRule;
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::metal::port::NodePort;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A node on its way through the rules. What is secret of `driver_info` stands there in clear until it is sealed.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) node: Node,
    pub(super) ports: Vec<NodePort>,
    pub(super) inventory: Value,
    pub(super) plugin_data: Object,
    pub(super) changed_ports: BTreeSet<NodePortId>,
}

impl Subject {
    /// A node as its inspection left it.
    pub(super) fn new(node: Node, ports: Vec<NodePort>) -> Self {
        let inventory = node.inspection.inventory.clone().unwrap_or_default();
        let plugin_data = match &node.inspection.plugin_data {
            Some(Value::Object(object)) => object.clone(),
            _ => Map::new(),
        };
        Self {
            node,
            ports,
            inventory,
            plugin_data,
            changed_ports: BTreeSet::new(),
        }
    }

    /// Applies a rule, if its conditions hold. False if they do not.
    pub(super) fn apply(&mut self, rule: &InspectionRule, metal: &Metal) -> Result<bool, Stop> {
        let view = self.view();
        let data = view.data(None);
        for condition in &rule.conditions {
            if !Condition::read(condition)?.holds(&data)? {
                return Ok(false);
            }
        }
        for action in &rule.actions {
            Action::read(action)?.run(self, metal)?;
        }
        Ok(true)
    }

    /// The node as references see it, without what is secret.
    pub(super) fn view(&self) -> View {
        let node = &self.node;
        let open = |object: &Object| -> Object {
            let shown = object.iter().filter(|(key, value)| !is_secret(key, value));
            shown
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        let mut view = json!({
            "uuid": node.id,
            "name": node.name,
            "driver": node.driver,
            "driver_info": open(&node.driver_info),
            "properties": node.properties,
            "extra": node.standard.extra,
            "instance_info": open(&node.instance_info),
            "instance_uuid": node.instance_id,
            "resource_class": node.resource_class,
            "traits": node.traits,
            "conductor_group": node.conductor_group,
            "owner": node.owner,
            "lessee": node.lessee,
            "description": node.description,
            "chassis_uuid": node.chassis_id,
            "shard": node.shard,
            "maintenance": node.maintenance,
            "maintenance_reason": node.maintenance_reason,
            "protected": node.protected,
            "retired": node.retired,
            "provision_state": node.provision.state.as_str(),
            "power_state": node.power.seen.map(PowerSeen::as_str),
            "boot_mode": node.boot_mode,
            "secure_boot": node.secure_boot,
        });
        for (part, way) in &node.interfaces {
            view[format!("{part}_interface")] = json!(way);
        }
        View {
            node: view,
            inventory: self.inventory.clone(),
            plugin_data: Value::Object(self.plugin_data.clone()),
        }
    }

    pub(super) fn log(&self, level: &str, message: &str) {
        let node = self.node.id;
        match level {
            "debug" => tracing::debug!(%node, "inspection rule: {message}"),
            "warning" => tracing::warn!(%node, "inspection rule: {message}"),
            "error" | "critical" => tracing::error!(%node, "inspection rule: {message}"),
            _ => tracing::info!(%node, "inspection rule: {message}"),
        }
    }
}

/// What references see at one moment.
pub(super) struct View {
    node: Value,
    inventory: Value,
    plugin_data: Value,
}

impl View {
    pub(super) fn data<'a>(&'a self, item: Option<&'a Value>) -> Data<'a> {
        Data {
            node: &self.node,
            inventory: &self.inventory,
            plugin_data: &self.plugin_data,
            item,
        }
    }
}
