//! A server that nobody enrolled: it is switched on, is offered with what it is made of, and is enrolled by its operator (K150).

use super::OLD;
use super::common::{Cloud, until};
use super::lab::{self, System, in_lab};
use super::operator::Operator;
use super::server::{Firmware, Server};
use super::{PASSWORD, PATIENCE};
use reqwest::Method;
use serde_json::{Value, json};

#[test]
fn a_server_that_nobody_knows_is_offered_for_enrolment() {
    in_lab(System::Tiny, || async {
        let cloud = lab::cloud_with("discover = true").await;
        let server = Server::start(4, Firmware::Bios, OLD).await;
        server.boot_from_network().await;
        let operator = Operator::is_offered(&cloud, &server).await;
        until("the server is off", PATIENCE, async || {
            server.machine().is_none().then_some(())
        })
        .await;
        assert!(server.disk_holds(OLD), "discovery leaves the disk alone");
        tells_what_it_is_made_of(&operator).await;
        is_enrolled(&cloud, &operator).await;
    });
}

async fn tells_what_it_is_made_of(operator: &Operator<'_>) {
    let path = format!("/nodes/{}", operator.node);
    let node = operator.shown().await;
    assert_eq!(node["provision_state"], "enroll");
    assert_eq!(node["driver"], "redfish");
    assert_eq!(node["driver_info"], json!({}), "no credentials");
    let expected = [
        ("cpus", json!(1)),
        ("cpu_arch", json!("x86_64")),
        ("local_gb", json!(3)),
    ];
    for (key, value) in expected {
        assert_eq!(node["properties"][key], value, "{key}");
    }
    let found = operator
        .ask(Method::GET, &format!("{path}/inventory"), None)
        .await;
    assert_eq!(found["inventory"]["disks"][0]["serial"], "root-1");
    assert_eq!(
        found["inventory"]["system_vendor"]["uuid"],
        "c7a5fdbd-edaf-4455-926a-000000000004"
    );
    assert_eq!(found["plugin_data"]["auto_discovered"], true);

    let listed = format!("/ports/detail?node={}", operator.node);
    let ports = operator.ask(Method::GET, &listed, None).await;
    let ports = ports["ports"].as_array().unwrap();
    let [port] = ports.as_slice() else {
        panic!("{ports:?}")
    };
    assert_eq!(port["address"], operator.server.mac.as_str());
    assert_eq!(port["pxe_enabled"], true);

    let history = operator
        .ask(Method::GET, &format!("{path}/history"), None)
        .await;
    let first = format!(
        "{path}/history/{}",
        history["history"][0]["uuid"].as_str().unwrap()
    );
    let event = operator.ask(Method::GET, &first, None).await.to_string();
    for part in [
        "discovered on the network lab",
        operator.server.mac.as_str(),
        "QEMU",
    ] {
        assert!(event.contains(part), "{part} in {event}");
    }
    let signs = operator.signs().await;
    for sign in ["dhcp", "leased", "fetched", "discovered"] {
        assert!(signs.contains(&sign.to_owned()), "{sign} in {signs:?}");
    }
}

/// The operator says how its BMC is reached: the rest is known. It is inspected, booted as any server of his.
async fn is_enrolled(cloud: &Cloud, operator: &Operator<'_>) {
    let info = operator.server.driver_info();
    let mut patch: Vec<Value> = Vec::new();
    for (key, value) in info.as_object().unwrap() {
        patch.push(json!({"op": "add", "path": format!("/driver_info/{key}"), "value": value}));
    }
    for (key, value) in [
        ("boot_interface", "ipxe"),
        ("inspect_interface", "agent"),
        ("name", "bm1"),
    ] {
        patch.push(json!({"op": "add", "path": format!("/{key}"), "value": value}));
    }
    let path = format!("/nodes/{}", operator.node);
    operator.ask(Method::PATCH, &path, Some(patch.into())).await;
    operator.provision(json!({"target": "manage"})).await;
    operator.reaches("manageable").await;
    operator.provision(json!({"target": "inspect"})).await;
    operator.reaches("manageable").await;
    let found = operator
        .ask(Method::GET, &format!("{path}/inventory"), None)
        .await;
    let card = &found["inventory"]["interfaces"][0];
    assert_eq!(card["mac_address"], operator.server.mac.as_str());
    assert!(found["plugin_data"].get("auto_discovered").is_none());
    let listed = operator.ask(Method::GET, "/nodes", None).await;
    assert_eq!(
        listed["nodes"].as_array().unwrap().len(),
        1,
        "one server is one node"
    );
    assert!(!cloud.log().contains(PASSWORD));
}
