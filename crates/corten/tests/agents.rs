//! What a host on another machine may ask of the control plane, and when it is a host no longer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Cloud;
use corten_agent::{AgentError, Dialer, Identity, Invitation, join};
use reqwest::StatusCode;
use serde_json::json;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// A cloud that hosts may join.
async fn cloud() -> Cloud {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    Cloud::start(&format!(
        "[host]\nenabled = false\n[sim]\nhosts = 1\n[agents]\nlisten = \"127.0.0.1:{port}\"\n"
    ))
    .await
}

fn invite(cloud: &Cloud, name: &str) -> Result<Invitation, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_corten"))
        .args(["admin", "host", "invite", name, "--data"])
        .arg(cloud.data())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    match printed.trim().strip_prefix("corten agent --join ") {
        Some(invitation) => Ok(invitation.parse().unwrap()),
        None => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

async fn asked(dialer: &Dialer, path: &str) -> (StatusCode, String) {
    let (client, base) = dialer.requests().await.unwrap();
    let answer = client.get(format!("{base}{path}")).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn joined(invitation: &Invitation, directory: &Path) -> Dialer {
    let identity = Identity::new(directory.to_owned());
    join(invitation, &identity).await.unwrap();
    Dialer::new(invitation.address.clone(), identity)
}

#[tokio::test]
async fn a_host_asks_about_the_networks_of_its_own_guests_only() {
    let cloud = cloud().await;
    let invitation = invite(&cloud, "host-1").unwrap();
    let dialer = joined(&invitation, &cloud.data().join("joined")).await;
    assert_eq!(
        asked(&dialer, "/membership").await.0,
        StatusCode::NO_CONTENT
    );
    let demo = cloud.demo().await;
    let network = demo
        .post(
            "/network/v2.0/networks",
            json!({"network": {"name": "vpc"}}),
        )
        .await
        .id("network");
    for path in [
        format!("/metadata/{network}/10.0.0.5?path=/openstack/latest/meta_data.json"),
        format!("/names/{network}?name=first.cloud.internal"),
    ] {
        let (status, why) = asked(&dialer, &path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(why.contains("No guest of host 'host-1'"), "{why}");
    }
}

#[tokio::test]
async fn who_joins_anew_is_the_host_and_the_old_certificate_is_none() {
    let cloud = cloud().await;
    let before = joined(
        &invite(&cloud, "host-1").unwrap(),
        &cloud.data().join("before"),
    )
    .await;
    let again = invite(&cloud, "host-1").unwrap();
    // An invitation alone changes nothing.
    assert_eq!(
        asked(&before, "/membership").await.0,
        StatusCode::NO_CONTENT
    );
    let after = joined(&again, &cloud.data().join("after")).await;
    let (status, why) = asked(&before, "/membership").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(why.contains("corten admin host invite"), "{why}");
    assert_eq!(asked(&after, "/membership").await.0, StatusCode::NO_CONTENT);
    let identity = Identity::new(cloud.data().join("third"));
    let refused = join(&again, &identity).await;
    assert!(
        matches!(refused, Err(AgentError::Refused { status: 403, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn names_that_cannot_be_hosts_are_not_invited() {
    let cloud = cloud().await;
    let why = invite(&cloud, "Not a name").unwrap_err();
    assert!(why.contains("'Not a name' is no name for a host"), "{why}");
    let why = invite(&cloud, "sim-1").unwrap_err();
    assert!(why.contains("needs no agent"), "{why}");
}
