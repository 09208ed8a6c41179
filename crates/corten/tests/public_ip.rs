//! A tenant's servers in a VPC of a real cloud: what a security group allows reaches them at their public IP, and
//! nothing else does (K136 to K144).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/packets/mod.rs"]
mod packets;

use common::http::Actor;
use common::{Cloud, Shape, until};
use packets::{BOOT, tiny_image, vpc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// For a change of rules to be felt.
const SOON: Duration = Duration::from_secs(60);
/// A guest that may not answer has had its time.
const SILENCE: Duration = Duration::from_secs(2);

/// What a guest's SSH server says first.
async fn greeting(address: &str) -> Option<String> {
    let talk = async {
        let mut stream = TcpStream::connect((address, 22)).await.ok()?;
        let mut said = [0; 8];
        stream.read_exact(&mut said).await.ok()?;
        Some(String::from_utf8_lossy(&said).into_owned())
    };
    tokio::time::timeout(SILENCE, talk).await.ok().flatten()
}

async fn answers(address: &str) {
    until(format!("SSH at {address}"), BOOT, async || {
        greeting(address).await.filter(|said| said == "SSH-2.0-")
    })
    .await;
}

async fn is_silent(address: &str) {
    until(format!("silence at {address}"), SOON, async || {
        greeting(address).await.is_none().then_some(())
    })
    .await;
}

/// An external network, and a VPC of demo's that leads to it. The ids of both networks.
async fn networks(admin: &Actor, demo: &Actor) -> (String, String) {
    let external = vpc::external_network(admin, "198.18.77.0/24").await;
    let (network, subnet) = vpc::network(demo, "vpc", "10.7.0.0/24").await;
    vpc::router(demo, Some(&external), &[&subnet]).await;
    (external, network)
}

async fn port_of(actor: &Actor, server: &str) -> Value {
    let path = format!("/network/v2.0/ports?device_id={server}");
    actor.get(&path).await["ports"][0].clone()
}

/// Lets SSH in to the project's default group. The id of the rule.
async fn let_ssh_in(demo: &Actor) -> String {
    let group = vpc::default_group(demo).await;
    let ssh = json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22});
    vpc::let_in(demo, &group, ssh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_ip_leads_to_what_its_groups_let_in_and_moves_qemu() {
    let cloud = Cloud::with_networks().await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let image = tiny_image(&cloud, &admin).await;
    let (external, network) = networks(&admin, &demo).await;
    let shape = Shape::new(&demo, image).await;
    let mut servers = Vec::new();
    for name in ["one", "two"] {
        let mut body = shape.body(name);
        body["server"]["networks"] = json!([{"uuid": network}]);
        servers.push(demo.post("/compute/v2.1/servers", body).await.id("server"));
    }
    for id in &servers {
        demo.wait_for(id, "ACTIVE", BOOT).await;
    }
    let (one, two) = (
        port_of(&demo, &servers[0]).await,
        port_of(&demo, &servers[1]).await,
    );

    // K70, K117: only an administrator sets a public IP.
    let asked = json!({"floatingip": {
        "floating_network_id": external, "port_id": one["id"], "project_id": one["project_id"],
    }});
    let path = "/network/v2.0/floatingips";
    let refused = demo.ask(Method::POST, path, Some(&asked)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    let made = admin.post(path, asked).await["floatingip"].clone();
    let address = made["floating_ip_address"].as_str().unwrap();

    // Denied by default, then allowed, then denied again.
    let rule = let_ssh_in(&demo).await;
    answers(address).await;
    vpc::forbid_again(&demo, &rule).await;
    is_silent(address).await;
    let_ssh_in(&demo).await;
    answers(address).await;

    // The server shows both of its addresses.
    let shown = demo.server(&servers[0]).await["addresses"]["vpc"].clone();
    let kinds: Vec<_> = shown.as_array().unwrap().iter().collect();
    assert_eq!(kinds.len(), 2, "{shown}");
    assert_eq!(kinds[1]["addr"], address);
    assert_eq!(kinds[1]["OS-EXT-IPS:type"], "floating");

    // K143: it moves to the other server, whose SSH server has another key but the same greeting; the first stops, so
    // that only the second can answer.
    demo.act(&servers[0], json!({"os-stop": null})).await;
    let floating = format!("{path}/{}", made["id"].as_str().unwrap());
    let moved = vpc::put(
        &admin,
        &floating,
        json!({"floatingip": {"port_id": two["id"]}}),
    )
    .await;
    assert_eq!(
        moved["floatingip"]["fixed_ip_address"],
        two["fixed_ips"][0]["ip_address"]
    );
    demo.wait_for(&servers[0], "SHUTOFF", BOOT).await;
    answers(address).await;

    // K69, K142: the servers go with their ports, the public IP stays.
    for id in &servers {
        demo.delete(&format!("/compute/v2.1/servers/{id}")).await;
        demo.wait_until_gone(id, BOOT).await;
    }
    let left = demo
        .get(&format!("/network/v2.0/ports?network_id={network}"))
        .await;
    let owners: Vec<_> = left["ports"].as_array().unwrap().iter().collect();
    assert!(
        owners.iter().all(|port| port["device_owner"]
            .as_str()
            .unwrap()
            .starts_with("network:")),
        "a port of a server that is gone: {}",
        left.text
    );
    let floating = admin.get(&floating).await;
    assert!(
        floating["floatingip"]["port_id"].is_null(),
        "{}",
        floating.text
    );
}
