//! The boot override of a Redfish system: the object `Boot`.

use super::Redfish;
use super::document::Document;
use crate::bios::AttributeValue;
use crate::bios::Attributes;
use crate::bmc::Bmc;
use crate::boot::{Boot, BootDevice, BootMode, Effect, Lasting};
use crate::capability::{Capabilities, Capability};
use crate::error::BmcError;
use serde_json::{Value, json};

const TARGET: &str = "Boot/BootSourceOverrideTarget";
const ENABLED: &str = "Boot/BootSourceOverrideEnabled";
const MODE: &str = "Boot/BootSourceOverrideMode";
const ALLOWED: &str = "Boot/BootSourceOverrideTarget@Redfish.AllowableValues";

const DEVICES: &[(&str, BootDevice)] = &[
    ("None", BootDevice::Default),
    ("Pxe", BootDevice::Network),
    ("UefiHttp", BootDevice::Http),
    ("Hdd", BootDevice::Disk),
    ("Cd", BootDevice::Cdrom),
    ("UsbCd", BootDevice::Cdrom),
    ("Usb", BootDevice::Usb),
    ("Floppy", BootDevice::Floppy),
    ("BiosSetup", BootDevice::Setup),
    ("Diags", BootDevice::Diagnostics),
    ("SDCard", BootDevice::Other),
    ("Utilities", BootDevice::Other),
    ("UefiShell", BootDevice::Other),
    ("UefiTarget", BootDevice::Other),
    ("UefiBootNext", BootDevice::Other),
    ("RemoteDrive", BootDevice::Other),
    ("Recovery", BootDevice::Other),
];

const MODES: &[(&str, BootMode)] = &[("UEFI", BootMode::Uefi), ("Legacy", BootMode::Legacy)];

fn mode_word(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Uefi => "UEFI",
        BootMode::Legacy => "Legacy",
    }
}

impl Redfish {
    pub(super) fn boot_in(&self, system: &Document) -> Boot {
        let lasting = system.word(
            ENABLED,
            &[
                ("Disabled", None),
                ("Once", Some(Lasting::Once)),
                ("Continuous", Some(Lasting::Always)),
            ],
        );
        let mode = system.word(MODE, MODES);
        let Some(Some(lasting)) = lasting else {
            return Boot {
                device: BootDevice::Default,
                lasting: Lasting::Always,
                mode,
            };
        };
        let device = match system.word(TARGET, DEVICES) {
            Some(device) => device,
            None if system.has(TARGET) => BootDevice::Other,
            None => BootDevice::Default,
        };
        Boot {
            device,
            lasting,
            mode,
        }
    }

    pub(super) async fn write_boot(&self, wanted: Boot) -> Result<Boot, BmcError> {
        let system = self.system().await?;
        if !system.has("Boot") {
            return Err(self.lacks(Capability::BootDevice));
        }
        let seen = self.boot_in(&system);
        if is_as_wanted(seen, wanted) && seen.lasting == wanted.lasting {
            return Ok(seen);
        }
        let body = self.override_body(&system, wanted).await?;
        let Some(body) = body else {
            return Err(self.lacks(Capability::BootDevice));
        };
        self.transport.patch(&system, &body).await?;
        let mut settle = self.settle("the boot override", format!("{wanted:?}"));
        let shown = loop {
            let seen = self.boot_in(&self.system().await?);
            if is_as_wanted(seen, wanted) {
                break seen;
            }
            settle.wait(format!("{seen:?}")).await?;
        };
        if shown.device != BootDevice::Default && shown.lasting != wanted.lasting {
            self.transport.oddities.note(
                format!("{}#/{ENABLED}", system.path),
                format!("{:?}, as was set", wanted.lasting),
                format!("{:?}", shown.lasting),
            );
        }
        Ok(shown)
    }

    /// `None` if the system says that it has no such target.
    async fn override_body(
        &self,
        system: &Document,
        wanted: Boot,
    ) -> Result<Option<Value>, BmcError> {
        let quirks = &self.layout().await?.quirks;
        let Some(target) = target_of(wanted.device, &system.texts(ALLOWED), &quirks.cdrom) else {
            return Ok(None);
        };
        let enabled = match (wanted.device, wanted.lasting) {
            (BootDevice::Default, _) => "Disabled",
            (_, Lasting::Once) => "Once",
            (_, Lasting::Always) => "Continuous",
        };
        let mut boot = json!({
            "BootSourceOverrideTarget": target,
            "BootSourceOverrideEnabled": enabled,
        });
        let mode = match wanted.mode {
            Some(mode) => Some(mode_word(mode).to_owned()),
            None if quirks.boot_whole => system.text(MODE),
            None => None,
        };
        if let Some(mode) = mode {
            boot["BootSourceOverrideMode"] = json!(mode);
        }
        Ok(Some(json!({"Boot": boot})))
    }

    pub(super) async fn write_boot_mode(&self, mode: BootMode) -> Result<Effect, BmcError> {
        let system = self.system().await?;
        if system.word(MODE, MODES) == Some(mode) {
            return Ok(Effect::Now);
        }
        let quirks = &self.layout().await?.quirks;
        if let Some(setting) = &quirks.boot_mode {
            let value = match mode {
                BootMode::Uefi => &setting.uefi,
                BootMode::Legacy => &setting.legacy,
            };
            let value = AttributeValue::Text(value.clone());
            let wanted = Attributes::from([(setting.attribute.clone(), value)]);
            return self.write_bios(&wanted).await;
        }
        if !system.has(MODE) {
            return Err(self.lacks(Capability::BootMode));
        }
        let body = json!({"Boot": {"BootSourceOverrideMode": mode_word(mode)}});
        self.transport.patch(&system, &body).await?;
        let mut settle = self.settle("the boot mode", mode_word(mode));
        loop {
            let seen = self.system().await?.word(MODE, MODES);
            if seen == Some(mode) {
                return Ok(Effect::Now);
            }
            settle.wait(format!("{seen:?}")).await?;
        }
    }

    pub(super) fn boot_capabilities(&self, system: &Document, found: &mut Capabilities) {
        found.add_if(system.has("Boot"), Capability::BootDevice);
        found.add_if(system.has("Boot"), Capability::BootOnce);
        found.add_if(system.has(MODE), Capability::BootMode);
    }
}

/// Whether the override is the wanted one; how long it lasts is judged apart, since some BMCs know only one of both.
fn is_as_wanted(seen: Boot, wanted: Boot) -> bool {
    seen.device == wanted.device && (wanted.mode.is_none() || seen.mode == wanted.mode)
}

/// The word for a device that this system takes. One that says nothing of what it takes is asked as the standard has it.
fn target_of(device: BootDevice, allowed: &[String], cdrom: &[String]) -> Option<String> {
    let by_quirk = match device {
        BootDevice::Cdrom => cdrom,
        _ => &[],
    };
    let by_standard = DEVICES
        .iter()
        .filter(|(_, meant)| *meant == device && device != BootDevice::Other);
    let mut words = by_quirk
        .iter()
        .map(String::as_str)
        .chain(by_standard.map(|(word, _)| *word));
    // To take an override back is possible whatever is listed.
    if allowed.is_empty() || device == BootDevice::Default {
        return words.next().map(str::to_owned);
    }
    words
        .find(|word| allowed.iter().any(|other| other.eq_ignore_ascii_case(word)))
        .map(str::to_owned)
}
