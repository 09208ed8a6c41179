//! What vendors do otherwise, as data: `quirks.toml`.

use super::document::Document;
use serde::Deserialize;
use serde_json::Value;
use std::sync::LazyLock;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    quirk: Vec<Quirks>,
}

/// What is otherwise at one BMC. The default is the standard.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// Words of which one is among the makers' own, in lower case.
    vendor: Vec<String>,
    /// Targets of the boot override that mean virtual media, best first.
    pub cdrom: Vec<String>,
    /// The override is taken only with its target, its lasting and its mode.
    pub boot_whole: bool,
    /// HTTP boot is taken and shown as network boot: the firmware's own order decides between the two.
    pub http_as_network: bool,
    /// The BIOS attribute that is the boot mode, where the override's mode is not taken.
    pub boot_mode: Option<BootModeAttribute>,
    /// Ids of log services that are the server's, best first.
    pub event_log: Vec<String>,
    pub clear_jobs: Option<ClearJobs>,
    /// Which keys InsertMedia takes, in the order to try.
    pub insert: Vec<InsertKeys>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootModeAttribute {
    pub attribute: String,
    pub uefi: String,
    pub legacy: String,
}

/// An action that forgets all jobs. `{manager}` is the manager's path.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearJobs {
    pub action: String,
    pub body: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InsertKeys {
    /// Image, Inserted, WriteProtected, TransferMethod, TransferProtocolType.
    All,
    /// Image, Inserted, WriteProtected.
    ImageAndState,
    Image,
}

static TABLE: LazyLock<Result<Table, String>> = LazyLock::new(|| {
    toml::from_str(include_str!("quirks.toml")).map_err(|error| error.to_string())
});

impl Quirks {
    /// Those of the BMC whose makers' words are in these documents.
    pub(super) fn of(documents: &[&Document]) -> Self {
        let words = makers(documents);
        let is_named = |quirks: &&Quirks| {
            let mut vendors = quirks.vendor.iter();
            vendors.any(|vendor| words.contains(vendor.as_str()))
        };
        let table = TABLE.as_ref().ok();
        let found = table.and_then(|table| table.quirk.iter().find(is_named));
        found.cloned().unwrap_or_default()
    }

    pub(super) fn insert_keys(&self) -> &[InsertKeys] {
        if self.insert.is_empty() {
            &[
                InsertKeys::ImageAndState,
                InsertKeys::All,
                InsertKeys::Image,
            ]
        } else {
            &self.insert
        }
    }
}

/// Where makers name themselves, in lower case. Free text, as a host's name, is not among it.
fn makers(documents: &[&Document]) -> String {
    let mut words = String::new();
    for document in documents {
        for key in ["Vendor", "Product", "Manufacturer", "Model"] {
            words.extend(document.text(key).map(|text| format!("{text} ")));
        }
        if let Some(Value::Object(oem)) = document.value("Oem") {
            words.extend(oem.keys().map(|key| format!("{key} ")));
        }
    }
    words.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oddity::Oddities;
    use serde_json::json;

    #[test]
    fn the_table_is_read_and_a_word_in_it_is_found() {
        let table = TABLE.as_ref().unwrap();
        for quirks in &table.quirk {
            assert!(!quirks.vendor.is_empty());
            let lower = |vendor: &String| *vendor == vendor.to_lowercase();
            assert!(quirks.vendor.iter().all(lower), "{quirks:?}");
        }
        let read = |value| Document::new("/redfish/v1/", value, None, Oddities::default());
        let dell = Quirks::of(&[&read(json!({"Oem": {"Dell": {}}}))]);
        assert_eq!(dell.event_log, ["Sel"]);
        let nobody = Quirks::of(&[&read(json!({"Name": "dell", "HostName": "hpe"}))]);
        assert_eq!(nobody, Quirks::default());
    }

    #[test]
    fn a_key_that_means_nothing_is_refused() {
        let wrong = "[[quirk]]\nvendor = [\"x\"]\nboot_hole = true\n";
        assert!(toml::from_str::<Table>(wrong).is_err());
    }
}
