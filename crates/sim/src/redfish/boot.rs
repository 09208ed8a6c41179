//! The boot override of a system, in the words of its BMC.

use super::RedfishNode;
use super::refusal::Refusal;
use super::resource::Body;
use corten_bmc::{Boot, BootDevice, BootMode, Lasting};
use serde_json::{Value, json};

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
];

const ENABLED: &[&str] = &["Disabled", "Once", "Continuous"];
const MODES: &[&str] = &["UEFI", "Legacy"];

fn word_of(device: BootDevice, targets: &[String]) -> &'static str {
    let words = DEVICES.iter().filter(|(_, known)| *known == device);
    let mut taken = words.filter(|(word, _)| targets.iter().any(|target| target == word));
    taken.next().map_or("None", |(word, _)| *word)
}

pub(super) fn shown(node: &RedfishNode) -> Value {
    let data = node.shape.data();
    node.look(|server| {
        let enabled = match (server.boot.device, server.boot.lasting) {
            (BootDevice::Default, _) => "Disabled",
            (_, Lasting::Once) => "Once",
            (_, Lasting::Always) => "Continuous",
        };
        let by_device = word_of(server.boot.device, &data.boot_targets);
        let mode = match server.mode {
            BootMode::Uefi => "UEFI",
            BootMode::Legacy => "Legacy",
        };
        let mut shown = json!({
            "BootSourceOverrideEnabled": enabled,
            "BootSourceOverrideTarget": server.boot_word.as_deref().unwrap_or(by_device),
            "BootSourceOverrideTarget@Redfish.AllowableValues": data.boot_targets,
            "BootSourceOverrideMode": mode,
            "BootSourceOverrideMode@Redfish.AllowableValues": MODES,
        });
        if data.boot_targets.iter().any(|target| target == "UefiHttp") {
            shown["HttpBootUri"] = json!(server.boot_url.as_deref().unwrap_or_default());
        }
        shown
    })
}

/// Sets what a PATCH of the system says of its boot.
pub(super) fn set(node: &RedfishNode, body: &Value) -> Result<(), Refusal> {
    if body.get("Boot").is_none() {
        return Ok(());
    }
    let data = node.shape.data();
    let body = Body(body);
    let (enabled_key, target_key, mode_key) = (
        "Boot/BootSourceOverrideEnabled",
        "Boot/BootSourceOverrideTarget",
        "Boot/BootSourceOverrideMode",
    );
    let enabled = body.word(enabled_key, ENABLED)?;
    let target = body.word(target_key, &data.boot_targets)?;
    let mode = body.word(mode_key, MODES)?;
    let url = body.text("Boot/HttpBootUri")?;
    if data.boot_whole {
        for (key, given) in [
            (enabled_key, enabled),
            (target_key, target),
            (mode_key, mode),
        ] {
            if given.is_none() {
                return Err(Refusal::missing_property(key));
            }
        }
    }
    if url.is_some() && !data.boot_targets.iter().any(|target| target == "UefiHttp") {
        return Err(Refusal::unknown_property("Boot/HttpBootUri"));
    }
    if let Some(url) = url
        && !url.is_empty()
        && !url.starts_with("http://")
        && !url.starts_with("https://")
    {
        let rule = "it is a URL of http or https";
        return Err(Refusal::bad_value("Boot/HttpBootUri", url, rule));
    }
    let was = node.look(|server| server.boot);
    let lasting = match enabled {
        Some("Once") => Some(Lasting::Once),
        Some("Continuous") => Some(Lasting::Always),
        Some(_) => None,
        None if was.device == BootDevice::Default => None,
        None => Some(was.lasting),
    };
    let device = target.and_then(|word| DEVICES.iter().find(|(known, _)| *known == word));
    let device = device.map(|(_, device)| *device);
    // A target without a time that it holds for would be taken and do nothing.
    if enabled.is_none()
        && lasting.is_none()
        && device.is_some_and(|device| device != BootDevice::Default)
    {
        return Err(Refusal::missing_property(enabled_key));
    }
    if lasting.is_some() && device.is_none() && was.device == BootDevice::Default {
        return Err(Refusal::missing_property(target_key));
    }
    node.look(|server| {
        match (lasting, device) {
            (Some(lasting), device) if device != Some(BootDevice::Default) => {
                let boot = Boot::once(device.unwrap_or(server.boot.device));
                server.boot = Boot { lasting, ..boot };
                if let Some(target) = target {
                    server.boot_word = Some(target.to_owned());
                }
            }
            (None, None) if enabled.is_none() => {}
            _ => server.forget_override(),
        }
        if let Some(url) = url {
            server.boot_url = Some(url.to_owned()).filter(|url| !url.is_empty());
        }
        // Where the mode is a BIOS setting it is taken here and does nothing.
        if server.mode_attribute.is_none() {
            match mode {
                Some("Legacy") => server.mode = BootMode::Legacy,
                Some(_) => server.mode = BootMode::Uefi,
                None => {}
            }
        }
    });
    Ok(())
}
