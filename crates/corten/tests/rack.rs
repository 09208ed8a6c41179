//! A rack is found by the addresses of its BMCs and enrolled by a manifest, unattended (K151, K157).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Cloud;
use corten_sim::SimMachines;
use corten_sim::redfish::{RedfishService, SelfSigned, Shape};
use std::process::Output;
use tokio::net::TcpListener;
use tokio::process::Command;

const PASSWORD: &str = "s3cret-horse";

/// A BMC of so many simulated servers, over TLS, on a port of loopback.
async fn rack(servers: usize) -> u16 {
    let machines = SimMachines::default();
    let service = RedfishService::new("admin", PASSWORD);
    for number in 1..=servers {
        let id = format!("0000000{number}0000");
        service.add(&id, machines.get(&id), Shape::named("standard").unwrap());
    }
    let shown = SelfSigned::new("127.0.0.1").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { service.serve_tls(listener, shown.config).await });
    port
}

async fn corten(cloud: &Cloud, password: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_corten"))
        .arg("--data")
        .arg(cloud.data())
        .args(["--listen", cloud.url().trim_start_matches("http://")])
        .args(["admin", "metal"])
        .args(arguments)
        .env("CORTEN_BMC_PASSWORD", password)
        .output()
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_is_found_and_enrolled_unattended() {
    let cloud = Cloud::start("[host]\nenabled = false\n[network]\nenabled = false\n").await;
    let port = rack(3).await.to_string();
    let discover = [
        "discover",
        "127.0.0.1/32",
        "--username",
        "admin",
        "--port",
        &port,
    ];

    let wrong = corten(&cloud, "wrong", &discover).await;
    let said = text(&wrong.stdout);
    assert!(said.contains("does not let \"admin\" in"), "{said}");
    assert!(!said.contains("[[server]]"), "{said}");

    let found = corten(&cloud, PASSWORD, &discover).await;
    let manifest = text(&found.stdout);
    assert!(found.status.success(), "{}", text(&found.stderr));
    assert_eq!(manifest.matches("[[server]]").count(), 3, "{manifest}");
    assert!(
        manifest.contains("# Corten Simulated server, serial"),
        "{manifest}"
    );
    assert!(!manifest.contains(PASSWORD), "{manifest}");

    let path = cloud.data().join("rack.toml");
    std::fs::write(&path, &manifest).unwrap();
    let enrol = ["enrol", path.to_str().unwrap(), "--until", "inspected"];
    for time in ["first", "second"] {
        let enrolled = corten(&cloud, PASSWORD, &enrol).await;
        let said = text(&enrolled.stdout);
        assert!(
            enrolled.status.success(),
            "{time}: {said} {}",
            text(&enrolled.stderr)
        );
        assert_eq!(said.matches(": manageable").count(), 3, "{time}: {said}");
    }
    let admin = cloud.admin().await;
    let nodes = admin.get("/baremetal/v1/nodes/detail").await;
    let nodes = nodes["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3, "none is enrolled twice");
    for node in nodes {
        assert_eq!(node["properties"]["memory_mb"], 65_536, "{node}");
    }

    let again = corten(&cloud, PASSWORD, &discover).await;
    let said = text(&again.stdout);
    assert_eq!(said.matches("is enrolled already").count(), 3, "{said}");

    // Further it cannot go here, and each server says why.
    let refused = corten(&cloud, PASSWORD, &["enrol", path.to_str().unwrap()]).await;
    assert!(!refused.status.success());
    let said = text(&refused.stdout);
    assert_eq!(said.matches("no provisioning network").count(), 3, "{said}");
}
