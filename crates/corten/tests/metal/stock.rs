//! A server in the hands of OpenStack's own agent, from a used disk to a tenant's login and back, told step by step.

use super::key::Key;
use super::lab::{self, System};
use super::operator::Operator;
use super::server::{Firmware, Server};
use super::{ADDRESS, OLD};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// For a boot into Python, and a disk that is overwritten twice, on a machine that emulates its processor.
const PATIENCE: Duration = Duration::from_secs(1800);
/// The ramdisk holds Python, the programs that the agent calls, and the image while it is converted.
const MEMORY_MIB: u32 = 2048;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("stock-ramdisk")
}

/// Builds the ramdisk, which takes no time when it is there.
pub async fn build() {
    let built = Command::new(root().join("scripts/stock-ramdisk"))
        .arg(folder())
        .status();
    assert!(built.unwrap().success(), "the ramdisk cannot be built");
}

struct Story(Instant);

impl Story {
    fn tell(&self, what: &str) {
        println!("[{:5.0} s] {what}", self.0.elapsed().as_secs_f64());
    }
}

pub async fn run(firmware: Firmware) {
    let story = Story(Instant::now());
    // There is no other ramdisk in this cloud than the one that the node is given.
    let nothing = folder().join("nothing");
    let cloud = lab::cloud_that_boots(&nothing, &nothing, "").await;
    let image = lab::add_image(&cloud, System::Tiny).await;
    let admin = cloud.admin().await;
    let mut files = Vec::new();
    for (name, format) in [("stock.kernel", "aki"), ("stock.initrd", "ari")] {
        let fields =
            json!({"disk_format": format, "container_format": format, "visibility": "public"});
        let bytes = std::fs::read(folder().join(name)).unwrap();
        files.push(cloud.image_with(&admin, name, fields, bytes).await);
    }
    let server = Server::with_memory(1, firmware, OLD, MEMORY_MIB).await;
    let boot = match firmware {
        Firmware::Bios => "ipxe",
        Firmware::Uefi | Firmware::UefiHttp => "redfish-virtual-media",
    };
    let operator = Operator::enrol(&cloud, &server, "bm1", boot).await;
    let path = format!("/nodes/{}", operator.node);
    let patch = json!([
        {"op": "add", "path": "/driver_info/deploy_kernel", "value": files[0]},
        {"op": "add", "path": "/driver_info/deploy_ramdisk", "value": files[1]},
    ]);
    operator.ask(Method::PATCH, &path, Some(patch)).await;
    assert!(server.disk_holds(OLD));
    story.tell("a server whose disk is full of somebody's data, enrolled, to be booted with the stock agent by deploy_kernel");

    operator.provision(json!({"target": "provide"})).await;
    operator.reaches_within("clean wait", PATIENCE).await;
    check_stranger(&operator).await;
    operator.reaches_within("available", PATIENCE).await;
    story.tell("wiped by the stock agent, and available");
    assert!(!server.disk_holds(OLD), "old bytes are left");
    assert_eq!(server.machine(), None, "it is off");
    let wipes = operator.wipes().await;
    let disk = &wipes[0]["disks"][0];
    assert_eq!(disk["serial"], "root-1");
    let method = disk["method"].as_str().unwrap();
    assert!(method.contains("ironic-python-agent 13"), "{method}");

    let patch = json!([{"op": "add", "path": "/instance_info/image_source", "value": image}]);
    operator.ask(Method::PATCH, &path, Some(patch)).await;
    let key = Key::new().await;
    let drive = key.config_drive("one");
    operator
        .provision(json!({"target": "active", "configdrive": drive}))
        .await;
    operator.reaches_within("active", PATIENCE).await;
    story.tell("deployed by the stock agent, and active");
    let said = key.run(&operator, "root", ADDRESS, "hostname; cat /root/user-data");
    assert_eq!(said.await, "one\nit-ran\n");
    story.tell(&format!("ssh root@{ADDRESS} works, and the user data ran"));

    assert!(server.disk_holds(&key.public()), "its config drive");
    operator.provision(json!({"target": "deleted"})).await;
    operator.reaches_within("available", PATIENCE).await;
    story.tell("given back, wiped and available");
    assert!(!server.disk_holds(&key.public()), "old bytes are left");
    assert_eq!(operator.wipes().await.as_array().unwrap().len(), 2);
    for sign in operator.timeline().await.as_array().unwrap() {
        let text = |key: &str| sign[key].as_str().unwrap_or_default().to_owned();
        println!("{}  {:16} {}", text("at"), text("event"), text("detail"));
    }
}

/// Who knows the server's address alone learns the node's id, and nothing else of it.
async fn check_stranger(operator: &Operator<'_>) {
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .build()
        .unwrap();
    let url = format!(
        "https://10.77.0.1:6385/v1/lookup?addresses={}",
        operator.server.mac
    );
    let answer = client
        .get(url)
        .header("x-openstack-ironic-api-version", "1.62")
        .send()
        .await
        .unwrap();
    let told: Value = answer.json().await.unwrap();
    let nothing = json!({});
    let node = json!({"uuid": operator.node, "properties": nothing, "instance_info": nothing, "driver_internal_info": nothing});
    assert_eq!(told["node"], node);
    assert_eq!(told["config"]["agent_token"], "******");
}
