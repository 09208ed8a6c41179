//! A node is available with the proof that all disks of its very server are wiped: it cannot be made another server's meanwhile,
//! and a disk that was not there during the wipe keeps it from everybody (K145, K157).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_model::ids::{NodeId, WipeId};
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::origin::Origin;
use corten_model::refusal::Reason;
use corten_operations::metal::Ident;
use corten_operations::metal::driver::{self, FAKE, IPMI, REDFISH};
use corten_operations::metal::node::{self, Edit, Reach};
use corten_operations::metal::provision::{self, Wish};
use corten_store::metal::node::Node;
use corten_store::metal::wipe::{self, Wipe, WipedDisk};
use corten_store::{Failure, record};
use harness::Cloud;
use harness::metal::{after, ask, assert_sound, node_of, operator, with_step};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

use NodeVerb::{Clean, Inspect, Manage, Provide};

/// A node of this driver in this state, with a wipe on record.
async fn proved(cloud: &Cloud, name: &str, info: Value, state: ProvisionState) -> NodeId {
    let driver = driver::of_node(&cloud.cx.metal, name).unwrap();
    let mut node = node::blank(NodeId::random(), driver, cloud.cx.now());
    node.driver_info = info.as_object().cloned().unwrap();
    node.provision.state = state;
    let wipe = wiped(&node, &["S1"], cloud);
    node.wiped = Some(wipe.id);
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::insert(&mut tx, &wipe).await.unwrap();
    record::insert(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    node.id
}

fn wiped(node: &Node, serials: &[&str], cloud: &Cloud) -> Wipe {
    let disk = |serial: &&str| WipedDisk {
        serial: (*serial).to_owned(),
        size_bytes: 1 << 40,
        method: "overwrite".to_owned(),
        removable: false,
    };
    Wipe {
        id: WipeId::random(),
        node_id: node.id,
        at: cloud.cx.now(),
        disks: serials.iter().map(disk).collect(),
        origin: Origin::system(),
    }
}

async fn change(
    cloud: &Cloud,
    id: NodeId,
    change: impl Fn(&mut Node) + Send,
) -> Result<Node, Failure> {
    let edit = move |before: &Node| {
        let mut node = before.clone();
        change(&mut node);
        Ok(Edit {
            node,
            secrets: BTreeMap::new(),
        })
    };
    let ident = Ident::id(id);
    node::update(&cloud.cx, &operator(), &ident, Reach::Write, edit).await
}

async fn set(cloud: &Cloud, id: NodeId, key: &str, value: Value) -> Result<Node, Failure> {
    change(cloud, id, |node| {
        node.driver_info.insert(key.to_owned(), value.clone());
    })
    .await
}

async fn drive(cloud: &Cloud, id: NodeId, name: &str) -> Result<Node, Failure> {
    let driver = driver::of_node(&cloud.cx.metal, name).unwrap();
    change(cloud, id, |node| {
        node.driver = driver.name.to_owned();
        node.interfaces = driver.defaults();
    })
    .await
}

#[track_caller]
fn assert_refused(changed: Result<Node, Failure>, field: &str, todo: &str) {
    let Err(Failure::Refused(refusal)) = changed else {
        panic!("{field} was changed: {changed:?}");
    };
    let said = &refusal.message;
    assert_eq!(refusal.reason, Reason::Conflict, "{said}");
    assert!(said.contains(field) && said.contains(todo), "{said}");
}

fn at(address: &str) -> Value {
    json!({"redfish_address": address, "redfish_system_id": "/redfish/v1/Systems/1", "redfish_username": "root"})
}

#[tokio::test]
async fn an_available_node_stays_the_server_that_was_wiped() {
    let cloud = Cloud::open().await;
    let state = ProvisionState::Available;
    let id = proved(&cloud, REDFISH, at("https://10.9.0.7"), state).await;
    let other = json!("https://10.9.0.8");
    let elsewhere = set(&cloud, id, "redfish_address", other.clone()).await;
    assert_refused(elsewhere, "redfish_address", "target 'manage'");
    let system = json!("/redfish/v1/Systems/2");
    let another = set(&cloud, id, "redfish_system_id", system).await;
    assert_refused(another, "redfish_system_id", "target 'manage'");
    assert_refused(drive(&cloud, id, FAKE).await, "driver", "target 'manage'");
    assert_refused(drive(&cloud, id, IPMI).await, "driver", "target 'manage'");
    // Out of every choice it would be, and back with the same proof.
    node::maintain(&cloud.cx, &operator(), &Ident::id(id), true, None)
        .await
        .unwrap();
    let elsewhere = set(&cloud, id, "redfish_address", other).await;
    assert_refused(elsewhere, "redfish_address", "target 'manage'");

    // Nothing of this makes it another server.
    for (key, value) in [
        ("redfish_address", "10.9.0.7/"),
        ("redfish_username", "admin"),
        ("redfish_verify_ca", "false"),
        ("kernel_append_params", "quiet"),
    ] {
        let node = set(&cloud, id, key, json!(value)).await.unwrap();
        assert!(node.wiped.is_some(), "{key}");
    }
}

#[tokio::test]
async fn the_same_holds_over_ipmi() {
    let cloud = Cloud::open().await;
    let info = json!({"ipmi_address": "10.9.0.7", "ipmi_username": "root"});
    let id = proved(&cloud, IPMI, info, ProvisionState::Available).await;
    let elsewhere = set(&cloud, id, "ipmi_address", json!("10.9.0.8")).await;
    assert_refused(elsewhere, "ipmi_address", "target 'manage'");
    let elsewhere = set(&cloud, id, "ipmi_port", json!(624)).await;
    assert_refused(elsewhere, "ipmi_port", "target 'manage'");
    for port in [json!(623), json!("623")] {
        let node = set(&cloud, id, "ipmi_port", port).await.unwrap();
        assert!(node.wiped.is_some());
    }
}

#[tokio::test]
async fn a_node_that_becomes_another_server_has_no_proof_any_more() {
    let cloud = Cloud::open().await;
    let address = at("https://10.9.0.7");
    for state in [ProvisionState::Manageable, ProvisionState::Enroll] {
        let id = proved(&cloud, REDFISH, address.clone(), state).await;
        let kept = set(&cloud, id, "redfish_username", json!("admin")).await;
        assert!(kept.unwrap().wiped.is_some(), "{state}");
        let other = set(&cloud, id, "redfish_address", json!("https://10.9.0.8")).await;
        assert_eq!(other.unwrap().wiped, None, "{state}");
    }
}

#[tokio::test]
async fn a_node_that_is_worked_on_stays_the_server_that_it_is() {
    let cloud = Cloud::open().await;
    for state in [
        ProvisionState::Cleaning,
        ProvisionState::CleanWait,
        ProvisionState::CleanHold,
    ] {
        let id = proved(&cloud, REDFISH, at("https://10.9.0.7"), state).await;
        node::maintain(&cloud.cx, &operator(), &Ident::id(id), true, None)
            .await
            .unwrap();
        let elsewhere = set(&cloud, id, "redfish_address", json!("https://10.9.0.8")).await;
        assert_refused(elsewhere, "redfish_address", "target 'abort'");
    }
}

/// What a simulated server proves, it proves for no real one.
#[tokio::test]
async fn a_detour_over_a_simulated_server_proves_nothing() {
    let cloud = Cloud::open().await;
    let state = ProvisionState::Manageable;
    let id = proved(&cloud, REDFISH, at("https://10.9.0.7"), state).await;
    assert_eq!(drive(&cloud, id, FAKE).await.unwrap().wiped, None);
    // Its disks are those of the simulated server from now on.
    cloud.clock.advance(Duration::from_secs(1));
    ask(&cloud, id, Inspect).await;
    cloud.drain().await;
    ask(&cloud, id, Provide).await;
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Available);
    assert!(node.wiped.is_some());
    assert_refused(
        drive(&cloud, id, REDFISH).await,
        "driver",
        "target 'manage'",
    );

    ask(&cloud, id, Manage).await;
    let node = drive(&cloud, id, REDFISH).await.unwrap();
    assert_eq!(node.wiped, None);
    assert_eq!(node.provision.state, ProvisionState::Manageable);
}

async fn put(cloud: &Cloud, node: &Node) {
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, node).await.unwrap();
    tx.commit().await.unwrap();
}

/// The last inspection has seen this disk too.
async fn has_seen(cloud: &Cloud, id: NodeId, serial: &str) {
    let mut node = node_of(cloud, id).await;
    let inventory = node.inspection.inventory.as_mut().unwrap();
    let disks = inventory["disks"].as_array_mut().unwrap();
    disks.push(json!({"name": "2", "serial": serial, "size": 1_u64 << 40}));
    put(cloud, &node).await;
}

async fn wipes(cloud: &Cloud, id: NodeId) -> Vec<Wipe> {
    let mut tx = cloud.cx.store.read().await.unwrap();
    wipe::of_node(&mut tx, id).await.unwrap()
}

/// It is given to nobody, and says which disk is the reason and what to do.
async fn assert_unproved(cloud: &Cloud, id: NodeId, serial: &str) {
    let node = node_of(cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::CleanFailed);
    assert!(node.maintenance && node.wiped.is_none());
    let said = node.last_error.unwrap();
    assert!(said.contains(&format!("not there: {serial}.")), "{said}");
    assert!(
        said.contains("Put them back and clean again") && said.contains("inspect"),
        "{said}"
    );
    assert_sound(cloud, id, serial).await;
}

/// The operator says that the disk is gone: the server is inspected without it.
async fn comes_back_after_an_inspection(cloud: &Cloud, id: NodeId) {
    node::maintain(&cloud.cx, &operator(), &Ident::id(id), false, None)
        .await
        .unwrap();
    cloud.clock.advance(Duration::from_secs(1));
    for verb in [Manage, Inspect, Provide] {
        ask(cloud, id, verb).await;
        cloud.drain().await;
    }
    let node = node_of(cloud, id).await;
    assert_eq!(
        node.provision.state,
        ProvisionState::Available,
        "{:?}",
        node.last_error
    );
    assert_sound(cloud, id, "after an inspection").await;
}

#[tokio::test]
async fn a_disk_that_was_seen_and_was_not_wiped_keeps_its_server_from_everybody() {
    for booted in [false, true] {
        let cloud = Cloud::open().await;
        let id = after(&cloud, booted, &[Manage, Inspect]).await;
        has_seen(&cloud, id, "PULLED-1").await;
        ask(&cloud, id, Provide).await;
        cloud.drain().await;
        assert_unproved(&cloud, id, "PULLED-1").await;
        let record = wipes(&cloud, id).await;
        assert_eq!(record.len(), 1, "what was wiped stays on record");
        assert_eq!(record[0].disks.len(), 2);
        comes_back_after_an_inspection(&cloud, id).await;
    }
}

#[tokio::test]
async fn a_disk_of_an_earlier_wipe_is_wiped_again_or_keeps_its_server_from_everybody() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide]).await;
    let node = node_of(&cloud, id).await;
    let mut before = wiped(&node, &["DEAD-1"], &cloud);
    before
        .disks
        .extend(wipes(&cloud, id).await[0].disks.clone());
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::insert(&mut tx, &before).await.unwrap();
    tx.commit().await.unwrap();
    // A second time it is no better: that the disk was missing once is not forgotten.
    for _ in 0..2 {
        node::maintain(&cloud.cx, &operator(), &Ident::id(id), false, None)
            .await
            .unwrap();
        cloud.clock.advance(Duration::from_secs(1));
        for verb in [Manage, Provide] {
            ask(&cloud, id, verb).await;
            cloud.drain().await;
        }
        assert_unproved(&cloud, id, "DEAD-1").await;
    }
    comes_back_after_an_inspection(&cloud, id).await;
}

#[tokio::test]
async fn an_erasure_by_hand_names_the_disk_that_it_left_out_too() {
    for booted in [false, true] {
        let cloud = Cloud::open().await;
        let id = after(&cloud, booted, &[Manage, Inspect]).await;
        has_seen(&cloud, id, "PULLED-1").await;
        let by_hand = async |wish: Wish| {
            provision::set(&cloud.cx, &operator(), &Ident::id(id), wish)
                .await
                .unwrap();
            cloud.drain().await;
        };
        // A cleaning that erases nothing says nothing of disks.
        by_hand(with_step(
            Clean,
            "deploy",
            "erase_devices_metadata",
            json!({}),
        ))
        .await;
        let node = node_of(&cloud, id).await;
        assert_eq!(node.provision.state, ProvisionState::Manageable);
        by_hand(with_step(Clean, "deploy", "erase_devices", json!({}))).await;
        assert_unproved(&cloud, id, "PULLED-1").await;
    }
}
