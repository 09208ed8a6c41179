//! What the firmware says: maker and serial number, memory modules, management controller (SMBIOS, DSP0134), TPM.

use crate::device::Sysfs;
use crate::protocol::inventory::{Bmc, Firmware, SystemVendor, Tpm};

const MEMORY_DEVICE: u8 = 17;
const IPMI_DEVICE: u8 = 38;
const CONTROLLER_HOST_INTERFACE: u8 = 42;
/// Of a controller's host interface: a network card.
const NETWORK_INTERFACE: u8 = 0x40;
/// Of a protocol record: Redfish over IP (DSP0270, section 8.2).
const REDFISH_OVER_IP: u8 = 4;
/// "See the extended size": in MB, at another offset.
const EXTENDED: u16 = 0x7fff;

pub fn system_vendor(sysfs: &Sysfs) -> SystemVendor {
    let dmi = |name: &str| sysfs.text(format!("class/dmi/id/{name}"));
    SystemVendor {
        product_name: dmi("product_name"),
        serial_number: dmi("product_serial"),
        uuid: dmi("product_uuid"),
        manufacturer: dmi("sys_vendor"),
        firmware: Some(Firmware {
            vendor: dmi("bios_vendor"),
            version: dmi("bios_version"),
            build_date: dmi("bios_date"),
        }),
    }
}

pub fn tpm(sysfs: &Sysfs) -> Option<Tpm> {
    let name = sysfs.names("class/tpm").into_iter().next()?;
    let version = match sysfs
        .text(format!("class/tpm/{name}/tpm_version_major"))?
        .as_str()
    {
        "2" => "2.0",
        _ => "1.2",
    };
    Some(Tpm {
        version: version.to_owned(),
        description: sysfs.text(format!("class/tpm/{name}/device/description")),
    })
}

/// The formatted part of each structure of the firmware's tables.
#[derive(Debug, Default)]
pub struct Tables(Vec<Vec<u8>>);

impl Tables {
    pub fn read(sysfs: &Sysfs) -> Self {
        let table = std::fs::read(sysfs.path("firmware/dmi/tables/DMI")).unwrap_or_default();
        Self::parse(&table)
    }

    /// Each structure is followed by its texts, each ended by a zero, and one zero more.
    fn parse(mut table: &[u8]) -> Self {
        let mut structures = Vec::new();
        while let [_, length, ..] = table {
            let length = usize::from(*length);
            if length < 4 || length > table.len() {
                break;
            }
            let (structure, texts) = table.split_at(length);
            structures.push(structure.to_vec());
            let Some(end) = texts.windows(2).position(|pair| pair == [0, 0]) else {
                break;
            };
            table = &texts[end + 2..];
        }
        Self(structures)
    }

    fn of_kind(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .map(Vec::as_slice)
            .filter(move |structure| structure[0] == kind)
    }

    /// The sum of all modules; none if the firmware tells of none.
    pub fn fitted_memory_mb(&self) -> Option<u64> {
        let sizes: Vec<u64> = self.of_kind(MEMORY_DEVICE).filter_map(module_mb).collect();
        (!sizes.is_empty()).then(|| sizes.iter().sum())
    }

    pub fn bmc(&self) -> Option<Bmc> {
        let structure = self.of_kind(IPMI_DEVICE).next()?;
        let interface = match structure.get(4)? {
            1 => "KCS",
            2 => "SMIC",
            3 => "BT",
            4 => "SSIF",
            _ => "unknown",
        };
        let version = structure.get(5)?;
        Some(Bmc {
            interface: interface.to_owned(),
            ipmi_version: format!("{}.{}", version >> 4, version & 0xf),
        })
    }

    /// Whether the management controller speaks Redfish, to the server itself by a network card between them.
    pub fn has_redfish_interface(&self) -> bool {
        self.of_kind(CONTROLLER_HOST_INTERFACE)
            .any(|structure| speaks_redfish(structure).unwrap_or(false))
    }
}

/// The kind of interface, what is particular to it, and a list of protocols, each part with its length before it; none for
/// what breaks off.
fn speaks_redfish(structure: &[u8]) -> Option<bool> {
    let particular = usize::from(*structure.get(5)?);
    let (count, mut protocols) = structure.get(6 + particular..)?.split_first()?;
    for _ in 0..*count {
        let [kind, length, rest @ ..] = protocols else {
            return None;
        };
        if *kind == REDFISH_OVER_IP {
            return Some(structure[4] == NETWORK_INTERFACE);
        }
        protocols = rest.get(usize::from(*length)..)?;
    }
    Some(false)
}

fn module_mb(structure: &[u8]) -> Option<u64> {
    let size = u16::from_le_bytes([*structure.get(12)?, *structure.get(13)?]);
    match size {
        0 | 0xffff => None,
        EXTENDED => {
            let bytes = structure.get(28..32)?.try_into().ok()?;
            Some(u64::from(u32::from_le_bytes(bytes) & 0x7fff_ffff))
        }
        // The highest bit: in KB.
        size if size & 0x8000 != 0 => Some(u64::from(size & 0x7fff) / 1024),
        size => Some(u64::from(size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(kind: u8, length: usize, fields: &[(usize, &[u8])], texts: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; length];
        (bytes[0], bytes[1]) = (kind, length as u8);
        for (at, value) in fields {
            bytes[*at..at + value.len()].copy_from_slice(value);
        }
        bytes.extend_from_slice(texts);
        bytes
    }

    #[test]
    fn modules_and_management_controller_are_found_in_the_tables() {
        let table = [
            structure(0, 24, &[], b"SeaBIOS\0\0"),
            structure(17, 40, &[(12, &[0x00, 0x40])], b"DIMM 0\0\0"),
            structure(17, 40, &[(12, &[0xff, 0x7f]), (28, &[0, 0, 1, 0])], b"\0\0"),
            structure(17, 40, &[], b"\0\0"),
            structure(38, 18, &[(4, &[1]), (5, &[0x20])], b"\0\0"),
            structure(42, 14, &[(4, &[0x40, 2, 4, 0, 2, 1, 1, 0, 4, 0])], b"\0\0"),
            structure(127, 4, &[], b"\0\0"),
        ]
        .concat();
        let tables = Tables::parse(&table);
        assert_eq!(tables.fitted_memory_mb(), Some(16_384 + 65_536));
        let bmc = tables.bmc().unwrap();
        assert_eq!(
            (bmc.interface.as_str(), bmc.ipmi_version.as_str()),
            ("KCS", "2.0")
        );
        assert!(tables.has_redfish_interface());
        for length in 0..table.len() {
            Tables::parse(&table[..length]).has_redfish_interface();
        }
        for other in [
            &[0x40, 0, 0][..],
            &[0x40, 0, 1, 1, 0],
            &[0x40, 9, 1, 4, 0],
            &[2, 0, 1, 4, 0],
        ] {
            let table = structure(42, 4 + other.len(), &[(4, other)], b"\0\0");
            assert!(!Tables::parse(&table).has_redfish_interface(), "{other:?}");
        }
        assert!(Tables::default().bmc().is_none());
    }
}
