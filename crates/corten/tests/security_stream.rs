//! Two guests on two networks of one tenant, with a router between: what a security group allows passes, by IPv4 and by
//! IPv6, nothing else does, and what was allowed is cut in the middle of a stream (K138).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/packets/mod.rs"]
mod packets;

use common::{Actor, Cloud, Shape};
use packets::capture::{Capture, Frame, Way};
use packets::shell::Shell;
use packets::{FELT, Guest, tiny_image, vpc};
use serde_json::{Value, json};

/// Tells its name to who connects.
const NAMES: &str = "nc -ll -p 7 -e /bin/hostname >/dev/null 2>&1 &";
/// Keeps what it is sent. It has nothing to say, but does not hang up.
const SINK: &str = "(tail -f /dev/null | nc -l -p 9 >/tmp/received) >/dev/null 2>&1 &";

/// How many bytes the sink has kept.
async fn received(server: &mut Shell) -> u64 {
    let count = server.ok("wc -c </tmp/received").await;
    count.trim().parse().unwrap()
}

/// How often the guest's kernel has sent again what nobody acknowledged.
async fn sent_again(client: &mut Shell) -> u64 {
    let column = "awk '/^Tcp:/ { if (n) print $n; else for (i = 1; i <= NF; i++) if ($i == \"RetransSegs\") n = i }'";
    let count = client.ok(&format!("{column} /proc/net/snmp")).await;
    count.trim().parse().unwrap()
}

/// Waits until more has been received.
async fn flows(server: &mut Shell) {
    let before = received(server).await;
    server
        .until(
            "bytes of the stream",
            &format!("[ \"$(wc -c </tmp/received)\" -gt {} ]", before + 100),
            FELT,
        )
        .await;
}

/// Waits until the sender has tried so many more times in vain.
async fn tries_in_vain(client: &mut Shell, times: u64) {
    let wanted = sent_again(client).await + times;
    let begun = tokio::time::Instant::now();
    while sent_again(client).await < wanted {
        assert!(begun.elapsed() < FELT, "the sender is still acknowledged");
    }
}

async fn connects(client: &mut Shell, address: &str) {
    let talk = format!("[ \"$(timeout 3 nc -w 2 {address} 7 </dev/null)\" = server ]");
    client
        .until(&format!("TCP to {address}"), &talk, FELT)
        .await;
}

/// Neither TCP nor a ping comes through to this address.
async fn refuses(client: &mut Shell, address: &str) {
    let answer = client
        .run(&format!("timeout 3 nc -w 2 {address} 7 </dev/null"))
        .await;
    assert!(
        answer.status != 0 && !answer.said.contains("server"),
        "{answer:?}"
    );
    let ping = client.run(&format!("ping -c 2 -W 1 {address}")).await;
    assert_ne!(ping.status, 0, "{ping:?}");
}

async fn pings(client: &mut Shell, address: &str) {
    let ping = format!("ping -c 1 -W 2 {address}");
    client
        .until(&format!("a ping of {address}"), &ping, FELT)
        .await;
}

/// Whether it carries TCP or a ping's request over IPv4 or IPv6.
fn asks(frame: &Frame) -> bool {
    let protocol = |at: usize| frame.0.get(at).copied().unwrap_or_default();
    match frame.0.get(12..14) {
        Some([0x08, 0x00]) => matches!((protocol(23), protocol(34)), (6, _) | (1, 8)),
        Some([0x86, 0xdd]) => matches!((protocol(20), protocol(54)), (6, _) | (58, 128)),
        _ => false,
    }
}

/// A port on its own network, which has an IPv4 and an IPv6 subnet. With the ids of both subnets.
async fn dual_port(owner: &Actor, number: u8, group: &str) -> (Value, [String; 2]) {
    let name = format!("net-{number}");
    let (network, v4) = vpc::network(owner, &name, &format!("10.8.{number}.0/24")).await;
    let v6 = vpc::announced_subnet(owner, &network, &format!("fd00:8:{number}::/64")).await;
    let port = json!({"network_id": network, "security_groups": [group]});
    (vpc::make_whole(owner, "port", port).await, [v4, v6])
}

/// What groups allow and refuse between the two, of one family.
async fn rules_hold(
    owner: &Actor,
    group: &str,
    client: &mut Shell,
    tap: &Capture,
    server: (&str, &str),
) {
    let (family, address) = server;
    refuses(client, address).await;
    let icmp = if family == "IPv6" {
        "ipv6-icmp"
    } else {
        "icmp"
    };
    let icmp = json!({"ethertype": family, "protocol": icmp});
    let tcp =
        json!({"ethertype": family, "protocol": "tcp", "port_range_min": 7, "port_range_max": 9});
    tap.never_saw("a request that no rule allows", asks);
    let icmp = vpc::let_in(owner, group, icmp).await;
    pings(client, address).await;
    let tcp = vpc::let_in(owner, group, tcp).await;
    connects(client, address).await;
    tap.sees("what is allowed now", asks).await;
    for rule in [&icmp, &tcp] {
        vpc::forbid_again(owner, rule).await;
    }
    let silence =
        format!("! timeout 3 nc -w 2 {address} 7 </dev/null && ! ping -c 1 -W 1 {address}");
    client.until("silence", &silence, FELT).await;
}

/// A stream that a rule let in ends when the rule does, and goes on when it is back.
async fn stream_is_cut(
    owner: &Actor,
    group: &str,
    client: &mut Shell,
    server: &mut Shell,
    address: &str,
) {
    let which = json!({"protocol": "tcp", "port_range_min": 9, "port_range_max": 9});
    let rule = vpc::let_in(owner, group, which.clone()).await;
    server.ok(SINK).await;
    server
        .until("the sink", "netstat -ltn | grep -q ':9 '", FELT)
        .await;
    let stream = format!(
        "(while :; do echo a line of the stream; usleep 20000; done | nc {address} 9) >/dev/null 2>&1 &"
    );
    client.ok(&stream).await;
    server
        .until("the stream", "[ -s /tmp/received ]", FELT)
        .await;
    for _ in 0..3 {
        flows(server).await;
    }
    vpc::forbid_again(owner, &rule).await;
    tries_in_vain(client, 2).await;
    let at_the_cut = received(server).await;
    tries_in_vain(client, 2).await;
    assert_eq!(
        received(server).await,
        at_the_cut,
        "bytes came after the cut"
    );
    vpc::let_in(owner, group, which).await;
    flows(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_hold_through_a_router_and_cut_a_stream_qemu() {
    let cloud = Cloud::with_networks().await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let image = tiny_image(&cloud, &admin).await;
    let group = vpc::make(&demo, "security_group", json!({"name": "server"})).await;
    let default = vpc::default_group(&demo).await;
    let (client_port, client_subnets) = dual_port(&demo, 1, &default).await;
    let (server_port, server_subnets) = dual_port(&demo, 2, &group).await;
    let subnets: Vec<_> = client_subnets.iter().chain(&server_subnets).collect();
    let subnets: Vec<_> = subnets.into_iter().map(String::as_str).collect();
    vpc::router(&demo, None, &subnets).await;

    let shape = Shape::new(&demo, image).await;
    let client = Guest::ask(&demo, &shape, "client", &client_port).await;
    let server = Guest::ask(&demo, &shape, "server", &server_port).await;
    let mut client = Guest::ready(&cloud, &demo, client, &client_port).await;
    let mut server = Guest::ready(&cloud, &demo, server, &server_port).await;

    // Each has made the IPv6 address that its port was given, from what its router announces.
    for (guest, port) in [(&mut client, &client_port), (&mut server, &server_port)] {
        let own = format!(
            "ip -6 -o addr show dev eth0 scope global | grep -v tentative | grep -wF {}",
            vpc::address(port, 6)
        );
        guest.shell.until("its IPv6 address", &own, FELT).await;
    }
    server.shell.ok(NAMES).await;
    for (family, version) in [("IPv4", 4), ("IPv6", 6)] {
        let tap = Capture::begin(cloud.data(), &server.id, &server.port, Way::ToGuest).await;
        let address = vpc::address(&server_port, version);
        let end = (family, address.as_str());
        rules_hold(&demo, &group, &mut client.shell, &tap, end).await;
    }
    let address = vpc::address(&server_port, 4);
    stream_is_cut(
        &demo,
        &group,
        &mut client.shell,
        &mut server.shell,
        &address,
    )
    .await;
}
