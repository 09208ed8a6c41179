//! The boot override of a Redfish system: the object `Boot`.

use super::Redfish;
use super::document::Document;
use super::quirks::Quirks;
use crate::bios::AttributeValue;
use crate::bios::Attributes;
use crate::bmc::Bmc;
use crate::boot::{Boot, BootDevice, BootMode, Effect, Lasting};
use crate::capability::{Capabilities, Capability};
use crate::error::BmcError;
use serde_json::{Value, json};
use url::Url;

const TARGET: &str = "Boot/BootSourceOverrideTarget";
const ENABLED: &str = "Boot/BootSourceOverrideEnabled";
const MODE: &str = "Boot/BootSourceOverrideMode";
const URL: &str = "Boot/HttpBootUri";
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
        let quirks = &self.layout().await?.quirks;
        if is_as_wanted(seen, wanted, quirks) && seen.lasting == wanted.lasting {
            return Ok(seen);
        }
        self.write_override(&system, wanted, None).await
    }

    /// UEFI HTTP boot from an address that the BMC hands to the firmware, so that no DHCP server need know it.
    pub(super) async fn write_boot_url(
        &self,
        url: &Url,
        lasting: Lasting,
    ) -> Result<Boot, BmcError> {
        let system = self.system().await?;
        if !can_boot_url(&system) {
            return Err(self.lacks(Capability::HttpBootAddress));
        }
        let wanted = Boot {
            lasting,
            ..Boot::once(BootDevice::Http)
        };
        self.write_override(&system, wanted, Some(url)).await
    }

    async fn write_override(
        &self,
        system: &Document,
        wanted: Boot,
        url: Option<&Url>,
    ) -> Result<Boot, BmcError> {
        let Some(mut body) = self.override_body(system, wanted).await? else {
            return Err(self.lacks(Capability::BootDevice));
        };
        if let Some(url) = url {
            body["Boot"]["HttpBootUri"] = json!(url.as_str());
        }
        self.transport.patch(system, &body).await?;
        let asked = match url {
            Some(url) => url.to_string(),
            None => format!("{wanted:?}"),
        };
        let mut settle = self.settle("the boot override", asked);
        let quirks = &self.layout().await?.quirks;
        let shown = loop {
            let system = self.system().await?;
            let seen = self.boot_in(&system);
            let is_shown = match url {
                Some(url) => system.text(URL).as_deref() == Some(url.as_str()),
                None => is_as_wanted(seen, wanted, quirks),
            };
            if is_shown {
                break seen;
            }
            settle.wait(format!("{seen:?}")).await?;
        };
        self.note_difference(system, wanted, shown);
        Ok(shown)
    }

    /// Between what was set and what is shown, where that is no error.
    fn note_difference(&self, system: &Document, wanted: Boot, shown: Boot) {
        let note = |key, wanted: String, shown| {
            let place = format!("{}#/{key}", system.path);
            let oddities = &self.transport.oddities;
            oddities.note(place, format!("{wanted}, as was set"), shown);
        };
        if shown.device != wanted.device {
            let (wanted, shown) = (wanted.device, shown.device);
            note(TARGET, format!("{wanted:?}"), format!("{shown:?}"));
        }
        if shown.device != BootDevice::Default && shown.lasting != wanted.lasting {
            let (wanted, shown) = (wanted.lasting, shown.lasting);
            note(ENABLED, format!("{wanted:?}"), format!("{shown:?}"));
        }
    }

    /// `None` if the system says that it has no such target.
    async fn override_body(
        &self,
        system: &Document,
        wanted: Boot,
    ) -> Result<Option<Value>, BmcError> {
        let quirks = &self.layout().await?.quirks;
        let enabled = match (wanted.device, wanted.lasting) {
            (BootDevice::Default, _) => "Disabled",
            (_, Lasting::Once) => "Once",
            (_, Lasting::Always) => "Continuous",
        };
        let mut boot = json!({"BootSourceOverrideEnabled": enabled});
        match target_of(wanted.device, &system.texts(ALLOWED), &quirks.cdrom) {
            Some(target) => boot["BootSourceOverrideTarget"] = json!(target),
            // Without an override there is no target either.
            None if wanted.device == BootDevice::Default => {}
            None => return Ok(None),
        }
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
        found.add_if(can_boot_url(system), Capability::HttpBootAddress);
    }
}

fn can_boot_url(system: &Document) -> bool {
    let allowed = system.texts(ALLOWED);
    system.has(URL) && target_of(BootDevice::Http, &allowed, &[]).is_some()
}

/// Whether the override is the wanted one; how long it lasts is judged apart, since some BMCs know only one of both.
fn is_as_wanted(seen: Boot, wanted: Boot, quirks: &Quirks) -> bool {
    let device = match wanted.device {
        BootDevice::Http if quirks.http_as_network => BootDevice::Network,
        device => device,
    };
    seen.device == device && (wanted.mode.is_none() || seen.mode == wanted.mode)
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
    if allowed.is_empty() {
        return words.next().map(str::to_owned);
    }
    words
        .find(|word| allowed.iter().any(|other| other.eq_ignore_ascii_case(word)))
        .map(str::to_owned)
}
