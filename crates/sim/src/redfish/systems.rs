//! `ComputerSystem`: the server itself, and its power.

use super::refusal::Refusal;
use super::resource::{Body, Done, Privilege, Resource, document, link};
use super::shape::Owner;
use super::{RedfishNode, Service, bios, boot, logs, media, parts, schema};
use corten_bmc::{Indicator, PowerAction};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const LEDS: &[(&str, Indicator)] = &[
    ("Off", Indicator::Off),
    ("Lit", Indicator::Lit),
    ("Blinking", Indicator::Blinking),
];

pub(super) fn find(
    service: &Arc<Service>,
    node: &Arc<RedfishNode>,
    rest: &[&str],
) -> Option<Resource> {
    match rest {
        [] => Some(system(node)),
        ["Actions", "ComputerSystem.Reset"] => {
            let (service, node) = (Arc::clone(service), Arc::clone(node));
            Some(Resource::action(move |body| reset(&service, &node, body)))
        }
        ["ResetActionInfo"] if node.shape.data().reset_info => Some(reset_info(node)),
        ["Bios", rest @ ..] => bios::find(service, node, rest),
        ["SecureBoot"] => Some(bios::secure_boot(node)),
        ["LogServices", rest @ ..] => logs::find(node, Owner::System, rest),
        ["VirtualMedia", rest @ ..] => media::find(node, Owner::System, rest),
        _ => parts::find(node, rest),
    }
}

/// The same one each time, for what has an id.
pub(super) fn uuid(node: &RedfishNode, of: &str) -> String {
    let name = format!("{}/{of}", node.id);
    match Uuid::parse_str(&node.id) {
        Ok(uuid) if of == "system" => uuid.to_string(),
        _ => Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string(),
    }
}

/// What a light is told as: the newer key or the older one.
pub(super) fn light(node: &RedfishNode) -> (&'static str, Value) {
    let now = node.look(|server| server.indicator);
    if node.shape.data().led {
        let word = LEDS.iter().find(|(_, indicator)| *indicator == now);
        ("IndicatorLED", json!(word.map(|(word, _)| word)))
    } else {
        ("LocationIndicatorActive", json!(now != Indicator::Off))
    }
}

/// Sets the light in whichever of the two ways this BMC has.
pub(super) fn set_light(node: &RedfishNode, body: &Body<'_>) -> Result<(), Refusal> {
    let led = node.shape.data().led;
    let other = if led {
        "LocationIndicatorActive"
    } else {
        "IndicatorLED"
    };
    if body.get(other).is_some() {
        return Err(Refusal::unknown_property(other));
    }
    let words: Vec<&str> = LEDS.iter().map(|(word, _)| *word).collect();
    let wanted = if led {
        let word = body.word("IndicatorLED", &words)?;
        word.and_then(|word| LEDS.iter().find(|(known, _)| *known == word))
            .map(|(_, indicator)| *indicator)
    } else {
        body.flag("LocationIndicatorActive")?.map(|active| {
            if active {
                Indicator::Blinking
            } else {
                Indicator::Off
            }
        })
    };
    if let Some(wanted) = wanted {
        node.look(|server| server.indicator = wanted);
    }
    Ok(())
}

pub(super) fn power_word(node: &RedfishNode) -> &'static str {
    if node.look(|server| server.is_on()) {
        "On"
    } else {
        "Off"
    }
}

fn system(node: &Arc<RedfishNode>) -> Resource {
    let path = node.system_path();
    let below = |part: &str| link(&format!("{path}/{part}"));
    let data = node.shape.data();
    let made = node.machine.made_of();
    let is_on = node.look(|server| server.is_on());
    let (asset_tag, bios_version) = node.look(|server| {
        let version = server.firmware.get("bios").cloned();
        (server.asset_tag.clone(), version.unwrap_or_default())
    });
    let serial = made.identity.serial_number.unwrap_or_default();
    let gib = made.memory_mib.unwrap_or_default() / 1024;
    let mut rest = json!({
        "SystemType": "Physical",
        "Manufacturer": data.manufacturer,
        "Model": data.model,
        "SerialNumber": serial,
        "SKU": format!("SKU-{serial}"),
        "UUID": uuid(node, "system"),
        "AssetTag": asset_tag,
        "BiosVersion": bios_version,
        "PowerState": power_word(node),
        "Status": {"State": if is_on { "Enabled" } else { "Disabled" }, "Health": "OK"},
        "Boot": boot::shown(node),
        "BootProgress": {"LastState": if is_on { "OSRunning" } else { "None" }},
        "MemorySummary": {"TotalSystemMemoryGiB": gib},
        "ProcessorSummary": {"Count": made.processors.len()},
        "Bios": below("Bios"),
        "SecureBoot": below("SecureBoot"),
        "Processors": below("Processors"),
        "Memory": below("Memory"),
        "Storage": below("Storage"),
        "EthernetInterfaces": below("EthernetInterfaces"),
        "Links": {
            "ManagedBy": [link(&node.manager_path())],
            "Chassis": [link(&node.chassis_path())],
        },
        "Actions": {"#ComputerSystem.Reset": {
            "target": format!("{path}/Actions/ComputerSystem.Reset"),
        }},
    });
    let action = &mut rest["Actions"]["#ComputerSystem.Reset"];
    if data.reset_info {
        action["@Redfish.ActionInfo"] = json!(format!("{path}/ResetActionInfo"));
    } else {
        action["ResetType@Redfish.AllowableValues"] = json!(data.reset_types);
    }
    if data.logs.iter().any(|log| log.of == Owner::System) {
        rest["LogServices"] = below("LogServices");
    }
    if data.media_of == Owner::System {
        rest["VirtualMedia"] = below("VirtualMedia");
    }
    let (key, light) = light(node);
    rest[key] = light;
    let document = document(&path, "ComputerSystem", &node.system, "System", rest);
    let node = Arc::clone(node);
    let writable = &[
        "AssetTag",
        "IndicatorLED",
        "LocationIndicatorActive",
        "Boot/BootSourceOverrideTarget",
        "Boot/BootSourceOverrideEnabled",
        "Boot/BootSourceOverrideMode",
        "Boot/HttpBootUri",
    ];
    Resource::of(document).patched(writable, move |body| {
        let asked = Body(body);
        let tag = asked.text("AssetTag")?;
        boot::set(&node, body)?;
        set_light(&node, &asked)?;
        if let Some(tag) = tag {
            node.look(|server| tag.clone_into(&mut server.asset_tag));
        }
        Ok(Done::Shown)
    })
}

fn reset_info(node: &RedfishNode) -> Resource {
    let path = format!("{}/ResetActionInfo", node.system_path());
    let rest = json!({"Parameters": [{
        "Name": "ResetType", "Required": true, "DataType": "String", "AllowableValues": node.shape.data().reset_types,
    }]});
    Resource::of(document(
        &path,
        "ActionInfo",
        "ResetActionInfo",
        "Reset types",
        rest,
    ))
}

fn action_of(word: &str, is_on: bool) -> PowerAction {
    match word {
        "ForceOff" => PowerAction::Off,
        "GracefulShutdown" => PowerAction::SoftOff,
        "PushPowerButton" if is_on => PowerAction::SoftOff,
        "GracefulRestart" => PowerAction::SoftReboot,
        "ForceRestart" => PowerAction::Reboot,
        "PowerCycle" => PowerAction::Cycle,
        "Nmi" => PowerAction::Nmi,
        // On, ForceOn, and the button of a server that is off.
        _ => PowerAction::On,
    }
}

fn reset(service: &Service, node: &RedfishNode, body: &Value) -> Result<Done, Refusal> {
    let body = Body(body);
    body.only(&["ResetType"])?;
    let data = node.shape.data();
    let word = body.word("ResetType", &data.reset_types)?;
    let word =
        word.ok_or_else(|| Refusal::missing_parameter("ResetType", "ComputerSystem.Reset"))?;
    let was_on = node.look(|server| server.is_on());
    let action = action_of(word, was_on);
    if was_on && data.on_once && action == PowerAction::On {
        let fix = "Nothing need be done.";
        return Err(Refusal::in_use("The server is on already.", fix));
    }
    if !was_on
        && matches!(
            action,
            PowerAction::Reboot | PowerAction::SoftReboot | PowerAction::Cycle | PowerAction::Nmi
        )
    {
        let told = format!("{word} is for a server that is on, and this one is off.");
        return Err(Refusal::in_use(&told, "Turn it on."));
    }
    if node.faults.lies() {
        return Ok(Done::Nothing);
    }
    let now = service.now();
    let boots = node.look(|server| server.apply(action, now));
    if boots {
        service.booted(node);
    }
    let is_on = node.look(|server| server.is_on());
    if was_on && (!is_on || action == PowerAction::Cycle) {
        service.tell_power(node, false);
    }
    if is_on && (!was_on || action == PowerAction::Cycle) {
        service.tell_power(node, true);
    }
    Ok(Done::Nothing)
}

/// The privilege for what is of the BMC and not of the server.
pub(super) fn of_manager(resource: Resource) -> Resource {
    resource.needing(Privilege::Manager)
}

/// The type of a settings object's annotation.
pub(super) fn settings_type() -> String {
    schema::of("Settings")
}
