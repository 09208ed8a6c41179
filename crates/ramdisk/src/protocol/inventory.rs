//! What a server is made of, in the stock agent's words where it has them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The body of `POST /v1/continue_inspection`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inspection {
    pub inventory: Inventory,
    pub pci_devices: Vec<PciDevice>,
    /// Why something is missing, or nothing.
    pub error: Option<String>,
}

/// The answer: which node that is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inspected {
    pub uuid: Option<Uuid>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inventory {
    pub cpu: Cpu,
    pub memory: Memory,
    pub disks: Vec<Disk>,
    pub interfaces: Vec<Interface>,
    pub system_vendor: SystemVendor,
    pub boot: Boot,
    pub hostname: Option<String>,
    pub bmc_address: Option<String>,
    pub bmc_v6address: Option<String>,
    pub bmc_mac: Option<String>,
    /// The management controller as the server's own firmware describes it. Ours.
    pub bmc: Option<Bmc>,
    /// The firmware's tables name a way to the management controller over Redfish (SMBIOS type 42). Ours.
    #[serde(default)]
    pub bmc_redfish: bool,
    /// Ours.
    pub tpm: Option<Tpm>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    pub model_name: Option<String>,
    /// MHz, as text.
    pub frequency: Option<String>,
    /// Threads.
    pub count: usize,
    pub socket_count: usize,
    pub architecture: String,
    pub flags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes that the kernel has.
    pub total: u64,
    /// What is fitted, by the firmware's tables.
    pub physical_mb: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// `/dev/…`
    pub name: String,
    pub model: Option<String>,
    /// Bytes.
    pub size: u64,
    pub rotational: bool,
    pub wwn: Option<String>,
    pub serial: Option<String>,
    pub vendor: Option<String>,
    pub hctl: Option<String>,
    pub logical_sectors: u64,
    pub physical_sectors: u64,
    /// `nvme`, `ata`, `scsi`, `virtio`…; `md` is an array, whose members are listed too.
    pub tran: Option<String>,
    /// A memory card or a USB stick, which becomes the root disk only if a hint says so. Ours.
    #[serde(default)]
    pub removable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    pub mac_address: String,
    pub ipv4_address: Option<String>,
    pub ipv6_address: Option<String>,
    pub has_carrier: bool,
    /// Type and value (hexadecimal) of each field of the neighbour's announcement.
    pub lldp: Option<Vec<(u8, String)>>,
    pub vendor: Option<String>,
    pub product: Option<String>,
    pub speed_mbps: Option<u64>,
    pub pci_address: Option<String>,
    pub driver: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemVendor {
    pub product_name: Option<String>,
    pub serial_number: Option<String>,
    /// The server's own id (SMBIOS type 1), which a maker may have left blank. Ours.
    pub uuid: Option<String>,
    pub manufacturer: Option<String>,
    pub firmware: Option<Firmware>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    pub vendor: Option<String>,
    pub version: Option<String>,
    pub build_date: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// `uefi` or `bios`.
    pub current_boot_mode: String,
    /// The address of the card that the server was booted from.
    pub pxe_interface: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciDevice {
    /// `0000:00:1f.2`
    pub bus: String,
    pub vendor_id: String,
    pub product_id: String,
    pub class: String,
    pub revision: String,
}

/// From the IPMI device record of the firmware's tables (SMBIOS type 38).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bmc {
    /// `KCS`, `SMIC`, `BT` or `SSIF`.
    pub interface: String,
    /// IPMI's version, such as `2.0`.
    pub ipmi_version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tpm {
    /// `1.2` or `2.0`.
    pub version: String,
    pub description: Option<String>,
}
