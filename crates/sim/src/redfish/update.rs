//! `UpdateService`: the firmware of each node's parts, and the simple update, which is a task.

use super::find::Asked;
use super::refusal::Refusal;
use super::resource::{Body, Done, Privilege, Resource, collection, document, healthy, link};
use super::tasks::Work;
use super::{RedfishNode, Service};
use serde_json::{Value, json};
use std::sync::Arc;

const PATH: &str = "/redfish/v1/UpdateService";
const ACTION: &str = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
const PROTOCOLS: &[&str] = &["HTTP", "HTTPS"];
const PARAMETERS: &[&str] = &[
    "ImageURI",
    "TransferProtocol",
    "Targets",
    "Username",
    "Password",
];

fn path_of(node: &RedfishNode, part: &str) -> String {
    format!("{PATH}/FirmwareInventory/{}-{part}", node.id)
}

pub(super) fn find(asked: &Asked<'_>, rest: &[&str]) -> Option<Resource> {
    let service = Arc::clone(asked.service);
    match rest {
        [] => Some(update_service()),
        ["FirmwareInventory"] => {
            let nodes = service.nodes();
            let paths = nodes.iter().flat_map(|node| {
                let parts = node.look(|server| server.firmware.keys().cloned().collect::<Vec<_>>());
                parts
                    .into_iter()
                    .map(|part| path_of(node, &part))
                    .collect::<Vec<_>>()
            });
            let path = format!("{PATH}/FirmwareInventory");
            Some(Resource::of(collection(&path, "SoftwareInventory", paths)))
        }
        ["FirmwareInventory", id] => {
            let (node, part) = id.rsplit_once('-')?;
            let node = service.node(node)?;
            let version = node.look(|server| server.firmware.get(part).cloned())?;
            Some(Resource::of(item(&node, part, &version)))
        }
        ["Actions", "UpdateService.SimpleUpdate"] => {
            let action = Resource::action(move |body| update(&service, body));
            Some(action.needing(Privilege::Manager))
        }
        _ => None,
    }
}

fn update_service() -> Resource {
    let rest = json!({
        "ServiceEnabled": true,
        "Status": healthy(),
        "FirmwareInventory": link("/redfish/v1/UpdateService/FirmwareInventory"),
        "Actions": {"#UpdateService.SimpleUpdate": {
            "target": ACTION,
            "TransferProtocol@Redfish.AllowableValues": PROTOCOLS,
        }},
    });
    Resource::of(document(
        PATH,
        "UpdateService",
        "UpdateService",
        "Updates",
        rest,
    ))
}

fn item(node: &RedfishNode, part: &str, version: &str) -> Value {
    let related = match part {
        "bmc" => node.manager_path(),
        _ => node.system_path(),
    };
    let rest = json!({
        "Version": version,
        "Updateable": true,
        "Status": healthy(),
        "RelatedItem": [link(&related)],
        "RelatedItem@odata.count": 1,
    });
    let id = format!("{}-{part}", node.id);
    let name = part.to_uppercase();
    document(&path_of(node, part), "SoftwareInventory", &id, &name, rest)
}

fn update(service: &Service, body: &Value) -> Result<Done, Refusal> {
    let body = Body(body);
    body.only(PARAMETERS)?;
    let missing = |parameter| move || Refusal::missing_parameter(parameter, "SimpleUpdate");
    let image = body.text("ImageURI")?.ok_or_else(missing("ImageURI"))?;
    let scheme = image.split("://").next().unwrap_or_default().to_uppercase();
    let protocol = body.word("TransferProtocol", PROTOCOLS)?.unwrap_or(&scheme);
    if !image.contains("://") || protocol != scheme || !PROTOCOLS.contains(&protocol) {
        let rule = "it is a URL of http or https, as TransferProtocol says";
        return Err(Refusal::bad_value("ImageURI", image, rule));
    }
    let (node, part) = target(service, &body, image)?;
    // What the image is, its name says.
    let name = image.rsplit('/').next().unwrap_or_default();
    let work = match version_in(name) {
        Some(version) => Work::Firmware { part, version },
        None => Work::Nothing(format!("The image {name} is not of a known form.")),
    };
    let mut told = body.0.clone();
    if let Some(told) = told.as_object_mut() {
        told.remove("Password");
    }
    let payload = json!({
        "TargetUri": ACTION,
        "HttpOperation": "POST",
        "JsonBody": told.to_string(),
    });
    Ok(service.begin(&node, work, false, Some(payload)))
}

/// The one part that is meant.
fn target(
    service: &Service,
    body: &Body<'_>,
    image: &str,
) -> Result<(Arc<RedfishNode>, String), Refusal> {
    let targets = body.texts("Targets")?;
    let part_by_name = if image.to_lowercase().contains("bios") {
        "bios"
    } else {
        "bmc"
    };
    let [target] = targets.as_slice() else {
        if targets.len() > 1 {
            let rule = "an image is for one part of one server";
            return Err(Refusal::bad_value("Targets", &targets.join(", "), rule));
        }
        let nodes = service.nodes();
        return match nodes.as_slice() {
            [node] => Ok((Arc::clone(node), part_by_name.to_owned())),
            // Of several, nobody could tell which is meant.
            _ => Err(Refusal::missing_parameter("Targets", "SimpleUpdate")),
        };
    };
    let unknown = || {
        let rule = "it is the path of a part in FirmwareInventory, of a system or of a manager";
        Refusal::bad_value("Targets", target, rule)
    };
    let rest = target
        .trim_end_matches('/')
        .strip_prefix("/redfish/v1/")
        .ok_or_else(unknown)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let found = match parts.as_slice() {
        ["UpdateService", "FirmwareInventory", id] => id
            .rsplit_once('-')
            .and_then(|(node, part)| Some((service.node(node)?, part.to_owned()))),
        ["Systems", id] => service
            .node_at("Systems", id)
            .map(|node| (node, "bios".to_owned())),
        ["Managers", id] => service
            .node_at("Managers", id)
            .map(|node| (node, "bmc".to_owned())),
        _ => None,
    };
    let found = found.filter(|(node, part)| node.look(|server| server.firmware.contains_key(part)));
    found.ok_or_else(unknown)
}

/// The last run of numbers with points between them.
pub(crate) fn version_in(name: &str) -> Option<String> {
    let runs = name.split(|c: char| !c.is_ascii_digit() && c != '.');
    let mut runs = runs
        .map(|run| run.trim_matches('.'))
        .filter(|run| run.contains('.'));
    runs.next_back().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn a_version_is_in_the_name_of_an_image() {
        assert_eq!(version_in("bmc-2.3.1.bin").as_deref(), Some("2.3.1"));
        assert_eq!(version_in("fw_7.00.30_x64.exe").as_deref(), Some("7.00.30"));
        assert_eq!(version_in("image.bin"), None);
    }
}
