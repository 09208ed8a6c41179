//! Two tenants whose VPCs have the same range and the same addresses: not one frame of one reaches a guest of the other,
//! whatever it sends, while both work (K136, K139).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/packets/mod.rs"]
mod packets;

use common::{Actor, Cloud, Shape};
use packets::capture::{Capture, Way};
use packets::{FELT, Guest, tiny_image, vpc};
use serde_json::{Value, json};

/// In what the attacker sends.
const MARK: &str = "from-the-other-tenant";
const METADATA: &str =
    "timeout 10 wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json";

struct Tenant {
    actor: Actor,
    network: String,
    port: Value,
}

impl Tenant {
    /// A VPC like every other tenant's, with a port that has these addresses and lets everything in.
    async fn new(actor: Actor, external: &str, addresses: &[&str]) -> Self {
        let (network, subnet) = vpc::network(&actor, "vpc", "10.7.0.0/24").await;
        vpc::router(&actor, Some(external), &[&subnet]).await;
        let group = vpc::default_group(&actor).await;
        for family in ["IPv4", "IPv6"] {
            vpc::let_in(&actor, &group, json!({ "ethertype": family })).await;
        }
        let fixed: Vec<_> = addresses
            .iter()
            .map(|address| json!({"subnet_id": subnet, "ip_address": address}))
            .collect();
        let port = json!({"network_id": network, "fixed_ips": fixed});
        let port = vpc::make_whole(&actor, "port", port).await;
        Self {
            actor,
            network,
            port,
        }
    }
}

/// Everything that a guest can try: to its neighbours, to all, and to the victim's own MAC address, which it would have to
/// guess, over IPv4, IPv6 and ARP.
async fn attack(attacker: &mut Guest, victim: &Guest) {
    let mac = &victim.mac;
    for command in [
        "ping -c 2 -W 1 10.7.0.20".to_owned(),
        "ping -c 2 -W 1 10.7.0.255".to_owned(),
        "ping6 -c 2 -W 1 -I eth0 ff02::1".to_owned(),
        "arping -c 2 -w 2 -I eth0 10.7.0.20".to_owned(),
        "arping -U -c 2 -w 2 -I eth0 10.7.0.10".to_owned(),
        // From here on the victim's MAC address is known.
        format!("arp -s 10.7.0.20 {mac}"),
        "ping -c 2 -W 1 10.7.0.20".to_owned(),
        "nc -w 1 10.7.0.20 7".to_owned(),
        format!("timeout 2 tftp -g -r {MARK} 10.7.0.20"),
    ] {
        // Whether the guest hears an answer is not what is asked here.
        attacker.shell.run(&command).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_with_the_same_addresses_share_no_frame_qemu() {
    let cloud = Cloud::with_networks().await;
    let admin = cloud.admin().await;
    let image = tiny_image(&cloud, &admin).await;
    let external = vpc::external_network(&admin, "198.18.78.0/24").await;
    let rival = cloud.user_in(&admin, "rival", "member", "rivals").await;
    let demo = Tenant::new(cloud.demo().await, &external, &["10.7.0.10", "10.7.0.20"]).await;
    let rival = Tenant::new(rival, &external, &["10.7.0.10"]).await;
    assert_ne!(demo.actor.project_id, rival.actor.project_id);

    let shape = Shape::new(&demo.actor, image).await;
    let victim = Guest::ask(&demo.actor, &shape, "victim", &demo.port).await;
    let attacker = Guest::ask(&rival.actor, &shape, "attacker", &rival.port).await;
    let mut victim = Guest::ready(&cloud, &demo.actor, victim, &demo.port).await;
    let mut attacker = Guest::ready(&cloud, &rival.actor, attacker, &rival.port).await;

    // Both work at the same time, under the same address, each with metadata of its own.
    for guest in [&mut victim, &mut attacker] {
        let addresses = "ip -4 -o addr show dev eth0 | grep -w 10.7.0.10/24";
        guest.shell.until("its address", addresses, FELT).await;
    }
    let (of_victim, of_attacker) =
        tokio::join!(victim.shell.ok(METADATA), attacker.shell.ok(METADATA));
    assert!(of_victim.contains(&victim.id), "{of_victim}");
    assert!(of_attacker.contains(&attacker.id), "{of_attacker}");

    // The attacker may send whatever it likes in its own network.
    let free = json!({"port_security_enabled": false, "security_groups": []});
    vpc::change_port(&rival.actor, &attacker.port, free).await;
    victim.shell.ok("ip addr add 10.7.0.20/24 dev eth0").await;
    let data = cloud.data();
    let sent = Capture::begin(data, &attacker.id, &attacker.port, Way::FromGuest).await;
    let received = Capture::begin(data, &victim.id, &victim.port, Way::ToGuest).await;
    attack(&mut attacker, &victim).await;

    // All of it was sent,
    let is_marked = |frame: &packets::capture::Frame| frame.contains(MARK.as_bytes());
    sent.sees("what is marked", is_marked).await;
    for to in [
        victim.mac.as_str(),
        "ff:ff:ff:ff:ff:ff",
        "33:33:00:00:00:01",
    ] {
        sent.sees(to, |frame| frame.destination() == to).await;
    }
    // the capture at the victim is awake,
    let of_victim = victim.shell.ok(METADATA).await;
    assert!(of_victim.contains(&victim.id), "{of_victim}");
    let answer = |frame: &packets::capture::Frame| frame.contains(victim.id.as_bytes());
    received.sees("the metadata", answer).await;
    // and what reached the victim came from ports of its own network.
    received.never_saw("what is marked", is_marked);
    let own = vpc::macs(&admin, &demo.network).await;
    received.never_saw("a stranger's frame", |frame| !own.contains(&frame.source()));
}
