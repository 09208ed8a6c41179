//! The API as the control plane meets it: over TLS with the certificate of the heartbeat, on loopback.

use super::*;
use crate::boot::network::Network;
use crate::device::Sysfs;
use crate::inspect::Inspector;
use crate::inspect::lldp::Neighbour;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use tokio::net::TcpListener;

const TOKEN: &str = "a-token-of-thirty-two-characters";

struct Served {
    agent: Arc<Agent>,
    url: String,
    client: reqwest::Client,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// A card that the machine of the test does not have, as the one that the server was booted from.
fn boot_card() -> Network {
    Network {
        card: "boot0".to_owned(),
        mac: "52:54:00:c0:27:01".to_owned(),
        address: Ipv4Addr::LOCALHOST,
    }
}

async fn served() -> Served {
    let client = crate::home::client(None, None).unwrap();
    let agent = Agent::new(
        TOKEN.to_owned(),
        client,
        NodeProperties::default(),
        Arc::default(),
        ThisServer {
            sysfs: Sysfs::default(),
            inspector: Inspector::new(Sysfs::default(), Some(boot_card()), Neighbour::none()),
        },
    );
    let agent = Arc::new(agent);
    let (tls, pem) = crate::home::tls::own(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut ending = agent.ending();
    let ended = async move {
        ending.wait_for(Option::is_some).await.ok();
    };
    let server = tokio::spawn(serve(Arc::clone(&agent), listener, tls, ended));
    // What the control plane believes is the certificate that came with the heartbeat, and no other.
    let pin = {
        use base64::Engine;
        use sha2::{Digest, Sha256};
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD
            .decode(body)
            .unwrap();
        Sha256::digest(der).into()
    };
    let client = crate::home::client(Some(pin), None).unwrap();
    Served {
        agent,
        url,
        client,
        server,
    }
}

impl Served {
    async fn post(&self, query: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/v1/commands/?{query}", self.url);
        let response = self.client.post(url).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let response = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_needed_and_steps_are_listed_in_the_stock_agents_form() {
    let served = served().await;
    let body = json!({"name": "clean.get_clean_steps", "params": {"node": {}, "ports": []}});
    for query in ["", "agent_token=wrong"] {
        let (status, answer) = served.post(query, body.clone()).await;
        assert_eq!(
            (status, answer["faultstring"].as_str()),
            (401, Some("Token invalid."))
        );
    }
    assert!(served.agent.all_results().is_empty());

    let (status, answer) = served.post(&format!("agent_token={TOKEN}"), body).await;
    assert_eq!(status, 200);
    assert_eq!(
        (
            answer["command_status"].as_str(),
            answer["command_name"].as_str()
        ),
        (Some("SUCCEEDED"), Some("get_clean_steps"))
    );
    let steps = answer["command_result"]["clean_steps"]["corten"]
        .as_array()
        .unwrap();
    assert_eq!(steps.len(), STEPS.len());
    assert_eq!(steps[1]["step"], "erase_devices");
    assert_eq!(
        answer["command_result"]["hardware_manager_version"]["corten"],
        env!("CARGO_PKG_VERSION")
    );

    let (_, list) = served
        .get(&format!("/v1/commands/?agent_token={TOKEN}"))
        .await;
    assert_eq!(list["commands"][0]["id"], answer["id"]);
    let id = answer["id"].as_str().unwrap();
    let (_, one) = served
        .get(&format!("/v1/commands/{id}?wait=true&agent_token={TOKEN}"))
        .await;
    assert_eq!(one, answer);
    assert_eq!(
        served
            .get(&format!("/v1/commands/none?agent_token={TOKEN}"))
            .await
            .0,
        404
    );
    assert_eq!(
        served.get("/v1/status").await.1["version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_or_not_whole_is_refused() {
    let served = served().await;
    let query = format!("wait=true&agent_token={TOKEN}");
    assert_eq!(
        served
            .post(&query, json!({"name": "standby.fly", "params": {}}))
            .await
            .0,
        404
    );
    assert_eq!(
        served.post(&query, json!({"name": "standby.sync"})).await.0,
        400
    );

    let step = |step: &str, version: &str| {
        json!({"name": "clean.execute_clean_step", "params": {
            "step": {"step": step, "interface": "deploy", "priority": 1}, "node": {}, "ports": [],
            "clean_version": {"corten": version}}})
    };
    let (_, answer) = served.post(&query, step("burnin_cpu", "0.0.0")).await;
    assert_eq!(answer["command_status"], "CLEAN_VERSION_MISMATCH");
    let (_, answer) = served
        .post(&query, step("shave", env!("CARGO_PKG_VERSION")))
        .await;
    assert_eq!(answer["command_status"], "FAILED");
    let message = answer["command_error"]["message"].as_str().unwrap();
    assert!(
        message.contains("shave") && message.contains("erase_devices"),
        "{message}"
    );

    let image = json!({"name": "standby.prepare_image", "params": {"image_info": {"id": "i", "urls": ["http://127.0.0.1:1/"]}}});
    let (_, answer) = served.post(&query, image).await;
    assert!(
        answer["command_error"]["message"]
            .as_str()
            .unwrap()
            .contains("os_hash_algo"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspection_that_is_asked_for_is_whole() {
    let served = served().await;
    let body = json!({"name": "poll.get_hardware_info", "params": {}});
    let (_, answer) = served.post(&format!("agent_token={TOKEN}"), body).await;
    let told = &answer["command_result"];
    assert_eq!(told["boot"]["pxe_interface"], "52:54:00:c0:27:01");
    assert!(told["pci_devices"].is_array(), "{told}");
    assert!(told["cpu"]["count"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raid_configuration_that_has_unknown_words_is_refused_by_them() {
    let served = served().await;
    let query = format!("wait=true&agent_token={TOKEN}");
    let step = |args: Value, node: Value| {
        json!({"name": "clean.execute_clean_step", "params": {
            "step": {"step": "create_configuration", "interface": "raid", "args": args}, "node": node}})
    };
    for (args, node, word) in [
        (
            json!({"target_raid_config": {"logical_disks": [{"raid_level": "1", "size_gb": "MAX", "stripe": 1}]}}),
            json!({}),
            "stripe",
        ),
        (json!({"level": 1}), json!({}), "level"),
        (
            json!({}),
            json!({"target_raid_config": {"volumes": []}}),
            "volumes",
        ),
    ] {
        let (_, answer) = served.post(&query, step(args, node)).await;
        let message = answer["command_error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_at_a_time_and_the_control_plane_hears_of_its_end() {
    let served = served().await;
    let (gate, wait) = std::sync::mpsc::channel::<()>();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let partner = listener.local_addr().unwrap();
    // A partner that answers only once the gate is open keeps the step running.
    let peer = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut block = vec![0; 32 << 10];
        stream.read_exact(&mut block).unwrap();
        wait.recv().unwrap();
        stream.write_all(&block).unwrap();
    });
    let body = json!({"name": "clean.execute_clean_step", "params": {
        "step": {"step": "burnin_network", "interface": "deploy", "args": {"seconds": 0, "partner": partner}}}});
    let (status, answer) = served
        .post(&format!("agent_token={TOKEN}"), body.clone())
        .await;
    assert_eq!(
        (status, answer["command_status"].as_str()),
        (200, Some("RUNNING"))
    );
    let (status, busy) = served.post(&format!("agent_token={TOKEN}"), body).await;
    assert_eq!(status, 409, "{busy}");
    let id = answer["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(served.agent.result(id).unwrap().command_progress, None);
    served.agent.progress.store(4096, Ordering::Relaxed);
    let (_, running) = served
        .get(&format!("/v1/commands/{id}?agent_token={TOKEN}"))
        .await;
    assert_eq!(running["command_progress"], 4096, "{running}");
    gate.send(()).unwrap();
    served.agent.beat.notified().await;
    let ended = served.agent.result(id).unwrap();
    assert_eq!(
        (ended.command_status, ended.command_progress),
        (CommandStatus::Succeeded, None)
    );
    peer.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_ends_the_work_is_still_answered() {
    let served = served().await;
    let query = format!("wait=true&agent_token={TOKEN}");
    let (status, answer) = served
        .post(&query, json!({"name": "standby.power_off", "params": {}}))
        .await;
    assert_eq!(
        (status, answer["command_status"].as_str()),
        (200, Some("SUCCEEDED"))
    );
    served.server.await.unwrap().unwrap();
    assert_eq!(*served.agent.ending().borrow(), Some(Ending::PowerOff));
}
