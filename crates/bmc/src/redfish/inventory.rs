//! What a Redfish system is made of: its own document and the collections that it links to.

use super::Redfish;
use super::document::Document;
use super::sensors::health_in;
use crate::error::BmcError;
use crate::inventory::{
    Controller, Drive, Identity, Inventory, Link, MemoryModule, NetworkCard, Processor, mac,
};

const MIB_PER_GIB: f64 = 1024.0;

const LINKS: &[(&str, Link)] = &[
    ("LinkUp", Link::Up),
    ("LinkDown", Link::Down),
    ("NoLink", Link::Down),
];

impl Redfish {
    pub(super) async fn read_inventory(&self) -> Result<Inventory, BmcError> {
        let system = self.system().await?;
        let processors = self.collection(&system, "Processors").await?;
        let memory = self.collection(&system, "Memory").await?;
        let memory: Vec<MemoryModule> = memory.iter().filter_map(module_in).collect();
        let (controllers, drives) = self.storage(&system).await?;
        Ok(Inventory {
            identity: self.identity(&system).await?,
            processors: processors.iter().filter_map(processor_in).collect(),
            memory_mib: memory_mib(&system, &memory),
            memory,
            network_cards: self.network_cards(&system).await?,
            controllers,
            drives,
        })
    }

    async fn identity(&self, system: &Document) -> Result<Identity, BmcError> {
        let manager = match self.layout().await?.managers.first() {
            Some(path) => self.transport.get_part(path).await?,
            None => None,
        };
        Ok(Identity {
            manufacturer: system.required_text("Manufacturer"),
            model: system.required_text("Model"),
            serial_number: system.required_text("SerialNumber"),
            sku: system.text("SKU"),
            part_number: system.text("PartNumber"),
            uuid: system.text("UUID").map(|uuid| uuid.to_lowercase()),
            asset_tag: system.text("AssetTag"),
            bios_version: system.text("BiosVersion"),
            bmc_version: manager.and_then(|manager| manager.text("FirmwareVersion")),
        })
    }

    /// The system's interfaces; where it tells none, the functions of the chassis' network adapters.
    async fn network_cards(&self, system: &Document) -> Result<Vec<NetworkCard>, BmcError> {
        let interfaces = self.collection(system, "EthernetInterfaces").await?;
        let mut cards: Vec<NetworkCard> = interfaces
            .iter()
            .filter_map(|interface| card_in(interface, ""))
            .collect();
        if cards.is_empty() {
            for adapter in self.network_adapters().await? {
                let functions = self.collection(&adapter, "NetworkDeviceFunctions").await?;
                let found = functions.iter().filter_map(|f| card_in(f, "Ethernet/"));
                cards.extend(found);
            }
        }
        Ok(cards)
    }

    async fn network_adapters(&self) -> Result<Vec<Document>, BmcError> {
        let mut adapters = Vec::new();
        for chassis in &self.layout().await?.chassis {
            if let Some(chassis) = self.transport.get_part(chassis).await? {
                adapters.extend(self.collection(&chassis, "NetworkAdapters").await?);
            }
        }
        Ok(adapters)
    }

    pub(super) async fn storage(
        &self,
        system: &Document,
    ) -> Result<(Vec<Controller>, Vec<Drive>), BmcError> {
        let mut controllers = Vec::new();
        let mut drives = Vec::new();
        for storage in self.collection(system, "Storage").await? {
            let controller = self.controller(&storage).await?;
            for path in storage.links("Drives") {
                if let Some(drive) = self.transport.get_part(&path).await? {
                    drives.push(drive_in(&drive, &controller.id));
                }
            }
            controllers.push(controller);
        }
        if drives.is_empty() {
            for storage in self.collection(system, "SimpleStorage").await? {
                let id = storage.text("Id").unwrap_or_default();
                let present = storage.list("Devices");
                drives.extend(present.iter().map(|device| drive_in(device, &id)));
            }
        }
        Ok((controllers, drives))
    }

    /// In the storage itself in older services, in a collection of its own in newer ones.
    async fn controller(&self, storage: &Document) -> Result<Controller, BmcError> {
        let inside = storage.list("StorageControllers").into_iter().next();
        let told = match inside {
            Some(controller) => Some(controller),
            None => {
                let apart = self.collection(storage, "Controllers").await?;
                apart.into_iter().next()
            }
        };
        let text = |key| told.as_ref().and_then(|document| document.text(key));
        Ok(Controller {
            id: storage.required_text("Id").unwrap_or_default(),
            name: text("Name").or_else(|| storage.text("Name")),
            manufacturer: text("Manufacturer"),
            model: text("Model"),
            firmware_version: text("FirmwareVersion"),
        })
    }
}

/// An empty socket or slot is told as a member that is absent.
fn is_absent(document: &Document) -> bool {
    document.text("Status/State").as_deref() == Some("Absent")
}

fn processor_in(document: &Document) -> Option<Processor> {
    // Accelerators are in the same collection.
    let kind = document.text("ProcessorType").unwrap_or("CPU".to_owned());
    (!is_absent(document) && kind == "CPU").then(|| Processor {
        socket: document.text("Socket").or_else(|| document.text("Id")),
        manufacturer: document.text("Manufacturer"),
        model: document.text("Model"),
        architecture: document.text("ProcessorArchitecture"),
        cores: document.count("TotalCores"),
        threads: document.count("TotalThreads"),
        max_mhz: document.count("MaxSpeedMHz"),
    })
}

fn module_in(document: &Document) -> Option<MemoryModule> {
    let size_mib = document.count("CapacityMiB").unwrap_or(0);
    (!is_absent(document) && size_mib > 0).then(|| MemoryModule {
        slot: document
            .text("DeviceLocator")
            .or_else(|| document.text("Id")),
        size_mib,
        kind: document.text("MemoryDeviceType"),
        speed_mhz: document.count("OperatingSpeedMhz"),
        manufacturer: document.text("Manufacturer"),
        part_number: document.text("PartNumber"),
        serial_number: document.text("SerialNumber"),
    })
}

fn memory_mib(system: &Document, modules: &[MemoryModule]) -> Option<u64> {
    let told = system.number("MemorySummary/TotalSystemMemoryGiB");
    let told = told.filter(|gib| *gib > 0.0);
    let summed: u64 = modules.iter().map(|module| module.size_mib).sum();
    told.map(|gib| (gib * MIB_PER_GIB) as u64)
        .or((summed > 0).then_some(summed))
}

/// `inside` is where the Ethernet part of the document is.
fn card_in(document: &Document, inside: &str) -> Option<NetworkCard> {
    let address = |key| document.text(&format!("{inside}{key}"));
    let address = address("PermanentMACAddress")
        .as_deref()
        .and_then(mac)
        .or_else(|| address("MACAddress").as_deref().and_then(mac))?;
    let speed = document.count("SpeedMbps");
    Some(NetworkCard {
        id: document.required_text("Id").unwrap_or_default(),
        mac: address,
        link: document.word("LinkStatus", LINKS).unwrap_or(Link::Unknown),
        speed_mbps: speed.filter(|speed| *speed > 0),
    })
}

fn drive_in(document: &Document, controller: &str) -> Drive {
    Drive {
        id: document
            .text("Id")
            .or_else(|| document.text("Name"))
            .unwrap_or_else(|| document.path.clone()),
        name: document.text("Name"),
        controller: Some(controller.to_owned()).filter(|id| !id.is_empty()),
        model: document.text("Model"),
        serial_number: document.text("SerialNumber"),
        capacity_bytes: document.count("CapacityBytes").filter(|bytes| *bytes > 0),
        media: document.text("MediaType"),
        protocol: document.text("Protocol"),
        health: health_in(document),
    }
}
