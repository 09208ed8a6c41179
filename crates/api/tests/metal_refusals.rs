//! What a whole server lacks is refused, and the refusal names it (K67, K68, K102): every action of the compute API, every field
//! of a create. Virtual machines are served as ever.
#![allow(clippy::unwrap_used, clippy::panic)]

mod metal_cloud;

use axum::http::StatusCode;
use corten_model::ids::{ImageId, NodeId};
use corten_model::lifecycle::InstanceClass;
use corten_operations::metal::{console, driver};
use corten_store::images::Visibility;
use corten_store::metal::node::Node;
use corten_store::record;
use metal_cloud::{Caller, Cloud, NOTHING, message};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const BARE_METAL: &str = "bm";

/// The microversion, what a virtual machine that is on no host answers, what a whole server answers, the action, and
/// the words that name what the server lacks.
const ACTIONS: &str = r#"
2.96 202 202 {"os-stop": null}
2.96 409 409 {"os-start": null} | vm_state active
2.96 202 202 {"reboot": {"type": "HARD"}}
2.96 202 409 {"reboot": {"type": "SOFT"}} | use a hard reboot
2.96 202 409 {"pause": null} | hold the processors
2.96 409 409 {"unpause": null} | hold the processors
2.96 202 409 {"suspend": null} | save the memory
2.96 409 409 {"resume": null} | save the memory
2.96 400 409 {"createImage": {"name": "new"}} | image capture
2.96 400 409 {"createBackup": {"name": "new", "backup_type": "daily", "rotation": 1}} | image capture
2.96 202 409 {"resize": {"flavorRef": "2"}} | the flavor is the server itself
2.96 409 409 {"confirmResize": null} | the flavor is the server itself
2.96 409 409 {"revertResize": null} | the flavor is the server itself
2.96 409 409 {"shelve": null} | a place apart from the server to keep its root disk in
2.96 409 409 {"shelveOffload": null} | a place apart from the server to keep its root disk in
2.96 409 409 {"unshelve": null} | a place apart from the server to keep its root disk in
2.96 400 409 {"migrate": null} | cannot move to another
2.96 400 409 {"os-migrateLive": {"host": null, "block_migration": "auto"}} | cannot move to another
2.96 400 409 {"evacuate": {}} | cannot move to another
2.96 202 202 {"rebuild": {"imageRef": "$image"}}
2.96 400 409 {"rescue": null} | a rescue by its tenant
2.96 409 409 {"unrescue": null} | a rescue by its tenant
2.96 202 202 {"forceDelete": null}
2.96 409 409 {"restore": null} | vm_state active
2.96 202 202 {"lock": null}
2.96 202 202 {"unlock": null}
2.96 202 202 {"os-resetState": {"state": "error"}}
2.96 409 409 {"changePassword": {"adminPass": "secret"}} | an agent in the guest
2.96 404 409 {"addSecurityGroup": {"name": "web"}} | a DPU or a switch that enforces its rules
2.96 404 409 {"removeSecurityGroup": {"name": "web"}} | a DPU or a switch that enforces its rules
2.43 400 409 {"addFixedIp": {"networkId": "$nothing"}} | a DPU or a managed switch port
2.43 400 409 {"removeFixedIp": {"address": "192.0.2.9"}} | a DPU or a managed switch port
2.43 404 409 {"addFloatingIp": {"address": "192.0.2.9"}} | a DPU or a managed switch port
2.43 404 409 {"removeFloatingIp": {"address": "192.0.2.9"}} | a DPU or a managed switch port
2.96 202 409 {"injectNetworkInfo": null} | writes addresses into its system
2.96 410 410 {"resetNetwork": null} | hypervisor
2.96 400 202 {"trigger_crash_dump": null}
2.96 200 409 {"os-getConsoleOutput": {}} | a serial line that is kept
2.5  409 409 {"os-getVNCConsole": {"type": "novnc"}} | a way to its serial line for its tenant
2.5  409 409 {"os-getSerialConsole": {"type": "serial"}} | a way to its serial line for its tenant
2.5  400 409 {"os-getSPICEConsole": {"type": "spice-html5"}} | a way to its serial line for its tenant
2.5  400 409 {"os-getRDPConsole": {"type": "rdp-html5"}} | a way to its serial line for its tenant
"#;

/// The same for what is no action: the method and the path below the server come before the body.
const CALLS: &str = r#"
2.96 405 409 POST /os-volume_attachments {"volumeAttachment": {"volumeId": "$nothing"}} | a DPU to show volumes
2.96 409 409 POST /os-interface {} | to attach networks with
2.96 404 409 DELETE /os-interface/$nothing null | to attach networks with
2.96 409 409 POST /remote-consoles {"remote_console": {"protocol": "vnc", "type": "novnc"}} | its serial line
2.96 400 409 POST /remote-consoles {"remote_console": {"protocol": "spice", "type": "spice-html5"}} | its serial line
2.96 409 409 GET /diagnostics null | to look into the guest from
2.96 200 409 PUT / {"server": {"hostname": "two"}} | a metadata service
2.96 200 200 PUT / {"server": {"hostname": "one"}}
2.96 200 409 PUT / {"server": {"OS-DCF:diskConfig": "MANUAL"}} | grows over its whole disk
2.96 200 200 PUT / {"server": {"OS-DCF:diskConfig": "AUTO"}}
2.96 200 200 PUT / {"server": {"name": "two"}}
"#;

/// A line of one of the tables.
struct Line<'a> {
    version: &'a str,
    vm: u16,
    metal: u16,
    /// What is asked for.
    asked: &'a str,
    lacking: &'a str,
}

fn lines(table: &str) -> impl Iterator<Item = Line<'_>> {
    let lines = table.lines().filter(|line| !line.is_empty());
    lines.map(|line| {
        let (asked, lacking) = line.split_once(" | ").unwrap_or((line, ""));
        let (version, rest) = asked.split_once(' ').unwrap();
        let (vm, rest) = rest.trim_start().split_once(' ').unwrap();
        let (metal, asked) = rest.split_once(' ').unwrap();
        Line {
            version,
            vm: vm.parse().unwrap(),
            metal: metal.parse().unwrap(),
            asked,
            lacking,
        }
    })
}

fn body(text: &str, image: ImageId) -> Value {
    let text = text.replace("$image", &image.to_string());
    serde_json::from_str(&text.replace("$nothing", NOTHING)).unwrap()
}

/// Asks it of an instance of each class.
async fn check(cloud: &Cloud, line: &Line<'_>, method: &str, below: &str, body: &Value) {
    for class in [InstanceClass::Vm, InstanceClass::Metal] {
        let id = cloud.instance(&cloud.admin, class).await;
        let path = format!("/compute/v2.1/servers/{id}{below}");
        let answer = cloud.ask(&cloud.admin, method, &path, line.version, body);
        let (status, text) = answer.await;
        let message = message(&text);
        let context = format!("{} on {class}: {message}", line.asked);
        if class == InstanceClass::Vm {
            assert_eq!(status.as_u16(), line.vm, "{context}");
            assert!(!message.contains("bare-metal"), "{context}");
            continue;
        }
        assert_eq!(status.as_u16(), line.metal, "{context}");
        assert!(message.contains(line.lacking), "{context}");
        // What is called legal is served.
        let (_, legal) = message.split_once("Legal now:").unwrap_or_default();
        for unserved in ["shelve", "rescue", "attach interface", "remote console"] {
            assert!(!legal.contains(unserved), "{context}");
        }
    }
}

/// The names of the actions that are told apart.
fn known_actions() -> BTreeSet<&'static str> {
    let source = include_str!("../src/openstack/compute/servers/actions.rs");
    let (_, rest) = source.split_once("async fn dispatch").unwrap();
    let (dispatch, _) = rest.split_once("fn no_such_action").unwrap();
    let texts = dispatch.split('"').skip(1).step_by(2);
    texts.filter(|text| !text.contains(' ')).collect()
}

#[tokio::test]
async fn every_action_is_served_or_refused_with_what_is_lacking() {
    let cloud = Cloud::open().await;
    let image = cloud.image(|_| ()).await;
    let mut left = known_actions();
    assert!(left.len() > 35, "{left:?}");
    for line in lines(ACTIONS) {
        let body = body(line.asked, image);
        let name = body.as_object().unwrap().keys().next().unwrap();
        left.remove(name.as_str());
        check(&cloud, &line, "POST", "/action", &body).await;
    }
    assert!(left.is_empty(), "not in the table: {left:?}");
}

#[tokio::test]
async fn what_is_asked_beside_actions_is_refused_too() {
    let cloud = Cloud::open().await;
    for line in lines(CALLS) {
        let (method, rest) = line.asked.split_once(' ').unwrap();
        let (below, text) = rest.split_once(' ').unwrap();
        let below = below.replace("$nothing", NOTHING);
        let body = body(text, ImageId::random());
        check(&cloud, &line, method, below.trim_end_matches('/'), &body).await;
    }
    let id = cloud.instance(&cloud.admin, InstanceClass::Metal).await;
    let path = format!("/v1/instances/{id}/public-ips");
    let wish = json!({"public_ip": "ephemeral"});
    let (status, text) = cloud.ask(&cloud.admin, "POST", &path, "2.96", &wish).await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    assert!(message(&text).contains("a DPU"), "{text}");
    let path = format!("/v1/instances/{id}");
    let shown = cloud.ask(&cloud.admin, "GET", &path, "2.96", &Value::Null);
    let told: Value = serde_json::from_str(&shown.await.1).unwrap();
    let commands = told["instance"]["commands"].as_array().unwrap();
    assert!(commands.contains(&json!("trigger crash dump")), "{told}");
    assert!(!commands.contains(&json!("shelve")), "{told}");
}

/// The interrupt reaches the server, and the list of actions tells of it.
#[tokio::test]
async fn a_crash_dump_is_triggered_by_the_bmc() {
    let cloud = Cloud::open().await;
    let id = cloud.instance(&cloud.tenant, InstanceClass::Metal).await;
    let node = cloud.node_of(id).await.id;
    let path = format!("/compute/v2.1/servers/{id}/action");
    let trigger = async |version: &str, value: Value| {
        let body = json!({ "trigger_crash_dump": value });
        cloud
            .ask(&cloud.tenant, "POST", &path, version, &body)
            .await
    };
    let (status, text) = trigger("2.17", Value::Null).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    let bmc = cloud.machines.machine(&node.to_string()).bmc;
    let log = bmc.event_log().await.unwrap();
    let told = log.iter().any(|entry| entry.message.contains("interrupt"));
    assert!(told, "{log:?}");
    let kept = format!("/compute/v2.1/servers/{id}/os-instance-actions");
    let (_, text) = cloud
        .ask(&cloud.tenant, "GET", &kept, "2.17", &Value::Null)
        .await;
    assert!(text.contains("\"trigger_crash_dump\""), "{text}");
    // It came with 2.17, and takes nothing.
    for (version, value) in [("2.16", Value::Null), ("2.17", json!({"now": true}))] {
        let (status, text) = trigger(version, value).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    }
}

/// Fields in place of those of a create that is accepted, the status, and the words that name what is lacking.
const FIELDS: &str = r#"
2.96 202 409 {"networks": "none"} | on the flat network of its conductor group
2.96 400 409 {"networks": [{"uuid": "$nothing"}]} | a DPU or a managed switch port
2.96 202 409 {"security_groups": [{"name": "default"}], "networks": "none"} | on the flat network
2.96 202 409 {"security_groups": [{"name": "default"}]} | the security group default needs a DPU
2.96 202 409 {"OS-DCF:diskConfig": "MANUAL"} | grows over its whole disk
2.96 202 202 {"OS-DCF:diskConfig": "AUTO"}
2.96 202 202 {"config_drive": false}
"#;

#[tokio::test]
async fn a_create_takes_nothing_that_its_server_would_not_have() {
    let cloud = Cloud::open().await;
    cloud.flavor(BARE_METAL, |_| ()).await;
    let image = cloud.image(|_| ()).await;
    for line in lines(FIELDS) {
        let fields = body(line.asked, image);
        for (flavor, usual, wanted) in [("1", "none", line.vm), (BARE_METAL, "auto", line.metal)] {
            let mut server = json!({
                "name": "one", "flavorRef": flavor, "imageRef": image, "networks": usual,
            });
            let own = server.as_object_mut().unwrap();
            own.extend(fields.as_object().unwrap().clone());
            let (status, text) = cloud.create(&server).await;
            let message = message(&text);
            assert_eq!(status.as_u16(), wanted, "{server}: {message}");
            let named = flavor == "1" || message.contains(line.lacking);
            assert!(named, "{server}: {message}");
        }
    }
}

#[tokio::test]
async fn a_create_names_a_flavor_and_an_image_that_whole_servers_can_have() {
    let cloud = Cloud::open().await;
    cloud.flavor(BARE_METAL, |_| ()).await;
    cloud
        .flavor("second", |flavor| flavor.ephemeral_gib = 5)
        .await;
    cloud.flavor("swap", |flavor| flavor.swap_mib = 512).await;
    let image = cloud.image(|_| ()).await;
    let owner = cloud.tenant.project_id.clone();
    let private = cloud.image(|image| {
        image.visibility = Visibility::Private;
        image.owner = Some(owner);
    });
    let private = private.await;
    let fixed = cloud.image(|image| {
        let property = ("auto_disk_config".to_owned(), "False".to_owned());
        image.properties = [property].into();
    });
    let fixed = fixed.await;
    for (flavor, image, wanted, lacking) in [
        ("second", image, 409, "its ephemeral disk of 5 GiB"),
        ("swap", image, 409, "its swap of 512 MiB"),
        (BARE_METAL, fixed, 409, "auto_disk_config=false"),
        (
            BARE_METAL,
            private,
            400,
            "cloud's default images only (K102)",
        ),
    ] {
        let server = json!({
            "name": "one", "flavorRef": flavor, "imageRef": image, "networks": "auto",
        });
        let (status, text) = cloud.create(&server).await;
        let message = message(&text);
        assert_eq!(status.as_u16(), wanted, "{server}: {message}");
        assert!(message.contains(lacking), "{server}: {message}");
    }
}

/// What is not enforced is not shown either.
#[tokio::test]
async fn the_answer_to_a_create_shows_what_its_server_has() {
    let cloud = Cloud::open().await;
    cloud.flavor(BARE_METAL, |_| ()).await;
    let image = cloud.image(|_| ()).await;
    let default = json!([{"name": "default"}]);
    for (flavor, networks, groups, disk) in [
        (BARE_METAL, "auto", json!([]), "AUTO"),
        ("1", "none", default, "MANUAL"),
    ] {
        let server = json!({
            "name": "one", "flavorRef": flavor, "imageRef": image, "networks": networks,
        });
        let (status, text) = cloud.create(&server).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{text}");
        let made: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(made["server"]["security_groups"], groups, "{text}");
        assert_eq!(made["server"]["OS-DCF:diskConfig"], disk, "{text}");
    }
}

#[tokio::test]
async fn the_native_create_and_a_rebuild_refuse_the_same() {
    let cloud = Cloud::open().await;
    cloud.flavor(BARE_METAL, |_| ()).await;
    let image = cloud.image(|_| ()).await;
    let mut new = json!({"name": "one", "flavor_id": BARE_METAL, "image_id": image});
    let ask = async |new: &Value| {
        let wish = json!({ "instance": new });
        cloud
            .ask(&cloud.tenant, "POST", "/v1/instances", "2.96", &wish)
            .await
    };
    let (status, text) = ask(&new).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    new["network_ids"] = json!([]);
    let (status, text) = ask(&new).await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    assert!(text.contains("an instance on no network"), "{text}");
    let id = cloud.instance(&cloud.tenant, InstanceClass::Metal).await;
    let path = format!("/compute/v2.1/servers/{id}/action");
    let wish = json!({"rebuild": {"imageRef": image, "OS-DCF:diskConfig": "MANUAL"}});
    let (status, text) = cloud.ask(&cloud.tenant, "POST", &path, "2.96", &wish).await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    assert!(text.contains("grows over its whole disk"), "{text}");
}

/// A BMC that speaks both Redfish and IPMI has its serial line kept, if it is known how to log in by IPMI.
fn with_line(node: &mut Node) {
    node.driver = driver::REDFISH.to_owned();
    let interface = ("console".to_owned(), console::SOL.to_owned());
    node.interfaces.extend([interface]);
}

#[tokio::test]
async fn a_server_behind_redfish_has_a_console_log() {
    let cloud = Cloud::open().await;
    let id = cloud.instance(&cloud.tenant, InstanceClass::Metal).await;
    let mut node = cloud.node_of(id).await;
    with_line(&mut node);
    let refused = console::check(&cloud.cx, &node).unwrap_err().message;
    assert!(refused.contains("ipmi_address"), "{refused}");
    for (key, value) in [("ipmi_address", "192.0.2.9"), ("ipmi_username", "root")] {
        node.driver_info.insert(key.to_owned(), json!(value));
    }
    let place = "driver_info/ipmi_password";
    let sealed = cloud.cx.metal.vault.seal(None, node.id, place, "secret");
    node.secrets.insert(place.to_owned(), sealed.unwrap());
    console::check(&cloud.cx, &node).unwrap();
    let mut tx = cloud.store.write().await.unwrap();
    record::update(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    cloud.printed(&format!("{}.{id}.log", node.id), "login:\n");
    let path = format!("/compute/v2.1/servers/{id}/action");
    let wish = json!({"os-getConsoleOutput": {}});
    let (status, text) = cloud.ask(&cloud.tenant, "POST", &path, "2.96", &wish).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("login:"), "{text}");
}

#[tokio::test]
async fn what_a_node_printed_under_nobody_is_for_administrators() {
    let cloud = Cloud::open().await;
    let read = async |caller: &Caller, node: NodeId, query: &str| {
        let path = format!("/v1/nodes/{node}/console-log{query}");
        cloud.ask(caller, "GET", &path, "2.96", &Value::Null).await
    };
    let node = cloud.node(with_line).await;
    cloud.printed(&format!("{node}.nobody.log"), "one\ntwo\nthree\n");
    let (status, text) = read(&cloud.admin, node, "?lines=2").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["console_log"], "three\n");
    let (_, text) = read(&cloud.admin, node, "").await;
    assert!(text.contains("one"), "{text}");
    let (status, text) = read(&cloud.tenant, node, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{text}");

    let id = cloud.instance(&cloud.tenant, InstanceClass::Metal).await;
    let theirs = cloud.node_of(id).await.id;
    let (status, text) = read(&cloud.admin, theirs, "").await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    assert!(text.contains("os-getConsoleOutput"), "{text}");
    let silent = cloud.node(|_| ()).await;
    let (status, text) = read(&cloud.admin, silent, "").await;
    assert_eq!(status, StatusCode::CONFLICT, "{text}");
    assert!(text.contains("ipmitool-sol"), "{text}");
}
