//! What a ramdisk found, in the words of its inventory, which are those of Ironic's.

use crate::metal::port;
use corten_model::time::Timestamp;
use corten_store::metal::node::{Inspection, Node};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Drivers of the cards that a BMC shows its own server over USB. All servers of a kind may have the same address there.
const BMC_CARDS: &[&str] = &[
    "cdc_ether",
    "cdc_eem",
    "cdc_ncm",
    "cdc_subset",
    "rndis_host",
];

/// The addresses of the server's own network cards.
pub fn macs(inventory: &Value) -> BTreeSet<String> {
    let cards = inventory["interfaces"].as_array().into_iter().flatten();
    own_macs(
        cards.filter_map(|card| Some((card["mac_address"].as_str()?, card["driver"].as_str()))),
    )
}

/// Of cards, each with its address and its driver: the addresses of the Ethernet cards that are the server's own.
pub fn own_macs<'a>(cards: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> BTreeSet<String> {
    let own = cards.filter(|(_, driver)| driver.is_none_or(|driver| !BMC_CARDS.contains(&driver)));
    // Cards that are no Ethernet cards have addresses of other forms.
    own.filter_map(|(address, _)| port::mac(address).ok())
        .filter(|mac| is_ones_own(mac))
        .collect()
}

/// Neither a group's address nor nobody's.
fn is_ones_own(mac: &str) -> bool {
    let first = u8::from_str_radix(&mac[..2], 16).unwrap_or(1);
    first & 1 == 0 && mac != "00:00:00:00:00:00"
}

/// What goes beside the inventory: no inventory of Ironic's has it.
const PLUGIN_DATA: &[&str] = &["pci_devices", "error"];

/// The disk that an image will be on, as the ramdisk chooses it: the array for it, else the smallest that stays in the server.
fn root_bytes(inventory: &Value) -> Option<u64> {
    let disks = || inventory["disks"].as_array().into_iter().flatten();
    let size = |disk: &Value| disk["size"].as_u64();
    let is_first = |disk: &&Value| disk["name"] == "/dev/md0";
    let first = disks().find(is_first).and_then(size);
    let fixed = disks().filter(|disk| disk["removable"] != true && disk["tran"] != "md");
    first.or_else(|| fixed.filter_map(size).min())
}

/// Writes the inventory, and the properties that schedulers look at.
pub fn keep(node: &mut Node, mut inventory: Value, now: Timestamp) {
    let mut plugin_data = json!({"source": "ramdisk"});
    if let Some(inventory) = inventory.as_object_mut() {
        for key in PLUGIN_DATA {
            if let Some(value) = inventory.remove(*key) {
                plugin_data[key] = value;
            }
        }
    }
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
    if let Some(bytes) = root_bytes(&inventory) {
        // As Ironic does it: a GiB is left for partitions.
        property("local_gb", json!((bytes >> 30).saturating_sub(1)));
    }
    if let Some(mode) = inventory["boot"]["current_boot_mode"].as_str() {
        node.boot_mode = Some(mode.to_owned());
    }
    node.inspection = Inspection {
        started_at: node.inspection.started_at,
        finished_at: Some(now),
        inventory: Some(inventory),
        plugin_data: Some(plugin_data),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_that_counts_is_an_array_or_stays_in_the_server() {
        let of = |disks: Value| root_bytes(&json!({"disks": disks}));
        let (card, disk) = (
            json!({"size": 8, "removable": true}),
            json!({"size": 80, "tran": "sata"}),
        );
        assert_eq!(of(json!([card, disk])), Some(80));
        assert_eq!(
            of(
                json!([disk, {"name": "/dev/md0", "size": 160, "tran": "md"}, {"name": "/dev/md50", "size": 9, "tran": "md"}])
            ),
            Some(160)
        );
        assert_eq!(of(json!([card])), None);
    }

    #[test]
    fn cards_that_are_the_bmcs_or_no_ethernet_cards_are_no_ports() {
        let inventory = json!({"interfaces": [
            {"mac_address": "52:54:00:AA:00:01", "driver": "virtio_net"},
            {"mac_address": "52-54-00-aa-00-02"},
            {"mac_address": "be:3a:f2:b6:05:9f", "driver": "cdc_ether"},
            {"mac_address": "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:2f:75:a1", "driver": "ib_ipoib"},
            {"mac_address": "01:00:5e:00:00:01"},
            {"mac_address": "00:00:00:00:00:00"},
            {"name": "eth9"},
        ]});
        let own = ["52:54:00:aa:00:01", "52:54:00:aa:00:02"];
        assert_eq!(macs(&inventory), own.map(str::to_owned).into());
        assert!(macs(&Value::Null).is_empty());
    }
}
