//! What the ramdisk of an unknown server told: the body of `POST /v1/continue_inspection`, in Ironic's words and ours.
//!
//! Firmware of many makers has the same id or serial number in every machine. Such a value names nobody, and is not used to
//! tell servers apart.

use crate::metal::driver::{IPMI, REDFISH};
use crate::metal::inspect_node::within;
use corten_model::refusal::Refusal;
use corten_store::metal::Object;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use uuid::Uuid;

/// What is kept of one server is no larger than this, in bytes.
pub const BYTES_MAX: usize = 256 * 1024;
/// A server with more network cards is none.
const CARDS_MAX: usize = 128;
/// The text of one value that goes into other places than the inventory.
const TEXT_MAX: usize = 128;

/// The inventory, as far as it is understood. Anything else in it is kept and shown.
#[derive(Debug, Clone, Deserialize)]
#[allow(
    dead_code,
    reason = "numbers are read here so that what is none is refused"
)]
pub struct Facts {
    interfaces: Vec<Card>,
    #[serde(default, deserialize_with = "or_default")]
    cpu: Cpu,
    #[serde(default, deserialize_with = "or_default")]
    memory: Memory,
    #[serde(default, deserialize_with = "or_default")]
    disks: Vec<Disk>,
    #[serde(default, deserialize_with = "or_default")]
    boot: Boot,
    #[serde(default, deserialize_with = "or_default")]
    system_vendor: SystemVendor,
    #[serde(default)]
    bmc_address: Option<String>,
    #[serde(default)]
    bmc_v6address: Option<String>,
    /// The firmware's tables name a BMC that speaks IPMI.
    #[serde(default)]
    bmc: Option<Value>,
    /// They name a way from the server to its BMC over Redfish.
    #[serde(default, deserialize_with = "or_default")]
    bmc_redfish: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Card {
    mac_address: String,
    #[serde(default)]
    driver: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(dead_code, reason = "as above")]
struct Cpu {
    count: Option<u32>,
    architecture: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(dead_code, reason = "as above")]
struct Memory {
    total: Option<u64>,
    physical_mb: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(dead_code, reason = "as above")]
struct Disk {
    size: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Boot {
    current_boot_mode: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SystemVendor {
    manufacturer: Option<String>,
    product_name: Option<String>,
    serial_number: Option<String>,
    uuid: Option<String>,
}

/// What the stock agent does not know it sends as null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A report that holds to the rules.
#[derive(Debug, Clone)]
pub struct Report {
    facts: Facts,
    macs: BTreeSet<String>,
    inventory: Value,
    plugin_data: Object,
}

impl Report {
    pub fn new(facts: Facts, inventory: Value, plugin_data: Object) -> Result<Self, Refusal> {
        let bytes =
            inventory.to_string().len() + Value::from(plugin_data.clone()).to_string().len();
        if bytes > BYTES_MAX {
            return Err(Refusal::too_large(format!(
                "The inventory has {bytes} bytes, and at most {BYTES_MAX} are taken."
            )));
        }
        check_short("cpu.architecture", facts.cpu.architecture.as_deref())?;
        let mode = facts.boot.current_boot_mode.as_deref();
        if !matches!(mode, None | Some("bios" | "uefi")) {
            return Err(Refusal::invalid(format!(
                "inventory.boot.current_boot_mode is '{}': it is bios or uefi.",
                clipped(mode.unwrap_or_default())
            )));
        }
        if facts.interfaces.len() > CARDS_MAX {
            return Err(Refusal::invalid(format!(
                "The inventory has {} interfaces, and at most {CARDS_MAX} are taken.",
                facts.interfaces.len()
            )));
        }
        let cards = facts.interfaces.iter();
        let cards = cards.map(|card| (card.mac_address.as_str(), card.driver.as_deref()));
        let macs = within::own_macs(cards);
        if macs.is_empty() {
            return Err(Refusal::invalid(
                "No lookup information provided: none of inventory.interfaces has the MAC address of an Ethernet card.",
            ));
        }
        Ok(Self {
            facts,
            macs,
            inventory,
            plugin_data,
        })
    }

    /// The inventory as it was sent, and what was sent beside it.
    pub fn into_parts(self) -> (Value, Object) {
        (self.inventory, self.plugin_data)
    }

    /// The addresses of the server's own network cards.
    pub fn macs(&self) -> &BTreeSet<String> {
        &self.macs
    }

    /// The server's own id, if it can be nobody else's.
    pub fn system_uuid(&self) -> Option<String> {
        /// In every machine whose maker left the vendor's example as it was.
        const EXAMPLE: Uuid = Uuid::from_u128(0x0300_0200_0400_0500_0006_0007_0008_0009);
        let text = self.facts.system_vendor.uuid.as_deref()?;
        let uuid: Uuid = text.trim().parse().ok()?;
        let bytes = uuid.as_bytes();
        let blank = bytes.iter().all(|byte| *byte == bytes[0]);
        (!blank && uuid != EXAMPLE).then(|| uuid.to_string())
    }

    /// Maker, model and serial number, if they can be nobody else's.
    pub fn serial(&self) -> Option<String> {
        const PLACEHOLDERS: &[&str] = &[
            "none",
            "unknown",
            "not specified",
            "not available",
            "default string",
            "default",
            "to be filled by o.e.m.",
            "system serial number",
            "chassis serial number",
            "serial number",
            "invalid",
            "empty",
            "0123456789",
            "123456789",
            "1234567890",
        ];
        let vendor = &self.facts.system_vendor;
        let serial = vendor.serial_number.as_deref()?.trim();
        let first = serial.chars().next()?;
        let lower = serial.to_ascii_lowercase();
        let means_nothing = serial.chars().count() < 4
            || serial.chars().all(|c| c == first)
            || PLACEHOLDERS.contains(&lower.as_str());
        if means_nothing {
            return None;
        }
        let maker = vendor.manufacturer.as_deref()?.trim();
        let model = vendor.product_name.as_deref()?.trim();
        Some([maker, model, serial].map(clipped).join("/"))
    }

    /// What the server is, for people.
    pub fn words(&self) -> String {
        let vendor = &self.facts.system_vendor;
        let parts = [&vendor.manufacturer, &vendor.product_name];
        let mut words: Vec<_> = parts
            .into_iter()
            .flatten()
            .map(|text| clipped(text))
            .collect();
        if words.is_empty() {
            words.push("a server that does not say who made it".to_owned());
        }
        if let Some(serial) = &vendor.serial_number {
            words.push(format!("(serial number {})", clipped(serial)));
        }
        words.join(" ")
    }

    /// The driver for its BMC. A BMC that nothing is told of is taken for one of today's.
    pub fn driver(&self) -> &'static str {
        let speaks_ipmi = self.facts.bmc.as_ref().is_some_and(|bmc| !bmc.is_null());
        let told = speaks_ipmi || self.bmc_address().is_some();
        if told && !self.facts.bmc_redfish {
            IPMI
        } else {
            REDFISH
        }
    }

    /// Where its BMC is on the management network.
    fn bmc_address(&self) -> Option<IpAddr> {
        let told = [&self.facts.bmc_address, &self.facts.bmc_v6address];
        let mut addresses = told.into_iter().flatten().filter_map(|text| {
            // The stock agent tells an IPv6 address with the length of its prefix.
            text.split('/').next()?.trim().parse::<IpAddr>().ok()
        });
        addresses.find(|address| {
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
        })
    }

    /// What `driver_info` of a node with this driver can be told already.
    pub fn driver_info(&self, driver: &str) -> Option<(&'static str, String)> {
        let address = self.bmc_address()?;
        match (driver, address) {
            (IPMI, address) => Some(("ipmi_address", address.to_string())),
            (REDFISH, IpAddr::V4(address)) => {
                Some(("redfish_address", format!("https://{address}")))
            }
            (REDFISH, IpAddr::V6(address)) => {
                Some(("redfish_address", format!("https://[{address}]")))
            }
            _ => None,
        }
    }
}

fn check_short(field: &str, text: Option<&str>) -> Result<(), Refusal> {
    match text {
        Some(text) if text.len() > TEXT_MAX => Err(Refusal::invalid(format!(
            "inventory.{field} has {} bytes, and at most {TEXT_MAX} are taken.",
            text.len()
        ))),
        _ => Ok(()),
    }
}

/// The server's own words, for a line of ours.
fn clipped(text: &str) -> String {
    let clipped: String = text.trim().chars().take(TEXT_MAX).collect();
    clipped.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(more: Value) -> Result<Report, Refusal> {
        let mut inventory = json!({"interfaces": [{"mac_address": "52:54:00:AA:00:01"}]});
        for (key, value) in more.as_object().unwrap() {
            inventory[key] = value.clone();
        }
        let facts = serde_json::from_value(inventory.clone()).map_err(Refusal::invalid)?;
        Report::new(facts, inventory, Object::new())
    }

    fn with(more: Value) -> Report {
        report(more).unwrap()
    }

    #[test]
    fn the_driver_and_its_address_are_those_that_the_bmc_speaks() {
        let told = |more| {
            let report = with(more);
            (report.driver(), report.driver_info(report.driver()))
        };
        let redfish = |address: &str| Some(("redfish_address", address.to_owned()));
        assert_eq!(told(json!({})), ("redfish", None));
        assert_eq!(
            told(json!({"bmc": {"interface": "KCS"}, "bmc_address": "0.0.0.0"})),
            ("ipmi", None)
        );
        assert_eq!(
            told(json!({"bmc_address": "10.9.0.11"})),
            ("ipmi", Some(("ipmi_address", "10.9.0.11".to_owned())))
        );
        let both =
            json!({"bmc": {"interface": "KCS"}, "bmc_redfish": true, "bmc_address": "10.9.0.11"});
        assert_eq!(told(both), ("redfish", redfish("https://10.9.0.11")));
        let six =
            json!({"bmc_redfish": true, "bmc_address": null, "bmc_v6address": "2001:db8::7/64"});
        assert_eq!(told(six), ("redfish", redfish("https://[2001:db8::7]")));
        assert_eq!(
            told(json!({"bmc_address": "nowhere; reboot", "bmc_v6address": "::/0"})),
            ("redfish", None)
        );
    }

    #[test]
    fn what_every_machine_of_a_kind_has_names_none() {
        let of = |uuid: &str, serial: &str| {
            let vendor = json!({"manufacturer": "ACME", "product_name": "One", "serial_number": serial, "uuid": uuid});
            let report = with(json!({"system_vendor": vendor}));
            (report.system_uuid(), report.serial())
        };
        for uuid in [
            "",
            "Not Settable",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "03000200-0400-0500-0006-000700080009",
        ] {
            assert_eq!(of(uuid, "").0, None, "{uuid}");
        }
        for serial in [
            "",
            "0",
            "None",
            "Default string",
            "To Be Filled By O.E.M.",
            "........",
            "0123456789",
        ] {
            assert_eq!(of("", serial).1, None, "{serial}");
        }
        let (uuid, serial) = of("4C4C4544-0042-3510-8052-B4C04F4E3732", "B5RN72");
        assert_eq!(
            uuid.as_deref(),
            Some("4c4c4544-0042-3510-8052-b4c04f4e3732")
        );
        assert_eq!(serial.as_deref(), Some("ACME/One/B5RN72"));
    }

    #[test]
    fn only_the_servers_own_cards_tell_who_it_is() {
        let report = with(json!({"interfaces": [
            {"mac_address": "52:54:00:AA:00:01", "driver": "virtio_net"},
            {"mac_address": "be:3a:f2:b6:05:9f", "driver": "cdc_ether"},
        ]}));
        assert_eq!(
            report.macs(),
            &BTreeSet::from(["52:54:00:aa:00:01".to_owned()])
        );
    }

    #[test]
    fn what_cannot_be_a_server_is_refused_with_the_reason() {
        let why = |more| report(more).unwrap_err().message;
        assert!(why(json!({"interfaces": []})).contains("No lookup information"));
        assert!(why(json!({"interfaces": [{}]})).contains("mac_address"));
        assert!(why(json!({"cpu": {"count": "many"}})).contains("many"));
        assert!(
            why(json!({"cpu": {"architecture": "x".repeat(200)}})).contains("cpu.architecture")
        );
        assert!(why(json!({"boot": {"current_boot_mode": "floppy"}})).contains("floppy"));
        assert!(why(json!({"lldp": "x".repeat(BYTES_MAX)})).contains("at most"));
        let many = vec![json!({"mac_address": "52:54:00:aa:00:01"}); CARDS_MAX + 1];
        assert!(why(json!({"interfaces": many})).contains("interfaces"));
        // What the stock agent sends of a server without disks.
        assert!(report(json!({"disks": null, "system_vendor": null, "boot": null})).is_ok());
    }
}
