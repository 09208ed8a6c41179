//! The disks that a server is known to have, against those that a wipe is the proof of.
//!
//! A disk that was pulled, or that did not answer, is in no record of the ramdisk, and may come back with what it holds. So each
//! disk that was seen since somebody last inspected the server must be in the record: one of the inventory, or of any wipe since
//! then. Who inspects the server again says which disks it has from now on.
//!
//! A BMC lists the disks behind a RAID controller, which no system on the server sees. So its list counts only where it has each
//! disk that was wiped: it speaks of the same disks then.

use corten_model::time::Timestamp;
use corten_store::metal::node::Node;
use corten_store::metal::wipe::Wipe;
use serde_json::Value;
use std::collections::BTreeMap;

/// So many are named; the others are counted.
const NAMED_MAX: usize = 16;

/// Of disks by what they are known by, in one form: how it was told.
type Known = BTreeMap<String, String>;

/// A disk is known again by its serial number, or by its WWN if it tells none. The kernel gives its names anew at each boot.
fn known(named: &str) -> Option<(String, String)> {
    const KERNELS: &[&str] = &["sd", "vd", "hd", "xvd", "nvme", "mmcblk", "pmem", "dasd"];
    let told = named.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_kernels = told.starts_with("/dev/")
        || (told.chars().all(is_plain) && KERNELS.iter().any(|begin| told.starts_with(begin)));
    (!told.is_empty() && !is_kernels).then(|| (told.to_ascii_uppercase(), told))
}

fn of_wipe(wipe: &Wipe) -> Known {
    let disks = wipe.disks.iter().filter(|disk| !disk.removable);
    disks.filter_map(|disk| known(&disk.serial)).collect()
}

fn of_inventory(inventory: &Value) -> Known {
    let disks = inventory["disks"].as_array().into_iter().flatten();
    // What is erased of an array are its members; what can be taken out is not asked for again.
    let whole = disks.filter(|disk| disk["tran"] != "md" && disk["removable"] != true);
    let named = whole.filter_map(|disk| {
        let text = |key: &str| disk[key].as_str().filter(|text| !text.trim().is_empty());
        text("serial").or(text("wwn"))
    });
    named.filter_map(known).collect()
}

/// What the last inspection told of the disks that this wipe is about: when, and which; `None` if it told nothing of them.
fn inspected(node: &Node, wiped: &Known) -> Option<(Option<Timestamp>, Known)> {
    let inspection = &node.inspection;
    let found = of_inventory(inspection.inventory.as_ref()?);
    let source = inspection.plugin_data.as_ref().map(|data| &data["source"]);
    let is_bmcs = source.is_some_and(|source| source == "bmc");
    let has_all = wiped.keys().all(|disk| found.contains_key(disk));
    let is_of_both = has_all && !wiped.is_empty();
    let speaks = !found.is_empty() && (is_of_both || !is_bmcs);
    speaks.then_some((inspection.finished_at, found))
}

/// Why this wipe does not prove that the server is blank; `None` if it does. `wipes` are those of the node.
pub fn left_out(node: &Node, wipe: &Wipe, wipes: &[Wipe]) -> Option<String> {
    let wiped = of_wipe(wipe);
    let inspected = inspected(node, &wiped);
    let is_deaf = inspected.is_none() && node.inspection.inventory.is_some();
    let (since, mut missing) = inspected.unwrap_or_default();
    let later = wipes.iter().filter(|wipe| Some(wipe.at) > since);
    missing.extend(later.flat_map(of_wipe));
    missing.retain(|disk, _| !wiped.contains_key(disk));
    if missing.is_empty() {
        return None;
    }
    let mut named: Vec<_> = missing.values().take(NAMED_MAX).cloned().collect();
    if missing.len() > NAMED_MAX {
        named.push(format!("and {} others", missing.len() - NAMED_MAX));
    }
    let how = if is_deaf {
        "inspect the node from within (inspect_interface 'agent': its BMC does not list the disks that a ramdisk sees)"
    } else {
        "inspect the node"
    };
    Some(format!(
        "Disks that node {} is known to have were not wiped, for they were not there: {}. They may come back with what they \
         hold. Put them back and clean again, or {how} to say that they are gone.",
        node.id,
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metal::driver::{self, REDFISH};
    use crate::metal::{Metal, node};
    use corten_model::ids::{NodeId, WipeId};
    use corten_model::origin::Origin;
    use corten_store::metal::wipe::WipedDisk;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn server(source: &str, inspected: Option<i64>, serials: &[&str]) -> Node {
        let metal = Metal::forgetful(None).unwrap();
        let driver = driver::of_node(&metal, REDFISH).unwrap();
        let mut node = node::blank(NodeId::random(), driver, at(0));
        let disks: Vec<_> = serials
            .iter()
            .map(|serial| json!({"name": "/dev/sda", "serial": serial}))
            .collect();
        node.inspection.finished_at = inspected.map(at);
        node.inspection.inventory = Some(json!({"disks": disks}));
        node.inspection.plugin_data = Some(json!({"source": source}));
        node
    }

    fn wipe(second: i64, serials: &[&str]) -> Wipe {
        let disk = |serial: &&str| WipedDisk {
            serial: (*serial).to_owned(),
            size_bytes: 1,
            method: "overwrite".to_owned(),
            removable: false,
        };
        Wipe {
            id: WipeId::random(),
            node_id: NodeId::random(),
            at: at(second),
            disks: serials.iter().map(disk).collect(),
            origin: Origin::system(),
        }
    }

    fn judge(node: &Node, now: &Wipe, before: &[Wipe]) -> Option<String> {
        let mut wipes = vec![now.clone()];
        wipes.extend_from_slice(before);
        left_out(node, now, &wipes)
    }

    #[test]
    fn a_disk_of_the_inventory_that_was_not_wiped_is_named() {
        let node = server("ramdisk", Some(10), &["S1", "S2 "]);
        let why = judge(&node, &wipe(20, &["S1"]), &[]).unwrap();
        assert!(why.contains("not there: S2."), "{why}");
        assert!(why.contains("Put them back"), "{why}");
        assert!(!why.contains("S1"), "{why}");
        // The same serial number, told by another with other white space, and a disk that is new.
        assert_eq!(judge(&node, &wipe(20, &["s1", " S2", "S3"]), &[]), None);
    }

    #[test]
    fn a_disk_that_was_wiped_before_must_be_wiped_again_until_an_inspection() {
        let before = [wipe(20, &["S1"]), wipe(15, &["S1", "S2", "S3"])];
        let node = server("ramdisk", Some(10), &["S1"]);
        let why = judge(&node, &wipe(30, &["S1", "S3"]), &before).unwrap();
        assert!(why.contains("not there: S2."), "{why}");
        let again = server("ramdisk", Some(25), &["S1", "S3"]);
        assert_eq!(judge(&again, &wipe(30, &["S1", "S3"]), &before), None);
        // An inspection that did not come to its end says nothing.
        let failed = server("ramdisk", None, &["S1", "S3"]);
        assert!(judge(&failed, &wipe(30, &["S1", "S3"]), &before).is_some());
    }

    #[test]
    fn what_a_bmc_lists_counts_where_it_speaks_of_the_disks_that_a_system_sees() {
        let node = server("bmc", Some(10), &["S1", "S2"]);
        assert!(judge(&node, &wipe(20, &["S1"]), &[]).is_some());
        // Disks that tell no serial number may be others.
        assert_eq!(judge(&node, &wipe(20, &["vda"]), &[]), None);
        // Behind a RAID controller a system sees a volume.
        assert_eq!(judge(&node, &wipe(20, &["VOLUME-1"]), &[]), None);
        let both = wipe(5, &["VOLUME-1", "VOLUME-2"]);
        let why = judge(&node, &wipe(20, &["VOLUME-1"]), &[both]).unwrap();
        assert!(
            why.contains("VOLUME-2") && why.contains("inspect_interface 'agent'"),
            "{why}"
        );
    }

    #[test]
    fn names_that_the_kernel_gives_are_those_of_no_disk() {
        let node = server("ramdisk", None, &[]);
        let before = [wipe(15, &["sdb", "/dev/vdb", "nvme0n1", "SDB1"])];
        let why = judge(&node, &wipe(30, &["sda"]), &before).unwrap();
        assert!(why.contains("not there: SDB1."), "{why}");
    }
}
