//! A guest that sends from addresses that are not its own: its neighbour sees nothing of it, until an allowed address pair
//! names the address or port security is off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/packets/mod.rs"]
mod packets;

use common::{Actor, Cloud, Shape};
use packets::capture::{Capture, Frame, Way};
use packets::{FELT, Guest, tiny_image, vpc};
use serde_json::{Value, json};

const CLIENT: &str = "10.9.0.11";
const SERVER: &str = "10.9.0.12";
/// Addresses that no port has.
const FALSE_IP: &str = "10.9.0.99";
const FALSE_IPV6: &str = "fd00:9::99";
const FALSE_MAC: &str = "fa:16:3e:00:99:99";

/// What a guest pretends to be.
#[derive(Clone, Copy, Debug)]
enum Pretence {
    Ip,
    Ipv6,
    Mac,
    /// That the server's neighbours find another's address here.
    Arp,
}

const ALL: [Pretence; 4] = [Pretence::Ip, Pretence::Ipv6, Pretence::Mac, Pretence::Arp];

impl Pretence {
    fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Ip => &["ping -c 1 -W 1 -I 10.9.0.99 10.9.0.12"],
            Self::Ipv6 => &[
                // As itself, to know the neighbour.
                "ping6 -c 1 -W 1 fd00:9::12",
                "ping6 -c 1 -W 1 -I fd00:9::99 fd00:9::12",
            ],
            Self::Mac => &[
                "sh /tmp/become fa:16:3e:00:99:99",
                "ping -c 1 -W 1 10.9.0.12",
                "arping -c 1 -w 1 -I eth0 10.9.0.12",
                "sh /tmp/become $(cat /tmp/own-mac)",
            ],
            Self::Arp => &[
                "arping -U -c 1 -w 1 -I eth0 -s 10.9.0.99 10.9.0.99",
                "arping -A -c 1 -w 1 -I eth0 -s 10.9.0.99 10.9.0.99",
                "arping -c 1 -w 1 -I eth0 -s 10.9.0.99 10.9.0.12",
            ],
        }
    }

    /// Whether a frame is of this pretence.
    fn is_in(self, frame: &Frame) -> bool {
        match self {
            Self::Ip => is_of(frame, [8, 0], 26, &[10, 9, 0, 99]),
            Self::Ipv6 => {
                let address: std::net::Ipv6Addr = FALSE_IPV6.parse().unwrap();
                is_of(frame, [0x86, 0xdd], 22, &address.octets())
            }
            Self::Mac => frame.source() == FALSE_MAC,
            Self::Arp => is_of(frame, [8, 6], 28, &[10, 9, 0, 99]),
        }
    }
}

/// Whether a frame is of this kind (its `EtherType`) and has this source where such frames have theirs.
fn is_of(frame: &Frame, kind: [u8; 2], at: usize, source: &[u8]) -> bool {
    frame.0.get(12..14) == Some(&kind) && frame.0.get(at..at + source.len()) == Some(source)
}

/// The two guests and what passes between them.
struct Lab {
    demo: Actor,
    client: Guest,
    server: Guest,
    sent: Capture,
    received: Capture,
    cloud: Cloud,
}

impl Lab {
    async fn new() -> Self {
        let cloud = Cloud::with_networks().await;
        let (admin, demo) = (cloud.admin().await, cloud.demo().await);
        let image = tiny_image(&cloud, &admin).await;
        let (network, v4) = vpc::network(&demo, "net", "10.9.0.0/24").await;
        let v6 = json!({
            "network_id": network, "ip_version": 6, "cidr": "fd00:9::/64", "enable_dhcp": false,
        });
        let v6 = vpc::make(&demo, "subnet", v6).await;
        let group = vpc::default_group(&demo).await;
        for family in ["IPv4", "IPv6"] {
            vpc::let_in(&demo, &group, json!({ "ethertype": family })).await;
        }
        let shape = Shape::new(&demo, image).await;
        let port = async |host: u8| {
            let port = json!({"network_id": network, "fixed_ips": [
                {"subnet_id": v4, "ip_address": format!("10.9.0.{host}")},
                {"subnet_id": v6, "ip_address": format!("fd00:9::{host}")},
            ]});
            vpc::make_whole(&demo, "port", port).await
        };
        let ports = [port(11).await, port(12).await];
        let client = Guest::ask(&demo, &shape, "client", &ports[0]).await;
        let server = Guest::ask(&demo, &shape, "server", &ports[1]).await;
        let mut client = Guest::ready(&cloud, &demo, client, &ports[0]).await;
        let mut server = Guest::ready(&cloud, &demo, server, &ports[1]).await;
        prepare(&mut client, &mut server).await;
        let data = cloud.data();
        Self {
            sent: Capture::begin(data, &client.id, &client.port, Way::FromGuest).await,
            received: Capture::begin(data, &server.id, &server.port, Way::ToGuest).await,
            demo,
            client,
            server,
            cloud,
        }
    }

    /// Pretends, and waits until that was sent. What has passed at the server before does not count.
    async fn pretend(&mut self, what: Pretence) {
        let data = self.cloud.data();
        let (client, server) = (&self.client, &self.server);
        self.sent = Capture::begin(data, &client.id, &client.port, Way::FromGuest).await;
        self.received = Capture::begin(data, &server.id, &server.port, Way::ToGuest).await;
        for command in what.commands() {
            self.client.shell.run(command).await;
        }
        let sent = format!("{what:?}");
        self.sent.sees(&sent, |frame| what.is_in(frame)).await;
    }

    /// Nothing of it reaches the server, while what is honest does.
    async fn is_dropped(&mut self, what: Pretence) {
        self.pretend(what).await;
        let own = self.client.mac.clone();
        let ping = format!("ping -c 1 -W 1 {SERVER}");
        self.client.shell.run(&ping).await;
        let honest =
            |frame: &Frame| frame.source() == own && is_of(frame, [8, 0], 26, &[10, 9, 0, 11]);
        self.received.sees("the honest ping", honest).await;
        let told = format!("{what:?}");
        self.received.never_saw(&told, |frame| what.is_in(frame));
    }

    /// It reaches the server.
    async fn passes(&mut self, what: Pretence) {
        let begun = tokio::time::Instant::now();
        loop {
            self.pretend(what).await;
            if self.received.frames().iter().any(|frame| what.is_in(frame)) {
                return;
            }
            assert!(begun.elapsed() < FELT, "{what:?} never arrives");
        }
    }

    async fn change_client(&self, change: Value) {
        vpc::change_port(&self.demo, &self.client.port, change).await;
    }
}

/// Gives both their IPv6 addresses, and the client what it pretends with.
async fn prepare(client: &mut Guest, server: &mut Guest) {
    for (guest, own) in [(&mut *client, CLIENT), (&mut *server, SERVER)] {
        // An address is used at once, without a look for others that have it.
        let at_once = "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad";
        guest.shell.ok(at_once).await;
        let leased = format!("ip -4 -o addr show dev eth0 | grep -wF {own}/24");
        guest.shell.until("its address", &leased, FELT).await;
    }
    server.shell.ok("ip addr add fd00:9::12/64 dev eth0").await;
    let (own, others) = (client.mac.clone(), server.mac.clone());
    // A false address gets no answers, so the neighbour is told; the kernel forgets it when the card's address changes.
    let neighbour = format!("arp -s {SERVER} {others}");
    for command in [
        format!("echo {own} >/tmp/own-mac"),
        format!("echo 'ip link set eth0 address $1; {neighbour}' >/tmp/become"),
        "ip addr add fd00:9::11/64 dev eth0".to_owned(),
        format!("ip addr add {FALSE_IPV6}/64 dev eth0"),
        format!("ip addr add {FALSE_IP}/24 dev eth0"),
        format!("sh /tmp/become {own}"),
    ] {
        client.shell.ok(&command).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn false_addresses_are_dropped_until_they_are_allowed_qemu() {
    let mut lab = Lab::new().await;
    for what in ALL {
        lab.is_dropped(what).await;
    }

    // A pair allows what it names and nothing else.
    let pairs = json!([{"ip_address": FALSE_IP}, {"ip_address": FALSE_IPV6}]);
    lab.change_client(json!({ "allowed_address_pairs": pairs }))
        .await;
    for what in [Pretence::Ip, Pretence::Ipv6, Pretence::Arp] {
        lab.passes(what).await;
    }
    lab.is_dropped(Pretence::Mac).await;
    let pairs = json!([{"ip_address": CLIENT, "mac_address": FALSE_MAC}]);
    lab.change_client(json!({ "allowed_address_pairs": pairs }))
        .await;
    lab.passes(Pretence::Mac).await;
    lab.is_dropped(Pretence::Ip).await;

    // Without port security everything passes.
    let free = json!({
        "port_security_enabled": false, "security_groups": [], "allowed_address_pairs": [],
    });
    lab.change_client(free).await;
    for what in ALL {
        lab.passes(what).await;
    }
}
