//! What a BMC shows of BIOS and firmware, as a node's row keeps it.

use corten_bmc::{Attributes, FirmwareItem};
use corten_model::time::Timestamp;
use corten_store::metal::node::{BiosSetting, FirmwareComponent, Node};

pub fn bios(shown: Attributes, at: Timestamp) -> Vec<BiosSetting> {
    let settings = shown.into_iter().map(|(name, value)| BiosSetting {
        name,
        value: Some(value.to_string()),
        seen_at: at,
    });
    settings.collect()
}

/// A component that was known keeps the version that it had first.
pub fn firmware(node: &Node, shown: Vec<FirmwareItem>, at: Timestamp) -> Vec<FirmwareComponent> {
    let components = shown.into_iter().map(|item| {
        let component = item.name.unwrap_or(item.id);
        let known = node
            .firmware
            .iter()
            .find(|known| known.component == component);
        FirmwareComponent {
            initial_version: known.map_or_else(
                || item.version.clone(),
                |known| known.initial_version.clone(),
            ),
            current_version: item.version,
            last_version_flashed: known.and_then(|known| known.last_version_flashed.clone()),
            created_at: known.map_or(at, |known| known.created_at),
            updated_at: known.map(|_| at),
            component,
        }
    });
    components.collect()
}
