//! What a BMC shows of BIOS, firmware and the way a server boots, as a node's row keeps it.

use corten_bmc::{Attributes, Bmc, BmcError, BootMode, FirmwareItem};
use corten_model::time::Timestamp;
use corten_store::metal::node::{BiosSetting, FirmwareComponent, Node};

/// How a server boots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Boots {
    pub mode: Option<BootMode>,
    pub secure: Option<bool>,
}

impl Boots {
    /// What a BMC does not tell, or tells oddly, is not known, and nothing fails for it.
    pub async fn asked(bmc: &dyn Bmc) -> Self {
        let mode = told(bmc, "its boot mode", bmc.boot().await).and_then(|boot| boot.mode);
        let secure = told(bmc, "whether it boots securely", bmc.secure_boot().await);
        Self {
            mode,
            secure: secure.map(|secure| secure.in_force.unwrap_or(secure.enabled)),
        }
    }

    pub fn keep(self, node: &mut Node) {
        if let Some(mode) = self.mode {
            node.boot_mode = Some(mode_word(mode).to_owned());
        }
        node.secure_boot = self.secure.or(node.secure_boot);
    }
}

fn told<T>(bmc: &dyn Bmc, what: &str, answer: Result<T, BmcError>) -> Option<T> {
    answer
        .inspect_err(|error| tracing::debug!(bmc = bmc.name(), %error, "does not tell {what}"))
        .ok()
}

/// As Ironic has it.
pub fn mode_word(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Uefi => "uefi",
        BootMode::Legacy => "bios",
    }
}

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
