//! What a system is made of: processors, memory, storage with its drives, network interfaces.

use super::RedfishNode;
use super::resource::{Resource, collection, document, healthy, link};
use serde_json::{Value, json};

const MODULES: u64 = 2;
const STORAGE: &str = "1";

pub(super) fn find(node: &RedfishNode, rest: &[&str]) -> Option<Resource> {
    let path = format!("{}/{}", node.system_path(), rest.join("/"));
    let made = node.machine.made_of();
    let numbered = |kind: &str, begin: &str, count: usize| {
        let members = (0..count).map(|index| format!("{path}/{begin}{index}"));
        Resource::of(collection(&path, kind, members.collect::<Vec<_>>()))
    };
    match rest {
        ["Processors"] => Some(numbered("Processor", "CPU", made.processors.len())),
        ["Processors", id] => processor(node, &path, id),
        ["Memory"] => Some(numbered("Memory", "DIMM", MODULES as usize)),
        ["Memory", id] => module(node, &path, id),
        ["Storage"] => {
            let members = [format!("{path}/{STORAGE}")];
            Some(Resource::of(collection(&path, "Storage", members)))
        }
        ["Storage", STORAGE] => {
            let drives = made.drives.iter();
            let drives: Vec<Value> = drives
                .map(|drive| link(&format!("{path}/Drives/{}", drive.id)))
                .collect();
            let rest = json!({
                "Drives@odata.count": drives.len(),
                "Drives": drives,
                "Controllers": link(&format!("{path}/Controllers")),
                "Status": healthy(),
            });
            Some(Resource::of(document(
                &path, "Storage", STORAGE, "Storage", rest,
            )))
        }
        ["Storage", STORAGE, "Controllers"] => {
            let members = [format!("{path}/0")];
            Some(Resource::of(collection(
                &path,
                "StorageController",
                members,
            )))
        }
        ["Storage", STORAGE, "Controllers", "0"] => {
            let rest = json!({
                "Manufacturer": node.shape.data().manufacturer,
                "Model": "NVMe controller",
                "FirmwareVersion": "1.0",
                "Status": healthy(),
            });
            Some(Resource::of(document(
                &path,
                "StorageController",
                "0",
                "Controller",
                rest,
            )))
        }
        ["Storage", STORAGE, "Drives", id] => drive(node, &path, id),
        ["EthernetInterfaces"] => {
            let cards = if node.shape.data().adapters {
                Vec::new()
            } else {
                made.network_cards
            };
            let members = cards.iter().map(|card| format!("{path}/{}", card.id));
            let members: Vec<String> = members.collect();
            Some(Resource::of(collection(
                &path,
                "EthernetInterface",
                members,
            )))
        }
        ["EthernetInterfaces", id] if !node.shape.data().adapters => interface(node, &path, id),
        _ => None,
    }
}

fn index(id: &str, begin: &str, count: usize) -> Option<usize> {
    let index: usize = id.strip_prefix(begin)?.parse().ok()?;
    (index < count && id == format!("{begin}{index}")).then_some(index)
}

fn processor(node: &RedfishNode, path: &str, id: &str) -> Option<Resource> {
    let made = node.machine.made_of();
    let index = index(id, "CPU", made.processors.len())?;
    let processor = made.processors.get(index)?;
    let rest = json!({
        "ProcessorType": "CPU",
        "ProcessorArchitecture": processor.architecture,
        "InstructionSet": "x86-64",
        "Socket": id,
        "Manufacturer": node.shape.data().manufacturer,
        "Model": "Simulated processor",
        "TotalCores": processor.cores,
        "TotalThreads": processor.threads,
        "MaxSpeedMHz": 3500,
        "Status": healthy(),
    });
    Some(Resource::of(document(
        path,
        "Processor",
        id,
        "Processor",
        rest,
    )))
}

fn module(node: &RedfishNode, path: &str, id: &str) -> Option<Resource> {
    let made = node.machine.made_of();
    let index = index(id, "DIMM", MODULES as usize)?;
    let serial = made.identity.serial_number.unwrap_or_default();
    let rest = json!({
        "MemoryType": "DRAM",
        "MemoryDeviceType": "DDR5",
        "BaseModuleType": "RDIMM",
        "CapacityMiB": made.memory_mib.unwrap_or_default() / MODULES,
        "OperatingSpeedMhz": 4800,
        "Manufacturer": "Corten",
        "PartNumber": "SIM-DIMM",
        "SerialNumber": format!("{serial}M{index}"),
        "Location": {"PartLocation": {"ServiceLabel": id, "LocationType": "Slot", "LocationOrdinalValue": index}},
        "Status": healthy(),
    });
    Some(Resource::of(document(
        path,
        "Memory",
        id,
        "Memory module",
        rest,
    )))
}

fn drive(node: &RedfishNode, path: &str, id: &str) -> Option<Resource> {
    let made = node.machine.made_of();
    let drive = made.drives.iter().find(|drive| drive.id == id)?;
    let rest = json!({
        "Manufacturer": "Corten",
        "Model": "Simulated drive",
        "SerialNumber": drive.serial_number,
        "CapacityBytes": drive.capacity_bytes,
        "MediaType": drive.media,
        "Protocol": drive.protocol,
        "Status": healthy(),
    });
    Some(Resource::of(document(
        path,
        "Drive",
        id,
        &format!("Drive {id}"),
        rest,
    )))
}

fn interface(node: &RedfishNode, path: &str, id: &str) -> Option<Resource> {
    let made = node.machine.made_of();
    let card = made.network_cards.iter().find(|card| card.id == id)?;
    let rest = json!({
        "MACAddress": card.mac,
        "PermanentMACAddress": card.mac,
        "LinkStatus": "LinkUp",
        "SpeedMbps": card.speed_mbps,
        "InterfaceEnabled": true,
        "Status": healthy(),
    });
    Some(Resource::of(document(
        path,
        "EthernetInterface",
        id,
        "Network interface",
        rest,
    )))
}
