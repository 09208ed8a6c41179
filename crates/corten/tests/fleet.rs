//! A fleet of simulated servers goes through its life over the wire: BMCs by Redfish, boots from virtual media, our ramdisk's
//! own calls home. Enrolled, inspected, wiped, rented, given back and wiped again (K145, K146, K148, K151, K153, K162).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::http::Answer;
use common::{Actor, Cloud, until};
use corten_bmc::BmcError;
use corten_sim::Touch;
use corten_sim::fleet::{Fleet, FleetServer, PASSWORD, USER};
use corten_sim::redfish::Shape;
use reqwest::Method;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::fs::File;
use std::net::SocketAddrV4;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);
/// The servers' kernel and ramdisk are never run.
const SETTINGS: &str = r#"
[host]
enabled = false
[network]
enabled = false
[provisioning]
kernel = "stub"
ramdisk = "stub"
[[provisioning.networks]]
name = "provisioning"
interface = "lo"
address = "127.96.0.1/16"
first = "127.96.1.0"
last = "127.96.9.255"
"#;

/// A network namespace that this thread, and each that it starts, is moved into: all of 127.0.0.0/8 is theirs.
struct Namespace(String);

impl Namespace {
    fn enter(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let ip = |arguments: &[&str]| {
            let done = Command::new("ip").args(arguments).status().unwrap();
            assert!(done.success(), "ip {arguments:?}");
        };
        ip(&["netns", "add", &name]);
        let namespace = Self(name);
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"]);
        let file = File::open(format!("/run/netns/{}", namespace.0)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Its operator, at a cloud that can boot its servers.
struct Rack {
    cloud: Cloud,
    admin: Actor,
    fleet: Fleet,
    nodes: Vec<String>,
}

impl Rack {
    async fn new(servers: u32) -> Self {
        let first = SocketAddrV4::new([127, 80, 0, 1].into(), 8000);
        let shape = Shape::named("standard").unwrap();
        let fleet = Fleet::start(servers, first, shape).await.unwrap();
        let cloud = Cloud::start(SETTINGS).await;
        std::fs::write(cloud.data().join("stub"), "no kernel").unwrap();
        let admin = cloud.admin().await;
        let mut rack = Self {
            cloud,
            admin,
            fleet,
            nodes: Vec::new(),
        };
        for number in 0..rack.fleet.servers.len() {
            let node = rack.enrol(number).await;
            rack.nodes.push(node);
        }
        rack
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let request = self
            .admin
            .request(method, &format!("/baremetal/v1{path}"))
            .header("x-openstack-ironic-api-version", "1.95");
        Answer::of(request.json(&body)).await.ok()
    }

    async fn enrol(&self, number: usize) -> String {
        let FleetServer { url, bmc, machine } = &self.fleet.servers[number];
        let node = json!({
            "driver": "redfish", "name": format!("bm{number}"), "resource_class": "bm.small", "inspect_interface": "agent",
            "driver_info": {
                "redfish_address": url, "redfish_system_id": bmc.system_path(),
                "redfish_username": USER, "redfish_password": PASSWORD,
            },
        });
        let node = self.ask(Method::POST, "/nodes", node).await["uuid"]
            .as_str()
            .unwrap()
            .to_owned();
        let port = json!({"node_uuid": node, "address": machine.mac()});
        self.ask(Method::POST, "/ports", port).await;
        node
    }

    /// Every node of the rack.
    async fn verb(&self, verb: &str) {
        for node in &self.nodes {
            let path = format!("/nodes/{node}/states/provision");
            self.ask(Method::PUT, &path, json!({"target": verb})).await;
        }
    }

    async fn shown(&self, node: &str) -> Answer {
        self.ask(Method::GET, &format!("/nodes/{node}"), Value::Null)
            .await
    }

    async fn all_are(&self, state: &str) {
        for node in &self.nodes {
            until(format!("{node} is {state}"), LIMIT, async || {
                let shown = self.shown(node).await;
                let is = shown["provision_state"].as_str().unwrap();
                assert!(
                    !is.ends_with("failed"),
                    "{is}: {}\n{}",
                    shown["last_error"],
                    self.cloud.log_tail(40)
                );
                (is == state && shown["reservation"].is_null()).then_some(())
            })
            .await;
        }
    }

    /// As far as `available`, from disks that are somebody's.
    async fn ready(&self) {
        for server in &self.fleet.servers {
            server.machine.leave("of who had it before");
        }
        self.verb("manage").await;
        self.all_are("manageable").await;
        self.verb("inspect").await;
        self.all_are("manageable").await;
        self.verb("provide").await;
        self.all_are("available").await;
    }

    fn blank(&self) -> bool {
        let disks = self.fleet.servers.iter().map(|s| s.machine.disks());
        disks.flatten().all(|disk| disk.is_none())
    }

    async fn flavor(&self) -> String {
        let flavor = json!({"flavor": {"name": "bm.small", "vcpus": 1, "ram": 1024, "disk": 0}});
        let made = self.admin.post("/compute/v2.1/flavors", flavor).await.ok();
        let id = made.id("flavor");
        let specs = json!({"extra_specs": {
            "resources:CUSTOM_BM_SMALL": "1", "resources:VCPU": "0",
        }});
        let path = format!("/compute/v2.1/flavors/{id}/os-extra_specs");
        self.admin.post(&path, specs).await.ok();
        id
    }

    async fn server(&self, flavor: &str, image: &str, name: &str) -> String {
        let body = json!({"server": {
            "name": name, "imageRef": image, "flavorRef": flavor, "networks": "none",
        }});
        let made = self.admin.post("/compute/v2.1/servers", body).await.ok();
        made.id("server")
    }
}

fn in_a_namespace(name: &str, test: impl AsyncFnOnce()) {
    let _namespace = Namespace::enter(name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test());
}

#[test]
fn a_fleet_is_enrolled_rented_and_wiped_over_the_wire() {
    in_a_namespace("corten-fleet", async || {
        let rack = Rack::new(6).await;
        rack.ready().await;
        assert!(rack.blank(), "wiped before anybody gets one");
        for node in &rack.nodes {
            let shown = rack.shown(node).await;
            assert_eq!(
                shown["properties"]["memory_mb"], 65_536,
                "as its ramdisk told"
            );
        }

        let flavor = rack.flavor().await;
        let image = rack.cloud.image(&rack.admin, "os", vec![7; 65_536]).await;
        let mut servers = Vec::new();
        for number in 0..rack.nodes.len() {
            servers.push(
                rack.server(&flavor, &image, &format!("whole-{number}"))
                    .await,
            );
        }
        for server in &servers {
            rack.admin.wait_for(server, "ACTIVE", LIMIT).await;
        }
        for server in &rack.fleet.servers {
            assert_eq!(server.machine.disks()[0], Some(image.clone()));
            assert!(server.machine.starts().borrow().is_some(), "it is on");
        }

        for server in &servers {
            rack.admin
                .delete(&format!("/compute/v2.1/servers/{server}"))
                .await
                .ok();
        }
        for server in &servers {
            rack.admin.wait_until_gone(server, LIMIT).await;
        }
        rack.all_are("available").await;
        assert!(rack.blank(), "and after");
        for node in &rack.nodes {
            let path = format!("/nodes/{node}/wipes");
            let wipes = rack.ask(Method::GET, &path, Value::Null).await;
            let disks = wipes["wipes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|wipe| wipe["disks"].to_string());
            let with_serials = disks.filter(|disks| disks.matches("SIM").count() == 2);
            assert_eq!(
                with_serials.count(),
                2,
                "each wipe is on record: {}",
                *wipes
            );
        }
    });
}

#[test]
fn a_ramdisk_that_fails_harms_one_server_alone() {
    in_a_namespace("corten-fleet-ill", async || {
        let rack = Rack::new(3).await;
        rack.ready().await;
        // One cannot write its disk.
        let error = BmcError::Unreachable {
            bmc: "the disk".to_owned(),
            reason: "it does not answer".to_owned(),
        };
        rack.fleet.servers[0]
            .machine
            .fail_next(Touch::Install, 100, error);
        let flavor = rack.flavor().await;
        let image = rack.cloud.image(&rack.admin, "os", vec![7; 65_536]).await;
        let mut servers = Vec::new();
        for number in 0..3 {
            servers.push(
                rack.server(&flavor, &image, &format!("whole-{number}"))
                    .await,
            );
        }
        let mut ends = Vec::new();
        for server in &servers {
            let end = until("an end", LIMIT, async || {
                let shown = rack.admin.server(server).await;
                (shown["status"] != "BUILD").then_some(shown)
            });
            ends.push(end.await);
        }
        let (ill, well): (Vec<_>, Vec<_>) = ends.iter().partition(|end| end["status"] == "ERROR");
        assert_eq!(well.len(), 2);
        assert!(well.iter().all(|end| end["status"] == "ACTIVE"), "{well:?}");
        let why = ill[0]["fault"]["message"].as_str().unwrap();
        assert!(
            why.contains("No valid host") && why.contains("Try 1"),
            "{why}"
        );
        let path = format!("/nodes/{}/history?detail=True", rack.nodes[0]);
        let history = rack.ask(Method::GET, &path, Value::Null).await.to_string();
        assert!(history.contains("the disk cannot be reached"), "{history}");
    });
}
