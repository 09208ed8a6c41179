//! OpenStack's own client works on bare metal: enrol, verify, wipe, deploy, undeploy, power (K150, K151, K158, K162).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/stock_client.rs"]
mod stock_client;

use common::{Cloud, SOON, until};
use serde_json::json;
use std::process::Command;
use stock_client::StockClient;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_from_enrolment_to_a_tenant_and_back() {
    let cloud = Cloud::start("[host]\nenabled = false\n[sim]\nhosts = 1\nmetal = true\n").await;
    cloud.wait_for_hosts(1).await;
    let mut client = StockClient::start(&cloud, "corten");
    let node = client
        .json("baremetal node create --driver fake-hardware --name bm1 --driver-info fake_password=calvin")
        .await;
    assert_eq!(node["provision_state"], "enroll");
    assert_eq!(node["driver_info"]["fake_password"], "******");
    let state = async |client: &mut StockClient| {
        let shown = client.json("baremetal node show bm1").await;
        shown["provision_state"].as_str().unwrap().to_owned()
    };
    for (verb, wanted) in [
        ("manage", "manageable"),
        ("inspect", "manageable"),
        ("provide", "available"),
        ("deploy", "active"),
        ("undeploy", "available"),
    ] {
        client
            .run(&format!("baremetal node {verb} --wait 60 bm1"))
            .await;
        assert_eq!(state(&mut client).await, wanted, "after {verb}");
    }
    client.run("baremetal node power on bm1").await;
    let shown = client.json("baremetal node show bm1").await;
    assert_eq!(shown["power_state"], "power on");
    let listed = client.json("baremetal node list").await;
    assert_eq!(listed[0]["name"], "bm1");
    let ports = client.json("baremetal port list").await;
    assert_eq!(
        ports.as_array().unwrap().len(),
        1,
        "the inspection found a card"
    );
}

const SETTINGS: &str =
    "[host]\nenabled = false\n[sim]\nhosts = 1\nmetal = true\n[metal]\npower_every_secs = 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_ends_with_the_rules_that_were_written_down() {
    let cloud = Cloud::start(SETTINGS).await;
    cloud.wait_for_hosts(1).await;
    let mut client = StockClient::start(&cloud, "corten");
    // The client takes JSON from files, too.
    let file = |name: &str, json: serde_json::Value| {
        let path = cloud.data().join(name);
        std::fs::write(&path, json.to_string()).unwrap();
        path.display().to_string()
    };
    let many = json!([{"op": "gt", "args": {"values": ["{inventory[cpu][count]}", 1]}}]);
    let conditions = file("conditions.json", many.clone());
    let mark = json!([{"op": "add-trait", "args": {"name": "CUSTOM_MANY"}}]);
    let actions = file("actions.json", mark.clone());
    let create = "baremetal inspection rule create --actions";
    let made = client
        .json(&format!(
            "{create} {actions} --conditions {conditions} --priority 5"
        ))
        .await;
    assert_eq!(made["priority"], 5);
    assert_eq!((&made["conditions"], &made["actions"]), (&many, &mark));
    let secret = json!([{"op": "set-attribute", "args": ["driver_info/fake_password", "calvin"]}]);
    let secret = file("secret.json", secret);
    let hidden = client
        .json(&format!("{create} {secret} --sensitive true"))
        .await;
    assert_eq!(hidden["actions"], json!(null));
    let unknown = file("unknown.json", json!([{"op": "dance", "args": {}}]));
    let refused = client.refused(&format!("{create} {unknown}")).await;
    assert!(refused.contains("'dance' is no action"), "{refused}");

    client
        .run("baremetal node create --driver fake-hardware --name bm1")
        .await;
    for verb in ["manage", "inspect"] {
        client
            .run(&format!("baremetal node {verb} --wait 60 bm1"))
            .await;
    }
    let node = client.json("baremetal node show bm1").await;
    assert_eq!(node["traits"], json!(["CUSTOM_MANY"]));
    assert_eq!(node["driver_info"]["fake_password"], "******");
    for rule in [made, hidden] {
        let id = rule["uuid"].as_str().unwrap();
        client
            .run(&format!("baremetal inspection rule delete {id}"))
            .await;
    }
    let listed = client.json("baremetal inspection rule list").await;
    assert_eq!(listed, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_watched_and_the_key_of_its_password_changes_meanwhile() {
    let cloud = Cloud::start(SETTINGS).await;
    cloud.wait_for_hosts(1).await;
    let mut client = StockClient::start(&cloud, "corten");
    let node = client
        .json("baremetal node create --driver fake-hardware --name bm1 --driver-info fake_password=calvin")
        .await;
    client.run("baremetal node manage --wait 60 bm1").await;
    let id = node["uuid"].as_str().unwrap();
    let line = format!("corten_node_reachable{{node=\"{id}\"}} 1");
    until(&line, SOON, async || {
        let answer = reqwest::get(format!("{}/metrics", cloud.url()))
            .await
            .ok()?;
        let text = answer.text().await.ok()?;
        (text.contains(&line) && text.contains("corten_node_sensor{")).then_some(())
    })
    .await;

    let keys = cloud.data().join("identity-keys/metal");
    let rotated = Command::new(env!("CARGO_BIN_EXE_corten"))
        .arg("--data")
        .arg(cloud.data())
        .args(["admin", "metal", "rotate-key"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&rotated.stdout).into_owned();
    assert!(
        rotated.status.success() && said.starts_with("1 nodes"),
        "{rotated:?}"
    );
    assert!(!keys.join("key").exists(), "the old key is gone");
    client
        .run("baremetal node set bm1 --driver-info fake_password=hobbes")
        .await;
    let shown = client.json("baremetal node show bm1").await;
    assert_eq!(shown["driver_info"]["fake_password"], "******");
}
