//! What a simulated server is at one moment, and what power does to it. Pure: no clock, no I/O.
//!
//! ```mermaid
//! stateDiagram-v2
//!     Off --> On : On, Cycle (boots)
//!     On --> On : Reboot, SoftReboot, Cycle (boots)
//!     On --> Off : Off, SoftOff
//! ```
//!
//! A boot is where what was asked for comes true: settings that wait, secure boot, a boot mode that is a BIOS setting,
//! and a boot override for one boot, which is used up by it.

use corten_bmc::{
    AttributeValue, Attributes, Boot, BootDevice, BootMode, Indicator, Lasting, PowerAction,
    PowerState, Severity,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// As the log of a small BMC, whose oldest entries make way.
const LOG_ENTRIES_MAX: usize = 512;

/// The state behind a simulated server's BMC.
#[derive(Debug, Clone)]
pub(crate) struct Hardware {
    pub power: PowerState,
    pub boot: Boot,
    /// How the override's target was written, where one device has several words.
    pub boot_word: Option<String>,
    /// Where firmware boots from over HTTP.
    pub boot_url: Option<String>,
    pub mode: BootMode,
    /// The BIOS attribute that is the boot mode, if one is.
    pub mode_attribute: Option<ModeAttribute>,
    pub secure_boot: bool,
    pub secure_boot_in_force: bool,
    pub indicator: Indicator,
    pub asset_tag: String,
    /// The image in each drive that has one, by the drive's id.
    pub media: BTreeMap<String, String>,
    pub bios: Attributes,
    pub bios_pending: Attributes,
    pub bios_defaults: Attributes,
    /// What is on each disk; `None`: nothing.
    pub disks: Vec<Option<String>>,
    /// The version of each part that has firmware.
    pub firmware: BTreeMap<String, String>,
    /// Versions that are installed and hold from the next boot on.
    pub firmware_pending: BTreeMap<String, String>,
    pub log: VecDeque<LogLine>,
    pub log_lines: u64,
    pub boots: u64,
    /// What the last boot was from.
    pub booted_from: Option<BootDevice>,
}

/// A BIOS attribute and its values for the two boot modes.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModeAttribute {
    pub attribute: String,
    pub uefi: String,
    pub legacy: String,
}

/// One entry of the server's log.
#[derive(Debug, Clone)]
pub(crate) struct LogLine {
    pub id: u64,
    pub at: Timestamp,
    pub severity: Severity,
    pub message: String,
}

impl Hardware {
    /// A server that is off, with so many blank disks.
    pub fn new(bios: Attributes, disks: usize) -> Self {
        let versions = ["bios", "bmc"].map(|part| (part.to_owned(), "1.0".to_owned()));
        Self {
            power: PowerState::Off,
            boot: Boot::always(BootDevice::Network),
            boot_word: None,
            boot_url: None,
            mode: BootMode::Uefi,
            mode_attribute: None,
            secure_boot: false,
            secure_boot_in_force: false,
            indicator: Indicator::Off,
            asset_tag: String::new(),
            media: BTreeMap::new(),
            bios_defaults: bios.clone(),
            bios,
            bios_pending: Attributes::new(),
            disks: vec![None; disks],
            firmware: versions.into_iter().collect(),
            firmware_pending: BTreeMap::new(),
            log: VecDeque::new(),
            log_lines: 0,
            boots: 0,
            booted_from: None,
        }
    }

    pub fn is_on(&self) -> bool {
        self.power == PowerState::On
    }

    /// Does what is asked of the power, and tells whether the server booted.
    pub fn apply(&mut self, action: PowerAction, at: Timestamp) -> bool {
        let was_on = self.is_on();
        self.power = action.goal();
        let boots = match action {
            PowerAction::On => !was_on,
            PowerAction::Reboot | PowerAction::SoftReboot | PowerAction::Cycle => true,
            PowerAction::Off | PowerAction::SoftOff | PowerAction::Nmi => false,
        };
        let told = match action {
            PowerAction::Nmi => "A non-maskable interrupt was asked for.",
            _ if boots => "The server was started.",
            _ if was_on && !self.is_on() => "The server was turned off.",
            _ => return false,
        };
        if boots {
            self.start();
        }
        let severity = match action {
            PowerAction::Nmi => Severity::Warning,
            _ => Severity::Ok,
        };
        self.write_log(at, severity, told);
        boots
    }

    fn start(&mut self) {
        let pending = std::mem::take(&mut self.bios_pending);
        self.bios.extend(pending);
        let installed = std::mem::take(&mut self.firmware_pending);
        self.firmware.extend(installed);
        if let Some(setting) = &self.mode_attribute {
            let legacy = AttributeValue::Text(setting.legacy.clone());
            self.mode = match self.bios.get(&setting.attribute) {
                Some(value) if *value == legacy => BootMode::Legacy,
                _ => BootMode::Uefi,
            };
        }
        self.secure_boot_in_force = self.secure_boot && self.mode == BootMode::Uefi;
        self.boots += 1;
        self.booted_from = Some(self.boot.device);
        if self.boot.lasting == Lasting::Once {
            self.forget_override();
        }
    }

    /// As the firmware's own order says.
    pub fn forget_override(&mut self) {
        self.boot = Boot::always(BootDevice::Default);
        self.boot_word = None;
    }

    pub fn write_log(&mut self, at: Timestamp, severity: Severity, message: impl Into<String>) {
        self.log_lines += 1;
        self.log.push_back(LogLine {
            id: self.log_lines,
            at,
            severity,
            message: message.into(),
        });
        if self.log.len() > LOG_ENTRIES_MAX {
            self.log.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware() -> Hardware {
        let bios = [("Mode".to_owned(), AttributeValue::Text("Uefi".to_owned()))];
        Hardware::new(bios.into_iter().collect(), 1)
    }

    #[test]
    fn an_override_for_one_boot_is_used_up_by_it() {
        let mut server = hardware();
        server.boot = Boot::once(BootDevice::Cdrom);
        assert!(server.apply(PowerAction::On, Timestamp::UNIX_EPOCH));
        assert_eq!(server.booted_from, Some(BootDevice::Cdrom));
        assert_eq!(server.boot.device, BootDevice::Default);
        // On already: no boot.
        assert!(!server.apply(PowerAction::On, Timestamp::UNIX_EPOCH));
        assert_eq!(server.boots, 1);
        assert!(server.apply(PowerAction::Reboot, Timestamp::UNIX_EPOCH));
        assert_eq!(server.booted_from, Some(BootDevice::Default));
        server.boot = Boot::always(BootDevice::Disk);
        server.apply(PowerAction::Cycle, Timestamp::UNIX_EPOCH);
        assert_eq!(server.boot.device, BootDevice::Disk);
    }

    #[test]
    fn what_waits_for_a_boot_comes_true_with_it() {
        let mut server = hardware();
        server.mode_attribute = Some(ModeAttribute {
            attribute: "Mode".to_owned(),
            uefi: "Uefi".to_owned(),
            legacy: "Bios".to_owned(),
        });
        server.secure_boot = true;
        server.apply(PowerAction::On, Timestamp::UNIX_EPOCH);
        assert!(server.secure_boot_in_force);
        let legacy = AttributeValue::Text("Bios".to_owned());
        server.bios_pending.insert("Mode".to_owned(), legacy);
        server.apply(PowerAction::Off, Timestamp::UNIX_EPOCH);
        assert_eq!(server.mode, BootMode::Uefi);
        server.apply(PowerAction::On, Timestamp::UNIX_EPOCH);
        assert_eq!(server.mode, BootMode::Legacy);
        assert!(!server.secure_boot_in_force);
        assert!(server.bios_pending.is_empty());
    }

    #[test]
    fn the_log_keeps_the_newest() {
        let mut server = hardware();
        for _ in 0..LOG_ENTRIES_MAX + 3 {
            server.write_log(Timestamp::UNIX_EPOCH, Severity::Ok, "x");
        }
        assert_eq!(server.log.len(), LOG_ENTRIES_MAX);
        assert_eq!(server.log.front().unwrap().id, 4);
    }
}
