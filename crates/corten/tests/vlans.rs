//! VLANs: a guest that tags its frames is on a network for each tag, by a trunk; and a provider network's frames are
//! tagged where they leave the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/packets/mod.rs"]
mod packets;

use common::{Cloud, Shape};
use packets::capture::{Capture, Way};
use packets::{FELT, Guest, tiny_image, vpc};
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A cable that ends at this machine's network card and, at its other end, at an observer.
struct Cable {
    card: String,
    observer: String,
}

impl Cable {
    fn new() -> Self {
        let id = std::process::id();
        let (card, observer) = (format!("card{id}"), format!("obs{id}"));
        let pair = ["type", "veth", "peer", "name", &observer];
        ip(&[&["link", "add", &card][..], &pair].concat());
        ip(&["link", "set", "dev", &observer, "up"]);
        Self { card, observer }
    }

    /// Ends when it has seen such a frame.
    fn waits_for(&self, filter: &str) -> Child {
        Command::new("tcpdump")
            .args(["-Z", "root", "-n", "-c", "1", "-i", &self.observer, filter])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let words = ["link", "del", &self.observer];
        let _ = Command::new("ip").args(words).status();
    }
}

fn ip(words: &[&str]) {
    assert!(Command::new("ip").args(words).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn tagged_frames_come_to_the_network_of_their_tag_and_leave_with_the_one_of_the_provider_qemu()
 {
    let cable = Cable::new();
    let cloud = Cloud::start(&format!(
        "[host]\nacceleration = \"tcg\"\nphysical_interfaces = {{ public = \"{}\" }}\n\
         [compute]\nshutdown_timeout_secs = 2\n",
        cable.card
    ))
    .await;
    cloud.wait_for_hosts(1).await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let image = tiny_image(&cloud, &admin).await;
    let (plain, _) = vpc::network(&demo, "plain", "10.8.0.0/24").await;
    let tagged = json!({
        "name": "tagged", "project_id": demo.project_id, "provider:network_type": "vlan",
        "provider:physical_network": "public", "provider:segmentation_id": 100, "mtu": 1400,
    });
    let tagged = vpc::make(&admin, "network", tagged).await;
    let range = json!({"network_id": tagged, "ip_version": 4, "cidr": "10.88.0.0/24"});
    vpc::make(&demo, "subnet", range).await;
    let port = async |network: &str| {
        vpc::make_whole(&demo, "port", json!({ "network_id": network })).await
    };
    let (parent, sub, other) = (port(&plain).await, port(&tagged).await, port(&tagged).await);
    let subs = json!([{"port_id": sub["id"], "segmentation_type": "vlan", "segmentation_id": 7}]);
    let trunk = json!({"port_id": parent["id"], "sub_ports": subs});
    let trunk = vpc::make(&demo, "trunk", trunk).await;

    let shape = Shape::new(&demo, image).await;
    let tagging = Guest::ask(&demo, &shape, "tagging", &parent).await;
    let neighbour = Guest::ask(&demo, &shape, "neighbour", &other).await;
    let mut tagging = Guest::ready(&cloud, &demo, tagging, &parent).await;
    Guest::ready(&cloud, &demo, neighbour, &other).await;
    let own = vpc::address(&sub, 4);
    let mac = sub["mac_address"].as_str().unwrap();
    for command in [
        "modprobe 8021q".to_owned(),
        "ip link add link eth0 name eth0.7 type vlan id 7".to_owned(),
        format!("ip link set eth0.7 address {mac}"),
        format!("ip addr add {own}/24 dev eth0.7"),
        "ip link set eth0.7 up".to_owned(),
    ] {
        tagging.shell.ok(&command).await;
    }
    let sent = Capture::begin(cloud.data(), &tagging.id, &tagging.port, Way::FromGuest).await;
    let ping = format!("ping -c 1 -W 1 {}", vpc::address(&other, 4));
    tagging.shell.until("the neighbour", &ping, FELT).await;
    sent.sees("a frame with the trunk's tag", |frame| {
        frame.source() == mac && frame.0.get(12..16) == Some(&[0x81, 0, 0, 7])
    })
    .await;

    // Whoever asks for an address of that network asks outside as well, in the provider's VLAN.
    let mut seen = cable.waits_for("vlan 100 and arp");
    let begun = Instant::now();
    while seen.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < FELT, "no such frame on the cable");
        tagging.shell.run("ping -c 1 -W 1 10.88.0.200").await;
    }

    let path = format!("/network/v2.0/trunks/{trunk}/remove_subports");
    vpc::put(&demo, &path, json!({"sub_ports": [{"port_id": sub["id"]}]})).await;
    let silent = format!("! {ping}");
    tagging
        .shell
        .until("no way without the sub-port", &silent, FELT)
        .await;
}
