//! A whole Debian on a network: its cloud-init takes name and key from the metadata service or from the config drive, and
//! its owner logs in by SSH through its public IP. It takes its IPv6 address by DHCPv6. Behind `make test-guests`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/packets/mod.rs"]
mod packets;

use common::{Actor, Cloud, Shape, until};
use corten::images::{DebianOptions, Silent, build_debian};
use packets::{FELT, vpc};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// For a Debian to boot for the first time, with two of them on two emulated processors.
const FIRST_BOOT: Duration = Duration::from_secs(900);

/// Whoever owns the private key of this file.
struct Login {
    key: PathBuf,
}

impl Login {
    /// A new key pair, which the project knows as `login`.
    async fn new(demo: &Actor, directory: &Path) -> Self {
        let key = directory.join("login");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.await.unwrap().success());
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let pair = json!({"keypair": {"name": "login", "public_key": public, "type": "ssh"}});
        demo.post("/compute/v2.1/os-keypairs", pair).await;
        Self { key }
    }

    /// What a command says, if it succeeds.
    async fn run(&self, address: &str, command: &str) -> Option<String> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(&self.key).args(["-F", "none"]);
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=5",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("debian@{address}")).arg(command);
        let output = ssh.kill_on_drop(true).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(said)
    }
}

/// Debian, installed anew.
async fn debian_image(cloud: &Cloud, admin: &Actor) -> String {
    let options = DebianOptions {
        output: cloud.data().join("debian.qcow2"),
        cache: Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-packages"),
    };
    let built = build_debian(&options, &Silent).await.unwrap();
    let bytes = std::fs::read(built.path).unwrap();
    let fields = json!({"disk_format": "qcow2"});
    cloud.image_with(admin, "debian-12", fields, bytes).await
}

struct Server {
    id: String,
    public: String,
    /// What DHCPv6 is to give it.
    v6: String,
}

/// A server with a public IP.
async fn server(demo: &Actor, admin: &Actor, external: &str, body: Value) -> Server {
    let network = body["server"]["networks"][0]["uuid"].clone();
    let port = json!({ "network_id": network });
    let port = vpc::make_whole(demo, "port", port).await;
    let floating = json!({
        "floating_network_id": external, "port_id": port["id"], "project_id": port["project_id"],
    });
    let floating = vpc::make_whole(admin, "floatingip", floating).await;
    let mut body = body;
    body["server"]["networks"] = json!([{"port": port["id"]}]);
    let id = demo.post("/compute/v2.1/servers", body).await.id("server");
    let public = floating["floating_ip_address"].as_str().unwrap().to_owned();
    let v6 = vpc::address(&port, 6);
    Server { id, public, v6 }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a whole Debian is installed and boots twice; run by 'make test-guests'"]
async fn debian_is_logged_in_to_with_a_key_by_metadata_and_by_config_drive() {
    let cloud = Cloud::with_networks().await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let image = debian_image(&cloud, &admin).await;
    let external = vpc::external_network(&admin, "198.18.79.0/24").await;
    let (network, subnet) = vpc::network(&demo, "vpc", "10.6.0.0/24").await;
    let stateful = json!({
        "network_id": network, "ip_version": 6, "cidr": "fd00:6::/64", "ipv6_ra_mode": "dhcpv6-stateful",
        "ipv6_address_mode": "dhcpv6-stateful",
    });
    let stateful = vpc::make(&demo, "subnet", stateful).await;
    vpc::router(&demo, Some(&external), &[&subnet, &stateful]).await;
    let group = vpc::default_group(&demo).await;
    let ssh = json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22});
    vpc::let_in(&demo, &group, ssh).await;
    let login = Login::new(&demo, cloud.data()).await;
    let mut shape = Shape::new(&demo, image).await;
    let flavors = "/compute/v2.1/flavors";
    let small = demo.find(flavors, "flavors", "m1.small").await;
    shape.flavor = small.expect("the flavor m1.small");

    let mut servers = Vec::new();
    for (name, config_drive) in [("by-service", false), ("by-drive", true)] {
        let mut body = shape.body(name);
        body["server"]["networks"] = json!([{ "uuid": network }]);
        body["server"]["key_name"] = json!("login");
        body["server"]["config_drive"] = json!(config_drive);
        let server = server(&demo, &admin, &external, body).await;
        servers.push((name, config_drive, server));
    }
    for (name, config_drive, server) in servers {
        let Server { id, public, v6 } = server;
        demo.wait_for(&id, "ACTIVE", FIRST_BOOT).await;
        let about = "hostname && cat /run/cloud-init/status.json";
        let said = until(format!("SSH into {name}"), FIRST_BOOT, async || {
            login.run(&public, about).await
        })
        .await;
        let (hostname, status) = said.split_once('\n').unwrap();
        assert_eq!(hostname, name);
        let status: Value = serde_json::from_str(status).unwrap();
        let source = status["v1"]["datasource"].as_str().unwrap();
        let wanted = if config_drive {
            "ConfigDrive"
        } else {
            "OpenStack"
        };
        assert!(
            source.contains(wanted),
            "{name} took its metadata from {source}"
        );
        let leased = format!("ip -6 -o addr show scope global | grep -wF {v6}/128");
        until(format!("{v6} in {name}"), FELT, async || {
            login.run(&public, &leased).await
        })
        .await;
        demo.delete(&format!("/compute/v2.1/servers/{id}")).await;
    }
}
