//! `Manager`: the BMC of a server, and what is its own.

use super::faults::{Fault, On};
use super::refusal::Refusal;
use super::resource::{Body, Done, Resource, collection, document, healthy, link};
use super::shape::Owner;
use super::systems::{of_manager, uuid};
use super::{RedfishNode, Service, logs, media};
use serde_json::{Value, json};
use std::sync::Arc;

const RESETS: &[&str] = &["GracefulRestart", "ForceRestart"];
/// How many requests meet a BMC that restarts.
const AWAY: u32 = 3;

pub(super) fn find(
    service: &Arc<Service>,
    node: &Arc<RedfishNode>,
    rest: &[&str],
) -> Option<Resource> {
    let path = node.manager_path();
    let data = node.shape.data();
    match rest {
        [] => Some(manager(node)),
        ["Actions", "Manager.Reset"] => {
            let node = Arc::clone(node);
            Some(of_manager(Resource::action(move |body| reset(&node, body))))
        }
        ["NetworkProtocol"] => Some(protocol(node)),
        ["EthernetInterfaces"] => {
            let path = format!("{path}/EthernetInterfaces");
            let members = [format!("{path}/1")];
            Some(Resource::of(collection(
                &path,
                "EthernetInterface",
                members,
            )))
        }
        ["EthernetInterfaces", "1"] => {
            let path = format!("{path}/EthernetInterfaces/1");
            let rest = json!({
                "MACAddress": own_mac(node),
                "LinkStatus": "LinkUp",
                "SpeedMbps": 1000,
                "InterfaceEnabled": true,
                "Status": healthy(),
            });
            let name = "Management interface";
            Some(Resource::of(document(
                &path,
                "EthernetInterface",
                "1",
                name,
                rest,
            )))
        }
        ["VirtualMedia", rest @ ..] => media::find(node, Owner::Manager, rest),
        ["LogServices", rest @ ..] => logs::find(node, Owner::Manager, rest),
        rest if data.clear_jobs.as_deref() == Some(rest.join("/").as_str()) => {
            let (service, node) = (Arc::clone(service), Arc::clone(node));
            Some(Resource::action(move |_| {
                service.forget_settings(&node);
                Ok::<_, Refusal>(Done::Nothing)
            }))
        }
        _ => None,
    }
}

/// Beside the server's own: the next to it.
fn own_mac(node: &RedfishNode) -> String {
    let card = node.machine.made_of().network_cards.into_iter().next();
    let mac = card.map(|card| card.mac).unwrap_or_default();
    format!("06{}", mac.get(2..).unwrap_or(":00:00:00:00:01"))
}

fn manager(node: &RedfishNode) -> Resource {
    let path = node.manager_path();
    let data = node.shape.data();
    let below = |part: &str| link(&format!("{path}/{part}"));
    let version = node.look(|server| server.firmware.get("bmc").cloned());
    let mut rest = json!({
        "ManagerType": "BMC",
        "Manufacturer": data.manufacturer,
        "Model": data.manager_model,
        "FirmwareVersion": version,
        "UUID": uuid(node, "manager"),
        "PowerState": "On",
        "Status": healthy(),
        "NetworkProtocol": below("NetworkProtocol"),
        "EthernetInterfaces": below("EthernetInterfaces"),
        "Links": {
            "ManagerForServers": [link(&node.system_path())],
            "ManagerForChassis": [link(&node.chassis_path())],
            "ManagerInChassis": link(&node.chassis_path()),
        },
        "Actions": {"#Manager.Reset": {
            "target": format!("{path}/Actions/Manager.Reset"),
            "ResetType@Redfish.AllowableValues": RESETS,
        }},
    });
    if data.media_of == Owner::Manager {
        rest["VirtualMedia"] = below("VirtualMedia");
    }
    if data.logs.iter().any(|log| log.of == Owner::Manager) {
        rest["LogServices"] = below("LogServices");
    }
    of_manager(Resource::of(document(
        &path,
        "Manager",
        &node.manager,
        "Manager",
        rest,
    )))
}

/// A restart: for some requests the BMC is away.
fn reset(node: &RedfishNode, body: &Value) -> Result<Done, Refusal> {
    let body = Body(body);
    body.only(&["ResetType"])?;
    let word = body.word("ResetType", RESETS)?;
    word.ok_or_else(|| Refusal::missing_parameter("ResetType", "Manager.Reset"))?;
    node.fail_next(AWAY, Fault::Status(503, Some(0)), On::All);
    Ok(Done::Nothing)
}

fn protocol(node: &RedfishNode) -> Resource {
    let path = format!("{}/NetworkProtocol", node.manager_path());
    let rest = json!({
        "HostName": format!("bmc-{}", node.id),
        "FQDN": format!("bmc-{}.example.org", node.id),
        "HTTP": {"ProtocolEnabled": true},
        "HTTPS": {"ProtocolEnabled": false},
        "IPMI": {"ProtocolEnabled": false},
        "SSH": {"ProtocolEnabled": false},
        "VirtualMedia": {"ProtocolEnabled": true},
        "Status": healthy(),
    });
    let name = "Network protocols";
    of_manager(Resource::of(document(
        &path,
        "ManagerNetworkProtocol",
        "NetworkProtocol",
        name,
        rest,
    )))
}
