//! What a server is made of. What the BMC does not tell is `None`, or missing from a list.

use crate::sensors::Health;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Inventory {
    pub identity: Identity,
    pub processors: Vec<Processor>,
    /// The sum; a BMC may tell it without telling the modules.
    pub memory_mib: Option<u64>,
    pub memory: Vec<MemoryModule>,
    pub network_cards: Vec<NetworkCard>,
    pub controllers: Vec<Controller>,
    pub drives: Vec<Drive>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    /// The maker's number for this kind of server; Dell's service tag.
    pub sku: Option<String>,
    pub part_number: Option<String>,
    pub uuid: Option<String>,
    pub asset_tag: Option<String>,
    pub bios_version: Option<String>,
    pub bmc_version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Processor {
    pub socket: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    /// Redfish's words: x86, ARM, Power …
    pub architecture: Option<String>,
    pub cores: Option<u64>,
    pub threads: Option<u64>,
    pub max_mhz: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MemoryModule {
    pub slot: Option<String>,
    pub size_mib: u64,
    pub kind: Option<String>,
    pub speed_mhz: Option<u64>,
    pub manufacturer: Option<String>,
    pub part_number: Option<String>,
    pub serial_number: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkCard {
    pub id: String,
    /// In lower case with colons.
    pub mac: String,
    pub link: Link,
    pub speed_mbps: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    Up,
    Down,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Controller {
    pub id: String,
    pub name: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub firmware_version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Drive {
    pub id: String,
    pub name: Option<String>,
    pub controller: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    pub capacity_bytes: Option<u64>,
    /// HDD or SSD.
    pub media: Option<String>,
    /// SATA, SAS, NVMe …
    pub protocol: Option<String>,
    pub health: Option<Health>,
}

/// A MAC address as twelve hexadecimal digits with any separators, in the one form used here.
pub(crate) fn mac(text: &str) -> Option<String> {
    let digits: Vec<char> = text
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .collect();
    let is_address = digits.len() == 12
        && digits.iter().all(char::is_ascii_hexdigit)
        && digits.iter().any(|digit| *digit != '0');
    is_address.then(|| {
        let pairs: Vec<String> = digits
            .chunks(2)
            .map(|pair| pair.iter().collect::<String>().to_ascii_lowercase())
            .collect();
        pairs.join(":")
    })
}

#[cfg(test)]
mod tests {
    use super::mac;

    #[test]
    fn addresses_are_told_in_one_form() {
        for text in [
            "52:54:00:AB:cd:EF",
            "52-54-00-ab-cd-ef",
            "5254.00ab.cdef",
            "525400ABCDEF",
        ] {
            assert_eq!(mac(text).as_deref(), Some("52:54:00:ab:cd:ef"), "{text}");
        }
        for text in [
            "",
            "Not Available",
            "00:00:00:00:00:00",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ef:01",
        ] {
            assert_eq!(mac(text), None, "{text}");
        }
    }
}
