//! What the server is made of, read from `/sys`, `/proc`, the firmware's tables and its management controller.

mod bmc;
mod cpu;
mod firmware;
pub mod lldp;
mod nics;
mod pci;

use crate::boot::network::Network;
use crate::device::{self, Disk, Sysfs};
use crate::journal::chain;
use crate::protocol::inventory;
use crate::protocol::{Inspection, Inventory};
use crate::steps::boot::is_uefi;
use lldp::Neighbour;
use std::time::Duration;

/// Knows of the server what only its boot could tell: the card that it was booted from, and who is at its other end.
#[derive(Clone)]
pub struct Inspector {
    sysfs: Sysfs,
    network: Option<Network>,
    neighbour: Neighbour,
    waits: bool,
}

impl Inspector {
    pub fn new(sysfs: Sysfs, network: Option<Network>, neighbour: Neighbour) -> Self {
        Self {
            sysfs,
            network,
            neighbour,
            waits: false,
        }
    }

    /// Waits for the neighbour's announcement if that is wanted.
    pub fn waiting(self, waits: bool) -> Self {
        Self { waits, ..self }
    }

    /// Looks at everything, and at what the neighbour has announced so far. If its announcement is worth time, then at most so
    /// much.
    pub fn inspect(&self, patience: Duration) -> Inspection {
        let mut inspection = inspect(&self.sysfs, self.network.as_ref());
        let patience = if self.waits { patience } else { Duration::ZERO };
        let boot_card = self.network.as_ref().map(|network| &network.card);
        let mut cards = inspection.inventory.interfaces.iter_mut();
        if let Some(card) = cards.find(|card| Some(&card.name) == boot_card) {
            card.lldp = self.neighbour.heard(patience);
        }
        inspection
    }
}

/// Looks at everything. What cannot be read is missing, and named in `error`.
fn inspect(sysfs: &Sysfs, network: Option<&Network>) -> Inspection {
    let mut errors = Vec::new();
    let disks = device::list(sysfs).unwrap_or_else(|error| {
        errors.push(format!("disks: {}", chain(&error)));
        Vec::new()
    });
    let smbios = firmware::Tables::read(sysfs);
    let controller = smbios.bmc();
    let lan = controller.as_ref().and_then(|_| bmc::lan());
    let proc = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
    let inventory = Inventory {
        cpu: cpu::parse(&proc("cpuinfo"), std::env::consts::ARCH),
        memory: inventory::Memory {
            total: cpu::memory_total(&proc("meminfo")),
            physical_mb: smbios.fitted_memory_mb(),
        },
        disks: disks
            .iter()
            .map(|found| inventory::Disk {
                removable: device::arrays::is_removable(sysfs, &found.name),
                ..disk(found)
            })
            .collect(),
        interfaces: nics::list(sysfs, network),
        system_vendor: firmware::system_vendor(sysfs),
        boot: inventory::Boot {
            current_boot_mode: if is_uefi(sysfs) { "uefi" } else { "bios" }.to_owned(),
            pxe_interface: network.map(|network| network.mac.clone()),
        },
        hostname: None,
        bmc_address: lan.as_ref().map(|lan| lan.address.to_string()),
        bmc_v6address: None,
        bmc_mac: lan.and_then(|lan| lan.mac),
        bmc: controller,
        bmc_redfish: smbios.has_redfish_interface(),
        tpm: firmware::tpm(sysfs),
    };
    Inspection {
        inventory,
        pci_devices: pci::list(sysfs),
        error: (!errors.is_empty()).then(|| errors.join("; ")),
    }
}

/// A disk that is part of the server, in the words of the inventory.
pub fn disk(disk: &Disk) -> inventory::Disk {
    // Exhaustive, so that nothing is forgotten.
    let Disk {
        name: _,
        transport,
        size_bytes,
        model,
        serial,
        wwn,
        vendor,
        hctl,
        rotational,
        read_only: _,
        logical_block_bytes,
        physical_block_bytes,
        discard_max_bytes: _,
    } = disk.clone();
    inventory::Disk {
        name: disk.path().display().to_string(),
        model,
        size: size_bytes,
        rotational,
        wwn,
        serial,
        vendor,
        hctl,
        logical_sectors: logical_block_bytes,
        physical_sectors: physical_block_bytes,
        tran: Some(transport.name().to_owned()),
        removable: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::net::Ipv4Addr;

    #[test]
    fn an_inspection_has_the_boot_card_and_what_its_neighbour_said() {
        let root = tempfile::tempdir().unwrap();
        for (card, mac) in [("eth0", "52:54:00:aa:00:01"), ("eth1", "52:54:00:aa:00:02")] {
            let card = root.path().join("class/net").join(card);
            fs::create_dir_all(card.join("device")).unwrap();
            fs::write(card.join("address"), mac).unwrap();
        }
        for file in [
            "block/sda/size",
            "block/sda/removable",
            "block/sda/device/model",
        ] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "1").unwrap();
        }
        let fields = vec![(1, "04".to_owned())];
        let network = Network {
            card: "eth1".to_owned(),
            mac: "52:54:00:aa:00:02".to_owned(),
            address: Ipv4Addr::new(10, 0, 2, 15),
        };
        let neighbour = Neighbour::saying(fields.clone());
        let inspector = Inspector::new(Sysfs::new(root.path()), Some(network), neighbour);
        let found = inspector
            .waiting(true)
            .inspect(Duration::from_secs(60))
            .inventory;
        assert_eq!(
            found.boot.pxe_interface.as_deref(),
            Some("52:54:00:aa:00:02")
        );
        assert_eq!(found.interfaces[0].lldp, None);
        assert_eq!(found.interfaces[1].lldp, Some(fields));
        assert!(found.disks[0].removable);
    }
}
