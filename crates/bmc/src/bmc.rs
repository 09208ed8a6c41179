//! The trait of a BMC, and how one is opened.

use crate::bios::{Attributes, BiosSettings};
use crate::boot::{Boot, BootMode, Effect, Lasting};
use crate::capability::{Capabilities, Capability};
use crate::error::BmcError;
use crate::event::EventStream;
use crate::event_log::LogEntry;
use crate::firmware::{FirmwareItem, FirmwareUpdate, TaskProgress, TaskRef, TaskSeen};
use crate::inventory::Inventory;
use crate::ipmi::Ipmi;
use crate::media::{Media, MediaKind, MediaSlot};
use crate::oddity::Oddity;
use crate::power::{PowerAction, PowerState};
use crate::redfish::Redfish;
use crate::sensors::Sensors;
use crate::{Address, Credentials, Limits};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

/// Makes a BMC of its address. Nothing is sent until the first question.
pub fn open(
    address: Address,
    credentials: Credentials,
    limits: Limits,
) -> Result<Arc<dyn Bmc>, BmcError> {
    Ok(match address {
        Address::Redfish(address) => Arc::new(Redfish::new(address, credentials, limits)?),
        Address::Ipmi(address) => Arc::new(Ipmi::new(address, credentials, limits)?),
    })
}

/// One server's BMC.
///
/// What a BMC cannot do is [`BmcError::Lacks`]; [`Bmc::capabilities`] tells it before. Setters return when the BMC shows what was set;
/// the power is the exception, since it takes a server minutes: see [`crate::change_power`].
#[async_trait]
pub trait Bmc: Send + Sync {
    /// Protocol, host and port, as errors name it.
    fn name(&self) -> &str;

    /// What this BMC can do, as far as it tells.
    async fn capabilities(&self) -> Result<Capabilities, BmcError>;

    /// What was odd in its answers since it was opened, each once.
    fn oddities(&self) -> Vec<Oddity>;

    async fn power(&self) -> Result<PowerState, BmcError>;

    /// Asks for a change of power. Where the state is the wanted one already, nothing is sent.
    async fn set_power(&self, action: PowerAction) -> Result<(), BmcError>;

    async fn boot(&self) -> Result<Boot, BmcError>;

    /// Chooses what the server boots from and returns what the BMC shows then. It may differ in how long it lasts.
    async fn set_boot(&self, wanted: Boot) -> Result<Boot, BmcError>;

    /// As [`Bmc::set_boot`], over HTTP (UEFI) from an address that the BMC hands to the firmware: no DHCP server need know it.
    async fn set_boot_url(&self, _url: &Url, _lasting: Lasting) -> Result<Boot, BmcError> {
        Err(self.lacks(Capability::HttpBootAddress))
    }

    /// How firmware boots, where it is a setting of its own; IPMI can only set it together with a device.
    async fn set_boot_mode(&self, _mode: BootMode) -> Result<Effect, BmcError> {
        Err(self.lacks(Capability::BootMode))
    }

    async fn secure_boot(&self) -> Result<SecureBoot, BmcError> {
        Err(self.lacks(Capability::SecureBoot))
    }

    /// From the next boot on.
    async fn set_secure_boot(&self, _enabled: bool) -> Result<(), BmcError> {
        Err(self.lacks(Capability::SecureBoot))
    }

    async fn media(&self) -> Result<Vec<MediaSlot>, BmcError> {
        Err(self.lacks(Capability::VirtualMedia))
    }

    /// Has the image in a slot of this kind, and no other image in any slot of this kind.
    async fn insert_media(&self, _kind: MediaKind, _media: &Media) -> Result<MediaSlot, BmcError> {
        Err(self.lacks(Capability::VirtualMedia))
    }

    /// Empties each slot of this kind.
    async fn eject_media(&self, _kind: MediaKind) -> Result<(), BmcError> {
        Err(self.lacks(Capability::VirtualMedia))
    }

    async fn bios(&self) -> Result<BiosSettings, BmcError> {
        Err(self.lacks(Capability::BiosSettings))
    }

    /// Attributes that the BMC does not know are refused before anything is sent.
    async fn set_bios(&self, _wanted: &Attributes) -> Result<Effect, BmcError> {
        Err(self.lacks(Capability::BiosSettings))
    }

    /// Back to the factory's settings at the next boot.
    async fn reset_bios(&self) -> Result<(), BmcError> {
        Err(self.lacks(Capability::BiosReset))
    }

    /// Takes back what waits for a boot: pending settings and the jobs that would apply them.
    async fn clear_jobs(&self) -> Result<(), BmcError> {
        Err(self.lacks(Capability::ClearJobs))
    }

    async fn inventory(&self) -> Result<Inventory, BmcError>;

    async fn sensors(&self) -> Result<Sensors, BmcError>;

    /// Oldest first.
    async fn event_log(&self) -> Result<Vec<LogEntry>, BmcError>;

    /// What the BMC tells from now on, over a connection that it keeps open. It is one of the few that a BMC gets
    /// ([`BmcError::NoConnectionLeft`]), and closed when the stream is dropped; until then this must not be closed.
    async fn events(&self) -> Result<EventStream, BmcError> {
        Err(self.lacks(Capability::EventStream))
    }

    async fn clear_event_log(&self) -> Result<(), BmcError>;

    async fn firmware(&self) -> Result<Vec<FirmwareItem>, BmcError>;

    /// Refuses an update that this BMC would not take, as far as it tells. Nothing is begun.
    async fn check_update(&self, _update: &FirmwareUpdate) -> Result<(), BmcError> {
        Err(self.lacks(Capability::FirmwareUpdate))
    }

    /// The BMC fetches the image and installs it; [`crate::follow`] waits for its task. `None`: it gives none to follow.
    async fn update_firmware(&self, _update: &FirmwareUpdate) -> Result<Option<TaskRef>, BmcError> {
        Err(self.lacks(Capability::FirmwareUpdate))
    }

    async fn task(&self, _task: &TaskRef) -> Result<TaskProgress, BmcError> {
        Err(self.lacks(Capability::FirmwareUpdate))
    }

    /// Each task that the BMC has, whole or not at all: what is missing in the list is not there. `None`: it lists none.
    async fn tasks(&self) -> Result<Option<Vec<TaskSeen>>, BmcError> {
        Ok(None)
    }

    async fn indicator(&self) -> Result<Indicator, BmcError> {
        Err(self.lacks(Capability::Indicator))
    }

    async fn set_indicator(&self, _indicator: Indicator) -> Result<(), BmcError> {
        Err(self.lacks(Capability::Indicator))
    }

    /// The server's serial console. Whoever else has it loses it; it ends when the stream is dropped.
    async fn serial_console(&self) -> Result<Box<dyn SerialStream>, BmcError> {
        Err(self.lacks(Capability::SerialConsole))
    }

    /// Logs out. BMCs hold few sessions and keep forgotten ones for half an hour.
    async fn close(&self) {}

    /// The error of a BMC without this.
    fn lacks(&self, capability: Capability) -> BmcError {
        BmcError::Lacks {
            bmc: self.name().to_owned(),
            capability,
        }
    }
}

/// A serial console's two directions.
pub trait SerialStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> SerialStream for T {}

/// The light that shows a technician which server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indicator {
    Off,
    Lit,
    Blinking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecureBoot {
    /// As set, for the next boot.
    pub enabled: bool,
    /// At the last boot; `None` if the BMC does not say.
    pub in_force: Option<bool>,
}
