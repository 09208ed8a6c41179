//! What a BMC can do.

use std::collections::BTreeSet;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    Power,
    SoftPowerOff,
    SoftReboot,
    Reboot,
    PowerCycle,
    Nmi,
    BootDevice,
    BootOnce,
    HttpBootAddress,
    BootMode,
    SecureBoot,
    VirtualMedia,
    BiosSettings,
    BiosReset,
    ClearJobs,
    Sensors,
    EventLog,
    EventStream,
    FirmwareInventory,
    FirmwareUpdate,
    Indicator,
    SerialConsole,
}

impl Capability {
    fn words(self) -> &'static str {
        match self {
            Self::Power => "power control",
            Self::SoftPowerOff => "soft power off",
            Self::SoftReboot => "soft reboot",
            Self::Reboot => "reboot",
            Self::PowerCycle => "power cycle",
            Self::Nmi => "non-maskable interrupt",
            Self::BootDevice => "choice of the boot device",
            Self::BootOnce => "choice of the boot device for one boot",
            Self::HttpBootAddress => "address to boot from over HTTP",
            Self::BootMode => "choice of the boot mode",
            Self::SecureBoot => "setting of secure boot",
            Self::VirtualMedia => "virtual media",
            Self::BiosSettings => "BIOS settings",
            Self::BiosReset => "reset of the BIOS settings",
            Self::ClearJobs => "way to take back pending jobs",
            Self::Sensors => "sensors",
            Self::EventLog => "event log",
            Self::EventStream => "stream of events",
            Self::FirmwareInventory => "list of firmware",
            Self::FirmwareUpdate => "firmware update",
            Self::Indicator => "indicator light",
            Self::SerialConsole => "serial console",
        }
    }

    /// What to do without it.
    pub(crate) fn instead(self) -> &'static str {
        match self {
            Self::SoftPowerOff => "turn the power off",
            Self::SoftReboot | Self::Reboot | Self::PowerCycle => "turn the power off and on again",
            Self::VirtualMedia => "boot over the network",
            Self::HttpBootAddress => "have DHCP tell it, or use virtual media",
            Self::BootOnce => "set it for each boot, and set it back after the first",
            Self::SerialConsole => "use IPMI for it, if the BMC speaks it",
            Self::EventStream => "read it now and then",
            Self::BootMode => "set it in the BIOS settings or together with the boot device",
            _ => "do without, or use another protocol or newer firmware of the BMC",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// What one BMC can do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    pub fn iter(&self) -> impl Iterator<Item = Capability> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn add_if(&mut self, present: bool, capability: Capability) {
        if present {
            self.0.insert(capability);
        }
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}
