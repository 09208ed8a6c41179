//! A rack is found by the addresses of its BMCs and enrolled by a manifest, unattended (K151, K157).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/fleet.rs"]
mod fleet;

use common::http::Answer;
use common::{Actor, Cloud};
use corten_bmc::BmcError;
use corten_sim::fleet::{Fleet, FleetServer, USER};
use corten_sim::redfish::{RedfishService, SelfSigned, Shape};
use corten_sim::{SimMachines, Touch};
use fleet::{Rack, in_a_namespace};
use reqwest::Method;
use serde_json::{Value, json};
use std::process::Output;
use tokio::net::TcpListener;
use tokio::process::Command;

const PASSWORD: &str = "s3cret-horse";

/// A BMC of so many simulated servers, over TLS, on a port of loopback.
async fn rack(servers: usize) -> u16 {
    let machines = SimMachines::default();
    let service = RedfishService::new("admin", PASSWORD);
    for number in 1..=servers {
        let id = format!("0000000{number}0000");
        service.add(&id, machines.get(&id), Shape::named("standard").unwrap());
    }
    let shown = SelfSigned::new("127.0.0.1").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { service.serve_tls(listener, shown.config).await });
    port
}

async fn corten(cloud: &Cloud, password: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corten"))
        .arg("--data")
        .arg(cloud.data())
        .args(["--listen", cloud.url().trim_start_matches("http://")])
        .args(["admin", "metal"])
        .args(arguments)
        .env("CORTEN_BMC_PASSWORD", password)
        .output()
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn ask(admin: &Actor, method: Method, path: &str, body: Value) -> Answer {
    let request = admin
        .request(method, &format!("/baremetal/v1{path}"))
        .header("x-openstack-ironic-api-version", "1.95");
    Answer::of(request.json(&body)).await.ok()
}

/// The ports of all nodes.
async fn cards(admin: &Actor) -> Vec<Value> {
    let found = ask(admin, Method::GET, "/ports/detail", Value::Null).await;
    found["ports"].as_array().unwrap().clone()
}

/// Removes the port with the address of this one.
async fn remove(admin: &Actor, port: &Value) {
    let ports = cards(admin).await;
    let port = ports
        .iter()
        .find(|other| other["address"] == port["address"]);
    let path = format!("/ports/{}", port.unwrap()["uuid"].as_str().unwrap());
    ask(admin, Method::DELETE, &path, Value::Null).await;
}

fn addresses(ports: &[Value]) -> Vec<&str> {
    let mut addresses: Vec<_> = ports
        .iter()
        .map(|port| port["address"].as_str().unwrap())
        .collect();
    addresses.sort_unstable();
    addresses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_is_found_and_enrolled_unattended() {
    let cloud = Cloud::start("[host]\nenabled = false\n[network]\nenabled = false\n").await;
    let port = rack(3).await.to_string();
    let discover = [
        "discover",
        "127.0.0.1/32",
        "--username",
        "admin",
        "--port",
        &port,
    ];

    let wrong = corten(&cloud, "wrong", &discover).await;
    let said = text(&wrong.stdout);
    assert!(said.contains("does not let \"admin\" in"), "{said}");
    assert!(!said.contains("[[server]]"), "{said}");

    let found = corten(&cloud, PASSWORD, &discover).await;
    let manifest = text(&found.stdout);
    assert!(found.status.success(), "{}", text(&found.stderr));
    assert_eq!(manifest.matches("[[server]]").count(), 3, "{manifest}");
    assert!(
        manifest.contains("# Corten Simulated server, serial"),
        "{manifest}"
    );
    assert!(!manifest.contains(PASSWORD), "{manifest}");

    let path = cloud.data().join("rack.toml");
    std::fs::write(&path, &manifest).unwrap();
    let admin = cloud.admin().await;
    let enrol = ["enrol", path.to_str().unwrap(), "--until", "inspected"];
    for time in ["first", "second"] {
        let enrolled = corten(&cloud, PASSWORD, &enrol).await;
        let said = text(&enrolled.stdout);
        assert!(
            enrolled.status.success(),
            "{time}: {said} {}",
            text(&enrolled.stderr)
        );
        assert_eq!(said.matches(": manageable").count(), 3, "{time}: {said}");
    }
    let nodes = admin.get("/baremetal/v1/nodes/detail").await;
    let nodes = nodes["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3, "none is enrolled twice");
    for node in nodes {
        assert_eq!(node["properties"]["memory_mb"], 65_536, "{node}");
    }

    // A run that was ended between a node and its cards is gone on with.
    let ports = cards(&admin).await;
    assert_eq!(ports.len(), 3, "{ports:?}");
    remove(&admin, &ports[0]).await;
    let enrolled = corten(&cloud, PASSWORD, &enrol).await;
    assert!(enrolled.status.success(), "{}", text(&enrolled.stdout));
    assert_eq!(addresses(&cards(&admin).await), addresses(&ports));

    // A card that somebody else's node has is not taken away from it.
    remove(&admin, &ports[0]).await;
    let other = json!({"driver": "redfish", "name": "other"});
    let other = ask(&admin, Method::POST, "/nodes", other).await;
    let card = json!({"node_uuid": other["uuid"], "address": ports[0]["address"]});
    ask(&admin, Method::POST, "/ports", card).await;
    let refused = corten(&cloud, PASSWORD, &enrol).await;
    let said = text(&refused.stdout);
    assert!(!refused.status.success(), "{said}");
    assert_eq!(said.matches("(other, enroll)").count(), 1, "{said}");
    assert_eq!(said.matches(": manageable").count(), 2, "{said}");
    let other = format!("/nodes/{}", other["uuid"].as_str().unwrap());
    ask(&admin, Method::DELETE, &other, Value::Null).await;

    let again = corten(&cloud, PASSWORD, &discover).await;
    let said = text(&again.stdout);
    assert_eq!(said.matches("is enrolled already").count(), 3, "{said}");

    // Further it cannot go here, and each server says why.
    let refused = corten(&cloud, PASSWORD, &["enrol", path.to_str().unwrap()]).await;
    assert!(!refused.status.success());
    let said = text(&refused.stdout);
    assert_eq!(said.matches("no provisioning network").count(), 3, "{said}");
}

/// A manifest of a fleet whose servers are inspected and wiped by their ramdisks.
fn manifest(fleet: &Fleet) -> String {
    let server = |(number, server): (usize, &FleetServer)| {
        let FleetServer { url, bmc, machine } = server;
        format!(
            "[[server]]\nname = \"bm{number}\"\nresource_class = \"bm.small\"\ninspect_interface = \"agent\"\n\
             ports = [\"{}\"]\n[server.driver_info]\nredfish_address = \"{url}\"\nredfish_system_id = \"{}\"\n\
             redfish_username = \"{USER}\"\n",
            machine.mac(),
            bmc.system_path(),
        )
    };
    fleet.servers.iter().enumerate().map(server).collect()
}

fn broken() -> BmcError {
    BmcError::Unreachable {
        bmc: "the disk".to_owned(),
        reason: "it does not answer".to_owned(),
    }
}

#[test]
fn a_rack_is_brought_to_available_and_what_failed_is_taken_up_again() {
    in_a_namespace("corten-rack", async || {
        let rack = Rack::new(3).await;
        let path = rack.cloud.data().join("rack.toml");
        std::fs::write(&path, manifest(&rack.fleet)).unwrap();
        let enrol = ["enrol", path.to_str().unwrap()];
        // One is not enrolled yet, and of one the run before did not get to its card.
        rack.ask(Method::DELETE, "/nodes/bm2", Value::Null).await;
        let ports = cards(&rack.admin).await;
        let of_one = ports.iter().find(|port| port["node_uuid"] == rack.nodes[1]);
        remove(&rack.admin, of_one.unwrap()).await;
        for server in &rack.fleet.servers {
            server.machine.leave("of who had it before");
        }
        // One cannot be wiped, and one cannot be inspected, the first time.
        let machine = |number: usize| &rack.fleet.servers[number].machine;
        machine(0).fail_next(Touch::Wipe, 1, broken());
        machine(1).fail_next(Touch::Inventory, 1, broken());

        let run = corten(&rack.cloud, PASSWORD, &enrol).await;
        let said = text(&run.stdout);
        assert!(!run.status.success(), "{said}");
        assert!(said.contains("bm0: 'provide' failed"), "{said}");
        assert!(said.contains("bm1: 'inspect' failed"), "{said}");
        assert!(said.contains("bm2: available"), "{said}");

        let run = corten(&rack.cloud, PASSWORD, &enrol).await;
        let said = text(&run.stdout);
        assert!(
            run.status.success(),
            "{said} {}\n{}",
            text(&run.stderr),
            rack.cloud.log_tail(40)
        );
        assert_eq!(said.matches(": available").count(), 3, "{said}");
        let nodes = rack.ask(Method::GET, "/nodes/detail", Value::Null).await;
        let nodes = nodes["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 3);
        for node in nodes {
            assert_eq!(node["provision_state"], "available", "{node}");
            assert_eq!(node["maintenance"], false, "it can be chosen: {node}");
            assert_eq!(node["properties"]["memory_mb"], 65_536, "{node}");
        }
        assert!(rack.blank(), "wiped before anybody gets one");
    });
}
