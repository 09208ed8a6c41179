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

/// Looks at everything. What cannot be read is missing, and named in `error`.
pub fn inspect(sysfs: &Sysfs, network: Option<&Network>) -> Inspection {
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
        disks: disks.iter().map(disk).collect(),
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

/// A disk in the words of the inventory.
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
    }
}
