//! From three BMCs to three tenants' servers and back, told step by step.

use super::OLD;
use super::common::Cloud;
use super::key::Key;
use super::lab::{self, System};
use super::operator::Operator;
use super::server::{Firmware, Server};
use super::stock_client::StockClient;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// For a system to be booted on two busy processors, three at a time.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Tells what was done, and when.
struct Story(Instant);

impl Story {
    fn tell(&self, what: &str) {
        println!("[{:5.0} s] {what}", self.0.elapsed().as_secs_f64());
    }
}

pub async fn run(system: System) {
    let story = Story(Instant::now());
    let cloud = lab::cloud().await;
    lab::add_image(&cloud, system).await;
    story.tell("a cloud, with a provisioning network and an image");
    let servers = [
        Server::start(1, Firmware::Uefi, OLD).await,
        Server::start(2, Firmware::UefiHttp, OLD).await,
        Server::behind_ipmi(3, OLD).await,
    ];
    assert!(servers.iter().all(|server| server.disk_holds(OLD)));
    story.tell("three servers that are off, their disks full of somebody's data");
    let ways = ["redfish-virtual-media", "http-ipxe", "ipxe"];
    let names = ["by-media", "by-http", "by-pxe"];
    let mut operators = Vec::new();
    for ((server, way), name) in servers.iter().zip(ways).zip(names) {
        operators.push(Operator::enrol(&cloud, server, name, way).await);
        story.tell(&format!(
            "{name}: enrolled, its BMC ({}) lets us in",
            server.driver()
        ));
    }
    join_all(
        operators
            .iter()
            .zip(names)
            .map(|(operator, name)| make_ready(&story, operator, name)),
    )
    .await;

    let mut admin = StockClient::start(&cloud, "corten");
    admin
        .run("flavor create --vcpus 1 --ram 1024 --disk 0 --property resources:CUSTOM_BM_SMALL=1 --property resources:VCPU=0 bm.small")
        .await;
    let mut tenant = StockClient::start(&cloud, "demo");
    let (first, second) = (Key::new().await, Key::new().await);
    for (name, key) in [("first", &first), ("second", &second)] {
        let public = key.path().with_extension("pub");
        let command = format!("keypair create --public-key {} {name}", public.display());
        tenant.run(&command).await;
    }
    let image = system.image();
    for number in 1..=3 {
        let command = format!(
            "server create --flavor bm.small --image {image} --key-name first whole-{number}"
        );
        tenant.run(&command).await;
        story.tell(&format!("openstack {command}"));
    }
    let mut addresses = Vec::new();
    for number in 1..=3 {
        let shown = becomes(&cloud, &mut tenant, &format!("whole-{number}"), "ACTIVE").await;
        let address = shown["addresses"]["lab"][0].as_str().unwrap().to_owned();
        story.tell(&format!("whole-{number} is active at {address}"));
        addresses.push(address);
    }
    for (index, address) in addresses.iter().enumerate() {
        let said = log_in(&first, system, address).await;
        story.tell(&format!("ssh {}@{address}: {}", system.user(), said.trim()));
        assert_eq!(said.trim(), format!("whole-{}", index + 1));
    }
    console(&story, &cloud, &operators[2]).await;
    // The first that takes another key.
    let mut newer = StockClient::start_at(&cloud, "demo", "2.54");
    let command = format!("server rebuild --image {image} --key-name second whole-1");
    newer.run(&command).await;
    story.tell(&format!("openstack {command}"));
    becomes(&cloud, &mut tenant, "whole-1", "ACTIVE").await;
    let said = log_in(&second, system, &addresses[0]).await;
    assert_eq!(said.trim(), "whole-1");
    let refused = first
        .try_run(system.user(), &addresses[0], "hostname")
        .await;
    assert!(refused.unwrap_err().contains("denied"));
    story.tell("whole-1 lets the second key in, and the first no more");
    for number in 1..=3 {
        tenant.run(&format!("server delete whole-{number}")).await;
    }
    story.tell("openstack server delete whole-1 whole-2 whole-3");
    join_all(
        operators
            .iter()
            .map(|operator| operator.reaches_within("available", PATIENCE)),
    )
    .await;
    story.tell("all servers are wiped and available again");
    for (server, key) in servers.iter().zip([&second, &first, &first]) {
        for text in [OLD, &key.public(), &first.public()] {
            assert!(!server.disk_holds(text), "old bytes are left");
        }
    }
    story.tell("no disk holds a byte of before");
    for (operator, name) in operators.iter().zip(names) {
        print(operator, name).await;
    }
}

/// Inspected from within, and wiped.
async fn make_ready(story: &Story, operator: &Operator<'_>, name: &str) {
    let path = format!("/nodes/{}", operator.node);
    let patch = json!([{"op": "add", "path": "/inspect_interface", "value": "agent"}]);
    operator.ask(Method::PATCH, &path, Some(patch)).await;
    operator.provision(json!({"target": "inspect"})).await;
    operator.reaches_within("manageable", PATIENCE).await;
    let properties = operator.shown().await["properties"].take();
    story.tell(&format!("{name}: inspected, {properties}"));
    operator.provision(json!({"target": "provide"})).await;
    operator.reaches_within("available", PATIENCE).await;
    story.tell(&format!("{name}: wiped and available"));
}

/// Waits for the status of a tenant's server.
async fn becomes(cloud: &Cloud, tenant: &mut StockClient, name: &str, wanted: &str) -> Value {
    let begun = Instant::now();
    loop {
        let shown = tenant.json(&format!("server show {name}")).await;
        match shown["status"].as_str().unwrap() {
            status if status == wanted => return shown,
            "ERROR" => panic!("{:#}\n{}", shown["fault"], cloud.log_tail(40)),
            _ => assert!(
                begun.elapsed() < PATIENCE,
                "{name} does not become {wanted}"
            ),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The server behind IPMI prints over its serial line, and its tenant reads it.
async fn console(story: &Story, cloud: &Cloud, by_ipmi: &Operator<'_>) {
    let demo = cloud.demo().await;
    let node = by_ipmi.shown().await;
    let instance = node["instance_uuid"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    loop {
        let wish = json!({"os-getConsoleOutput": {"length": 20}});
        let log = demo.act(&instance, wish).await;
        let log = log["output"].as_str().unwrap().trim().to_owned();
        if let Some(last) = log.lines().last() {
            return story.tell(&format!(
                "openstack console log show {instance}: … {}",
                last.trim()
            ));
        }
        assert!(begun.elapsed() < PATIENCE, "its console shows nothing");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn log_in(key: &Key, system: System, address: &str) -> String {
    let begun = Instant::now();
    loop {
        match key.try_run(system.user(), address, "hostname").await {
            Ok(said) => return said,
            Err(why) => assert!(begun.elapsed() < PATIENCE, "{why}"),
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// The boot timeline and the wipe records of a node.
async fn print(operator: &Operator<'_>, name: &str) {
    println!("\n== {name}: boot timeline");
    let timeline = operator.timeline().await;
    for sign in timeline.as_array().unwrap() {
        let text = |key: &str| sign[key].as_str().unwrap_or_default().to_owned();
        println!("{}  {:16} {}", text("at"), text("event"), text("detail"));
    }
    println!("== {name}: wipes");
    for wipe in operator.wipes().await.as_array().unwrap() {
        println!(
            "{}  {}",
            wipe["wiped_at"].as_str().unwrap_or_default(),
            wipe["disks"]
        );
    }
}
