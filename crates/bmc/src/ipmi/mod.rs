//! A BMC that speaks IPMI 2.0, through `ipmitool`.
//!
//! IPMI is older and says less than Redfish: no virtual media, no BIOS settings, no inventory but the maker's labels. What it
//! has is here; what it has not is [`BmcError::Lacks`].

mod boot;
mod sensors;
mod serial;
mod tool;
mod words;

use crate::address::{Credentials, IpmiAddress, Limits};
use crate::bmc::{Bmc, Indicator, SerialStream};
use crate::boot::Boot;
use crate::capability::{Capabilities, Capability};
use crate::error::BmcError;
use crate::event_log::LogEntry;
use crate::firmware::FirmwareItem;
use crate::inventory::{Identity, Inventory};
use crate::oddity::{Oddities, Oddity};
use crate::power::{PowerAction, PowerState};
use crate::sensors::Sensors;
use crate::settle::Settle;
use async_trait::async_trait;
use tool::Tool;

pub struct Ipmi {
    tool: Tool,
    oddities: Oddities,
    limits: Limits,
}

impl Ipmi {
    pub fn new(
        address: IpmiAddress,
        credentials: Credentials,
        limits: Limits,
    ) -> Result<Self, BmcError> {
        let oddities = Oddities::default();
        Ok(Self {
            tool: Tool::new(address, credentials, limits.clone(), oddities.clone()),
            oddities,
            limits,
        })
    }

    /// The bytes of a raw command's answer.
    async fn raw(&self, bytes: &[&str]) -> Result<Vec<u8>, BmcError> {
        let mut arguments = vec!["raw"];
        arguments.extend(bytes);
        Ok(words::bytes(&self.tool.run(&arguments).await?))
    }

    /// `None` where the BMC does not know what is asked, which is an oddity.
    async fn if_known(&self, arguments: &[&str]) -> Result<Option<String>, BmcError> {
        match self.tool.run(arguments).await {
            Ok(said) => Ok(Some(said)),
            Err(BmcError::Refused {
                request, message, ..
            }) => {
                self.oddities.note(request, "an answer", message);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn read_power(&self) -> Result<PowerState, BmcError> {
        let said = self.tool.run(&["chassis", "power", "status"]).await?;
        words::power(&said).ok_or_else(|| self.odd("chassis power status", "on or off", &said))
    }

    fn odd(&self, request: &str, expected: &str, found: &str) -> BmcError {
        BmcError::Odd {
            bmc: self.name().to_owned(),
            request: request.to_owned(),
            expected: expected.to_owned(),
            found: found.trim().to_owned(),
        }
    }
}

#[async_trait]
impl Bmc for Ipmi {
    fn name(&self) -> &str {
        self.tool.name()
    }

    /// What the standard has every BMC do. Whether this one does it, its first answer tells.
    async fn capabilities(&self) -> Result<Capabilities, BmcError> {
        self.tool.run(&["mc", "info"]).await?;
        Ok(Capabilities::from_iter([
            Capability::Power,
            Capability::SoftPowerOff,
            Capability::Reboot,
            Capability::PowerCycle,
            Capability::Nmi,
            Capability::BootDevice,
            Capability::BootOnce,
            Capability::Sensors,
            Capability::EventLog,
            Capability::FirmwareInventory,
            Capability::Indicator,
            Capability::SerialConsole,
        ]))
    }

    fn oddities(&self) -> Vec<Oddity> {
        self.oddities.list()
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        self.read_power().await
    }

    async fn set_power(&self, action: PowerAction) -> Result<(), BmcError> {
        let state = self.read_power().await?;
        if action.is_done_at(state) {
            return Ok(());
        }
        action.check(state)?;
        let word = match action {
            PowerAction::On => "on",
            PowerAction::Off => "off",
            PowerAction::SoftOff => "soft",
            PowerAction::Reboot => "reset",
            PowerAction::Cycle => "cycle",
            PowerAction::Nmi => "diag",
            PowerAction::SoftReboot => return Err(self.lacks(Capability::SoftReboot)),
        };
        self.tool.run(&["chassis", "power", word]).await?;
        Ok(())
    }

    async fn boot(&self) -> Result<Boot, BmcError> {
        self.read_boot().await
    }

    async fn set_boot(&self, wanted: Boot) -> Result<Boot, BmcError> {
        self.write_boot(wanted).await
    }

    async fn inventory(&self) -> Result<Inventory, BmcError> {
        let labels = self.if_known(&["fru", "print", "0"]).await?;
        let labels = words::table(&labels.unwrap_or_default());
        let uuid = self.if_known(&["mc", "guid"]).await?;
        let label = |names: &[&str]| {
            let found = names.iter().find_map(|name| labels.get(*name));
            found.cloned()
        };
        Ok(Inventory {
            identity: Identity {
                manufacturer: label(&["Product Manufacturer", "Board Mfg"]),
                model: label(&["Product Name", "Board Product"]),
                serial_number: label(&["Product Serial", "Chassis Serial", "Board Serial"]),
                part_number: label(&["Product Part Number", "Board Part Number"]),
                asset_tag: label(&["Product Asset Tag"]),
                uuid: uuid.and_then(|said| words::uuid(&said)),
                bmc_version: self.firmware_version().await?,
                ..Identity::default()
            },
            ..Inventory::default()
        })
    }

    async fn sensors(&self) -> Result<Sensors, BmcError> {
        self.read_sensors().await
    }

    async fn event_log(&self) -> Result<Vec<LogEntry>, BmcError> {
        let said = self.tool.run_terse(&["sel", "elist"]).await?;
        Ok(words::event_log(&said, &self.oddities))
    }

    async fn clear_event_log(&self) -> Result<(), BmcError> {
        self.tool.run(&["sel", "clear"]).await?;
        // Erasing goes on after the answer.
        let mut settle = Settle::new(
            self.name(),
            "the event log",
            "empty".to_owned(),
            self.limits.settle,
        );
        loop {
            let left = self.event_log().await?.len();
            if left == 0 {
                return Ok(());
            }
            settle.wait(format!("{left} entries")).await?;
        }
    }

    async fn firmware(&self) -> Result<Vec<FirmwareItem>, BmcError> {
        Ok(vec![FirmwareItem {
            id: "bmc".to_owned(),
            name: Some("BMC".to_owned()),
            version: self.firmware_version().await?,
            updateable: Some(false),
        }])
    }

    async fn indicator(&self) -> Result<Indicator, BmcError> {
        let status = self.raw(&["0x00", "0x01"]).await?;
        // IPMI 2.0, table 28-3: bit 6 says that bits 5 and 4 tell the light.
        match status.get(2) {
            Some(byte) if byte & 0x40 == 0 => Err(self.lacks(Capability::Indicator)),
            Some(byte) if byte & 0x30 == 0 => Ok(Indicator::Off),
            Some(_) => Ok(Indicator::Blinking),
            None => Err(self.odd(
                "the chassis status",
                "three bytes or more",
                &format!("{status:?}"),
            )),
        }
    }

    async fn set_indicator(&self, indicator: Indicator) -> Result<(), BmcError> {
        let interval = match indicator {
            Indicator::Off => "0",
            Indicator::Lit | Indicator::Blinking => "force",
        };
        self.tool.run(&["chassis", "identify", interval]).await?;
        Ok(())
    }

    async fn serial_console(&self) -> Result<Box<dyn SerialStream>, BmcError> {
        serial::open(&self.tool).await
    }
}

impl Ipmi {
    async fn firmware_version(&self) -> Result<Option<String>, BmcError> {
        let said = self.tool.run(&["mc", "info"]).await?;
        Ok(words::table(&said).remove("Firmware Revision"))
    }
}
