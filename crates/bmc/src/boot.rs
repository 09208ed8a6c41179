//! What a server boots from, for how long, and in which mode.

use serde::{Deserialize, Serialize};

/// The override of the boot order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// [`BootDevice::Default`] is no override.
    pub device: BootDevice,
    pub lasting: Lasting,
    /// `None` when set: leave it as it is. `None` when read: the BMC does not say.
    pub mode: Option<BootMode>,
}

impl Boot {
    pub fn once(device: BootDevice) -> Self {
        Self {
            device,
            lasting: Lasting::Once,
            mode: None,
        }
    }

    pub fn always(device: BootDevice) -> Self {
        Self {
            lasting: Lasting::Always,
            ..Self::once(device)
        }
    }

    pub fn in_mode(mut self, mode: BootMode) -> Self {
        self.mode = Some(mode);
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootDevice {
    /// As the firmware's own order says.
    Default,
    Network,
    /// UEFI HTTP boot.
    Http,
    Disk,
    /// Also virtual media.
    Cdrom,
    Usb,
    Floppy,
    /// The firmware's setup.
    Setup,
    Diagnostics,
    /// What is shown is none of these.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lasting {
    Once,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootMode {
    Uefi,
    Legacy,
}

/// When what was set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Now,
    NextBoot,
}
