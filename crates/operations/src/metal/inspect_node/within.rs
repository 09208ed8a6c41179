//! What a ramdisk found, in the words of its inventory, which are those of Ironic's.

use corten_model::time::Timestamp;
use corten_store::metal::node::{Inspection, Node};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The addresses of the network cards.
pub fn macs(inventory: &Value) -> BTreeSet<String> {
    let cards = inventory["interfaces"].as_array().into_iter().flatten();
    cards
        .filter_map(|card| card["mac_address"].as_str())
        .map(str::to_lowercase)
        .collect()
}

/// Writes the inventory, and the properties that schedulers look at.
pub fn keep(node: &mut Node, inventory: Value, now: Timestamp) {
    let mut property = |name: &str, value: Value| {
        if !value.is_null() {
            node.properties.insert(name.to_owned(), value);
        }
    };
    property("cpus", inventory["cpu"]["count"].clone());
    property("cpu_arch", inventory["cpu"]["architecture"].clone());
    let memory = &inventory["memory"];
    let memory_mb = memory["physical_mb"]
        .as_u64()
        .or(memory["total"].as_u64().map(|bytes| bytes >> 20));
    property("memory_mb", json!(memory_mb));
    let disks = inventory["disks"].as_array().into_iter().flatten();
    if let Some(smallest) = disks.filter_map(|disk| disk["size"].as_u64()).min() {
        // As Ironic does it: a GiB is left for partitions.
        property("local_gb", json!((smallest >> 30).saturating_sub(1)));
    }
    if let Some(mode) = inventory["boot"]["current_boot_mode"].as_str() {
        node.boot_mode = Some(mode.to_owned());
    }
    node.inspection = Inspection {
        started_at: node.inspection.started_at,
        finished_at: Some(now),
        inventory: Some(inventory),
        plugin_data: Some(json!({"source": "ramdisk"})),
    };
}
