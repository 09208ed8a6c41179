//! OVN that does not answer: the API still does, what was asked waits and says why, and it is done when OVN is back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Actor, Cloud, until};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

/// OVN's database is given half a minute to answer.
const PATIENCE: Duration = Duration::from_secs(90);
/// What an API call may take while OVN is silent.
const PROMPT: Duration = Duration::from_secs(10);

/// The operation that tells OVN what changed, if one runs.
async fn telling(admin: &Actor) -> Option<Value> {
    let running = admin.get("/v1/operations?status=running").await;
    let all = running["operations"].as_array().expect("a list").clone();
    all.into_iter()
        .find(|operation| operation["kind"] == "apply_network")
}

#[tokio::test]
async fn what_is_asked_while_ovn_is_silent_waits_and_says_why() {
    let cloud = Cloud::with_networks().await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let pid = fs::read_to_string(cloud.data().join("network/central/run/northbound.pid")).unwrap();
    let northbound = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(northbound, Signal::STOP).unwrap();

    let begun = Instant::now();
    let network = json!({"network": {"name": "vpc"}});
    let network = demo
        .post("/network/v2.0/networks", network)
        .await
        .id("network");
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}});
    demo.post("/network/v2.0/subnets", subnet)
        .await
        .id("subnet");
    let port = json!({"port": {"network_id": network}});
    let port = demo.post("/network/v2.0/ports", port).await.id("port");
    assert!(begun.elapsed() < 3 * PROMPT, "{:?}", begun.elapsed());
    let why = until("why OVN was not told", PATIENCE, async || {
        let operation = telling(&admin).await?;
        operation["note"]
            .as_str()
            .filter(|note| !note.is_empty())
            .map(str::to_owned)
    })
    .await;
    assert!(
        why.contains("northbound") && why.contains("answer"),
        "{why}"
    );

    kill_process(northbound, Signal::CONT).unwrap();
    until("the end of the waiting", PATIENCE, async || {
        telling(&admin).await.is_none().then_some(())
    })
    .await;
    // Nothing was lost: it can all be taken away again.
    for path in [format!("ports/{port}"), format!("networks/{network}")] {
        let gone = demo
            .ask(Method::DELETE, &format!("/network/v2.0/{path}"), None)
            .await;
        assert_eq!(gone.status, 204, "{path}");
    }
}
