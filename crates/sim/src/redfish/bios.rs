//! `Bios` with the settings that wait beside it, and `SecureBoot`.

use super::refusal::Refusal;
use super::resource::{Body, Done, Resource, document, link};
use super::tasks::Work;
use super::{RedfishNode, Service, systems};
use corten_bmc::{AttributeValue, Attributes, BootMode};
use serde_json::{Value, json};
use std::sync::Arc;

const APPLY_TIMES: &[&str] = &["OnReset"];

pub(super) fn find(
    service: &Arc<Service>,
    node: &Arc<RedfishNode>,
    rest: &[&str],
) -> Option<Resource> {
    let data = node.shape.data();
    let (service, node) = (Arc::clone(service), Arc::clone(node));
    let reset = |in_settings: bool| in_settings == data.bios_reset_in_settings;
    match rest {
        [] => Some(current(&node)),
        ["Actions", "Bios.ResetBios"] if reset(false) => {
            Some(Resource::action(move |_| reset_bios(&service, &node)))
        }
        [name] if *name == data.bios_settings => Some(settings(service, node)),
        [name, "Actions", "Bios.ResetBios"] if *name == data.bios_settings && reset(true) => {
            Some(Resource::action(move |_| reset_bios(&service, &node)))
        }
        _ => None,
    }
}

fn reset_action(path: &str) -> Value {
    json!({"#Bios.ResetBios": {"target": format!("{path}/Actions/Bios.ResetBios")}})
}

fn current(node: &RedfishNode) -> Resource {
    let path = format!("{}/Bios", node.system_path());
    let data = node.shape.data();
    let mut rest = json!({
        "AttributeRegistry": format!("{}.1.0.0", node.shape.bios_registry()),
        "Attributes": node.look(|server| server.bios.clone()),
        "@Redfish.Settings": {
            "@odata.type": systems::settings_type(),
            "SettingsObject": link(&format!("{path}/{}", data.bios_settings)),
            "SupportedApplyTimes": APPLY_TIMES,
        },
    });
    if !data.bios_reset_in_settings {
        rest["Actions"] = reset_action(&path);
    }
    Resource::of(document(&path, "Bios", "Bios", "BIOS settings", rest))
}

fn settings(service: Arc<Service>, node: Arc<RedfishNode>) -> Resource {
    let data = node.shape.data();
    let id = data.bios_settings.as_str();
    let path = format!("{}/Bios/{id}", node.system_path());
    let attributes = node.look(|server| {
        let mut shown = if data.bios_whole {
            server.bios.clone()
        } else {
            Attributes::new()
        };
        shown.extend(server.bios_pending.clone());
        shown
    });
    let mut rest = json!({
        "AttributeRegistry": format!("{}.1.0.0", node.shape.bios_registry()),
        "Attributes": attributes,
    });
    if data.bios_reset_in_settings {
        rest["Actions"] = reset_action(&path);
    }
    let document = document(&path, "Bios", id, "BIOS settings of the next boot", rest);
    let writable = &["Attributes/*", "@Redfish.SettingsApplyTime/*"];
    Resource::of(document).patched(writable, move |body| {
        let asked = Body(body);
        asked.word("@Redfish.SettingsApplyTime/ApplyTime", APPLY_TIMES)?;
        let wanted = wanted(&node, body)?;
        wait_for_boot(&service, &node, wanted)
    })
}

/// The attributes of a PATCH; those that the BIOS has not, or has in another type, are refused.
fn wanted(node: &RedfishNode, body: &Value) -> Result<Attributes, Refusal> {
    let now = node.look(|server| server.bios.clone());
    let given = body.get("Attributes").and_then(Value::as_object);
    let mut wanted = Attributes::new();
    for (name, value) in given.into_iter().flatten() {
        let place = format!("Attributes/{name}");
        let Some(known) = now.get(name) else {
            return Err(Refusal::unknown_property(&place));
        };
        let read = match (known, value) {
            (AttributeValue::Text(_), Value::String(text)) => AttributeValue::Text(text.clone()),
            (AttributeValue::Flag(_), Value::Bool(flag)) => AttributeValue::Flag(*flag),
            (AttributeValue::Integer(_), Value::Number(number)) if number.is_i64() => {
                AttributeValue::Integer(number.as_i64().unwrap_or_default())
            }
            _ => return Err(Refusal::wrong_type(&place, value)),
        };
        wanted.insert(name.clone(), read);
    }
    if wanted.is_empty() {
        return Err(Refusal::missing_property("Attributes"));
    }
    Ok(wanted)
}

/// Keeps settings until the next boot, as a task.
fn wait_for_boot(
    service: &Service,
    node: &RedfishNode,
    wanted: Attributes,
) -> Result<Done, Refusal> {
    let waits = service.waits(node, &Work::BiosSettings);
    if waits && node.shape.data().one_job {
        let fix = "Boot the server, or take the job back.";
        return Err(Refusal::in_use(
            "A job with settings waits for the next boot already.",
            fix,
        ));
    }
    let is_left = node.look(|server| {
        server.bios_pending.extend(wanted);
        let now = server.bios.clone();
        server
            .bios_pending
            .retain(|name, value| now.get(name) != Some(value));
        !server.bios_pending.is_empty()
    });
    if !is_left {
        service.forget_settings(node);
        return Ok(Done::Shown);
    }
    if waits {
        return Ok(Done::Shown);
    }
    Ok(service.begin(node, Work::BiosSettings, true, None))
}

fn reset_bios(service: &Service, node: &RedfishNode) -> Result<Done, Refusal> {
    let defaults = node.look(|server| server.bios_defaults.clone());
    match wait_for_boot(service, node, defaults)? {
        Done::Shown => Ok(Done::Nothing),
        other => Ok(other),
    }
}

pub(super) fn secure_boot(node: &Arc<RedfishNode>) -> Resource {
    let path = format!("{}/SecureBoot", node.system_path());
    let (enabled, in_force) = node.look(|server| (server.secure_boot, server.secure_boot_in_force));
    let rest = json!({
        "SecureBootEnable": enabled,
        "SecureBootCurrentBoot": if in_force { "Enabled" } else { "Disabled" },
        "SecureBootMode": "UserMode",
    });
    let node = Arc::clone(node);
    Resource::of(document(
        &path,
        "SecureBoot",
        "SecureBoot",
        "Secure boot",
        rest,
    ))
    .patched(&["SecureBootEnable"], move |body| {
        let Some(enabled) = Body(body).flag("SecureBootEnable")? else {
            return Ok(Done::Shown);
        };
        if enabled && node.look(|server| server.mode) == BootMode::Legacy {
            let told = "Secure boot is of UEFI, and the server boots in legacy mode.";
            return Err(Refusal::in_use(
                told,
                "Set the boot mode to UEFI and boot the server.",
            ));
        }
        node.look(|server| server.secure_boot = enabled);
        Ok(Done::Shown)
    })
}
