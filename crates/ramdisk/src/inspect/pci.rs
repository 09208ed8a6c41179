//! PCI devices.

use crate::device::Sysfs;
use crate::protocol::inventory::PciDevice;

pub fn list(sysfs: &Sysfs) -> Vec<PciDevice> {
    sysfs
        .names("bus/pci/devices")
        .into_iter()
        .filter_map(|bus| {
            let field = |name: &str| {
                let text = sysfs.text(format!("bus/pci/devices/{bus}/{name}"))?;
                Some(text.trim_start_matches("0x").to_owned())
            };
            Some(PciDevice {
                vendor_id: field("vendor")?,
                product_id: field("device")?,
                class: field("class")?,
                revision: field("revision")?,
                bus,
            })
        })
        .collect()
}
