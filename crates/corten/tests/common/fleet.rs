//! A rack of simulated servers at a cloud that can boot them, each side real but for the servers: BMCs by Redfish, boots from
//! virtual media, our ramdisk's own calls home. They have a network namespace of their own.
//!
//! Each test file uses a part of what is here.
#![allow(dead_code)]

use crate::common::http::Answer;
use crate::common::{Actor, Cloud, until};
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

pub const LIMIT: Duration = Duration::from_secs(120);
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
pub struct Rack {
    pub cloud: Cloud,
    pub admin: Actor,
    pub fleet: Fleet,
    pub nodes: Vec<String>,
}

impl Rack {
    pub async fn new(servers: u32) -> Self {
        Self::with(servers, "").await
    }

    /// With more settings than the usual ones.
    pub async fn with(servers: u32, settings: &str) -> Self {
        let first = SocketAddrV4::new([127, 80, 0, 1].into(), 8000);
        let shape = Shape::named("standard").unwrap();
        let fleet = Fleet::start(servers, first, shape).await.unwrap();
        let cloud = Cloud::start(&format!("{SETTINGS}{settings}")).await;
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

    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
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
    pub async fn verb(&self, verb: &str) {
        for node in &self.nodes {
            let path = format!("/nodes/{node}/states/provision");
            self.ask(Method::PUT, &path, json!({"target": verb})).await;
        }
    }

    pub async fn shown(&self, node: &str) -> Answer {
        self.ask(Method::GET, &format!("/nodes/{node}"), Value::Null)
            .await
    }

    pub async fn all_are(&self, state: &str) {
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
    pub async fn ready(&self) {
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

    pub fn blank(&self) -> bool {
        let disks = self.fleet.servers.iter().map(|s| s.machine.disks());
        disks.flatten().all(|disk| disk.is_none())
    }

    pub async fn flavor(&self) -> String {
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

    pub async fn server(&self, flavor: &str, image: &str, name: &str) -> String {
        let body = json!({"server": {
            "name": name, "imageRef": image, "flavorRef": flavor, "networks": "auto",
        }});
        let made = self.admin.post("/compute/v2.1/servers", body).await.ok();
        made.id("server")
    }
}

pub fn in_a_namespace(name: &str, test: impl AsyncFnOnce()) {
    let _namespace = Namespace::enter(name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test());
}

/// 64 KiB for a disk: an MBR with one partition, and something in it.
pub fn os_image() -> Vec<u8> {
    let mut image = vec![7; 65_536];
    image[446..510].fill(0);
    // Bootable, Linux, from the second sector to the last.
    image[446] = 0x80;
    image[450] = 0x83;
    image[454..458].copy_from_slice(&1_u32.to_le_bytes());
    image[458..462].copy_from_slice(&127_u32.to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}
