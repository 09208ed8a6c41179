//! Instances on whole servers where something is in the way: an operator's work, a BMC that fails, firmware, a node that refuses,
//! one that is for others or protected. No tenant is kept waiting for ever, and no server goes on unwiped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_bmc::BmcError;
use corten_model::ids::{DeployTemplateId, InstanceId, NodeId};
use corten_model::lifecycle::node::{NodePowerTarget, NodeVerb, ProvisionState};
use corten_operations::instance::command;
use corten_operations::metal::{Ident, power_node};
use corten_sim::Touch;
use corten_store::images::Image;
use corten_store::instances::{self, Instance};
use corten_store::metal::deploy_template::{DeployTemplate, TemplateStep};
use corten_store::metal::flash::{Flash, Stage};
use corten_store::metal::node::Node;
use corten_store::metal::{Object, Standard};
use corten_store::{Query, record};
use harness::metal::{ask, assert_sound, change, node_of, offer, operator, ready, rent};
use harness::{Cloud, image_id, member};
use serde_json::json;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A cloud with a flavor for whole servers, with these specs too, and so many nodes of its class, the oldest first.
async fn cloud(nodes: usize, specs: &[(&str, &str)]) -> (Cloud, Vec<NodeId>) {
    let cloud = Cloud::open().await;
    offer(&cloud, specs).await;
    let mut ids = Vec::new();
    for _ in 0..nodes {
        ids.push(ready(&cloud, true).await);
        cloud.clock.advance(MINUTE);
    }
    (cloud, ids)
}

fn word(instance: &Instance) -> &'static str {
    instance.state.display(instance.class).as_str()
}

async fn running(cloud: &Cloud) -> InstanceId {
    let id = rent(cloud).await;
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    assert_eq!(word(&instance), "Active", "{:?}", instance.fault);
    id
}

/// Why a create of an instance ended in Error, as an administrator reads it.
async fn refused(cloud: &Cloud) -> String {
    let id = rent(cloud).await;
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    assert_eq!(word(&instance), "Error");
    instance.fault.unwrap().details
}

async fn delete(cloud: &Cloud, id: InstanceId) {
    command::delete(&cloud.cx, &member(), id).await.unwrap();
}

async fn is_gone(cloud: &Cloud, id: InstanceId) -> bool {
    let mut tx = cloud.cx.store.read().await.unwrap();
    instances::get(&mut tx, id).await.unwrap().is_none()
}

/// The node that carries an instance.
async fn carrier(cloud: &Cloud, id: InstanceId) -> Option<Node> {
    let mut tx = cloud.cx.store.read().await.unwrap();
    let query = Query::new().equals("instance_id", &id);
    query.first(&mut tx).await.unwrap()
}

/// The server is wiped and ready for the next, without a person's help.
async fn assert_ready(cloud: &Cloud, id: NodeId) {
    let node = node_of(cloud, id).await;
    let (state, holder) = (node.provision.state, node.instance_id);
    assert_eq!((state, holder), (ProvisionState::Available, None));
    assert!(!node.maintenance, "{:?}", node.maintenance_reason);
    assert_sound(cloud, id, "ready").await;
}

/// The server keeps what is on its disk, for a person to look at, who is told why.
async fn assert_left_to_a_person(cloud: &Cloud, id: NodeId, why: &str) {
    let node = node_of(cloud, id).await;
    assert_eq!(node.instance_id, None);
    assert!(node.maintenance);
    assert_ne!(node.provision.state, ProvisionState::Available);
    let reason = node.maintenance_reason.unwrap();
    assert!(reason.contains("switch it off and wipe it"), "{reason}");
    assert!(reason.contains(why), "{reason}");
    let disks = cloud.machines.get(&id.to_string()).disks();
    assert_eq!(disks[0], Some(image_id().to_string()));
    assert_sound(cloud, id, "left to a person").await;
}

fn unreachable() -> BmcError {
    BmcError::Unreachable {
        bmc: "sim".to_owned(),
        reason: "no route".to_owned(),
    }
}

/// From now on the BMC switches nothing.
fn break_power(cloud: &Cloud, id: NodeId) {
    let error = BmcError::Refused {
        bmc: "sim".to_owned(),
        request: "a change of power".to_owned(),
        status: None,
        message: "the board is dead".to_owned(),
    };
    let machine = cloud.machines.get(&id.to_string());
    machine.fail_next(Touch::SetPower, u32::MAX, error);
}

/// An operator asks the system to shut down, and the BMC is not reached at once.
async fn shut_down_slowly(cloud: &Cloud, id: NodeId) {
    let machine = cloud.machines.get(&id.to_string());
    machine.fail_next(Touch::Power, 3, unreachable());
    let (ident, target) = (Ident::id(id), NodePowerTarget::SoftOff);
    power_node::set(&cloud.cx, &operator(), &ident, target, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_delete_waits_for_an_operators_change_of_power() {
    let (cloud, nodes) = cloud(1, &[]).await;
    let id = running(&cloud).await;
    shut_down_slowly(&cloud, nodes[0]).await;
    delete(&cloud, id).await;
    cloud.run_until_killed().await;
    assert_eq!(word(&cloud.instance(id).await), "Deleting");
    let node = carrier(&cloud, id).await.unwrap();
    assert!(!node.maintenance, "{:?}", node.maintenance_reason);
    cloud.drain().await;
    assert!(is_gone(&cloud, id).await);
    assert_ready(&cloud, nodes[0]).await;
}

#[tokio::test]
async fn a_tenant_is_let_go_half_an_hour_after_the_delete_and_the_server_kept_for_a_person() {
    let (cloud, nodes) = cloud(1, &[]).await;
    let id = running(&cloud).await;
    change(&cloud, nodes[0], |node| node.disable_power_off = true).await;
    let begun = cloud.cx.now();
    delete(&cloud, id).await;
    cloud.drain().await;
    assert!(is_gone(&cloud, id).await);
    let took = cloud.cx.now().since(begun);
    assert!((30 * MINUTE..35 * MINUTE).contains(&took), "{took:?}");
    assert_left_to_a_person(&cloud, nodes[0], "disable_power_off").await;
    let why = refused(&cloud).await;
    assert!(why.contains("1 not available"), "{why}");
    // Whoever looked at it gives it back through the wipe.
    change(&cloud, nodes[0], |node| {
        node.disable_power_off = false;
        node.maintenance = false;
    })
    .await;
    ask(&cloud, nodes[0], NodeVerb::Deleted).await;
    cloud.drain().await;
    assert_ready(&cloud, nodes[0]).await;
}

#[tokio::test]
async fn firmware_that_may_be_in_flight_is_not_cut_off_by_a_delete() {
    let (cloud, nodes) = cloud(1, &[]).await;
    let id = running(&cloud).await;
    let lost_at = Some(cloud.cx.now());
    change(&cloud, nodes[0], |node| {
        node.flashes = vec![Flash {
            component: "bios".to_owned(),
            target: "BIOS".to_owned(),
            name: None,
            url: "http://127.0.0.1/bios.bin".to_owned(),
            wait_secs: 0,
            version_before: None,
            tasks_before: None,
            since: lost_at,
            tries: 1,
            task: None,
            looks: 1,
            lost_at,
            stage: Stage::Begun,
        }];
    })
    .await;
    delete(&cloud, id).await;
    // Longer than a delete may take.
    for _ in 0..2 {
        cloud.run_until_killed().await;
        cloud.clock.advance(20 * MINUTE);
    }
    cloud.run_until_killed().await;
    assert_eq!(word(&cloud.instance(id).await), "Deleting");
    let node = carrier(&cloud, id).await.unwrap();
    let state = node.provision.state;
    assert_eq!((state, node.maintenance), (ProvisionState::Active, false));
    let machine = cloud.machines.get(&nodes[0].to_string());
    assert!(machine.booted_from().is_some(), "it was switched off");
    cloud.drain().await;
    assert!(is_gone(&cloud, id).await);
    assert_ready(&cloud, nodes[0]).await;
}

#[tokio::test]
async fn a_server_whose_bmc_dies_under_a_deployment_is_left_and_another_is_tried() {
    let (cloud, nodes) = cloud(2, &[]).await;
    let id = rent(&cloud).await;
    let waits = async || {
        let state = node_of(&cloud, nodes[0]).await.provision.state;
        state == ProvisionState::WaitCallBack
    };
    cloud.step_until(waits).await;
    break_power(&cloud, nodes[0]);
    let begun = cloud.cx.now();
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    assert_eq!(word(&instance), "Active", "{:?}", instance.fault);
    assert_eq!(carrier(&cloud, id).await.unwrap().id, nodes[1]);
    let took = cloud.cx.now().since(begun);
    assert!(took < 30 * MINUTE, "{took:?}");
    assert_left_to_a_person(&cloud, nodes[0], "the board is dead").await;
}

#[tokio::test]
async fn the_last_server_whose_bmc_dies_does_not_keep_a_create_going() {
    let (cloud, nodes) = cloud(1, &[]).await;
    let id = rent(&cloud).await;
    let waits = async || {
        let state = node_of(&cloud, nodes[0]).await.provision.state;
        state == ProvisionState::WaitCallBack
    };
    cloud.step_until(waits).await;
    break_power(&cloud, nodes[0]);
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    assert_eq!(word(&instance), "Error");
    let why = instance.fault.unwrap().details;
    assert!(why.contains("the board is dead"), "{why}");
    assert_left_to_a_person(&cloud, nodes[0], "the board is dead").await;
}

#[tokio::test]
async fn a_trait_of_the_flavor_runs_the_deploy_template_of_its_name() {
    let required = [("trait:CUSTOM_QUIET", "required")];
    let (cloud, nodes) = cloud(1, &required).await;
    change(&cloud, nodes[0], |node| {
        node.traits = ["CUSTOM_QUIET", "CUSTOM_LOUD"].map(str::to_owned).into();
    })
    .await;
    let template = |name: &str, step: &str| DeployTemplate {
        id: DeployTemplateId::random(),
        name: name.to_owned(),
        steps: vec![TemplateStep {
            interface: "management".to_owned(),
            step: step.to_owned(),
            args: Object::new(),
            priority: 50,
        }],
        standard: Standard::new(Object::new(), cloud.cx.now()),
    };
    let mut tx = cloud.cx.store.write().await.unwrap();
    for template in [
        template("CUSTOM_QUIET", "clear_job_queue"),
        template("CUSTOM_LOUD", "reset_bmc"),
    ] {
        record::insert(&mut tx, &template).await.unwrap();
    }
    tx.commit().await.unwrap();
    let id = running(&cloud).await;
    let ran = cloud.machines.get(&nodes[0].to_string()).steps();
    assert!(ran.contains(&"management.clear_job_queue".to_owned()));
    assert!(!ran.contains(&"management.reset_bmc".to_owned()));
    let node = carrier(&cloud, id).await.unwrap();
    assert_eq!(node.instance_info["traits"], json!(["CUSTOM_QUIET"]));
}

#[tokio::test]
async fn a_node_that_refuses_is_passed_over_for_the_next() {
    let (cloud, nodes) = cloud(5, &[]).await;
    for id in &nodes[..4] {
        change(&cloud, *id, |node| node.disable_power_off = true).await;
    }
    let id = running(&cloud).await;
    assert_eq!(carrier(&cloud, id).await.unwrap().id, nodes[4]);
    for id in &nodes[..4] {
        let node = node_of(&cloud, *id).await;
        assert_eq!((node.instance_id, node.maintenance), (None, false));
        assert!(node.instance_info.is_empty(), "{:?}", node.instance_info);
    }
    // Where none is left the first refusals are told, not all of a large fleet's.
    let why = refused(&cloud).await;
    assert!(why.contains("4 that refused it"), "{why}");
    assert!(why.contains("has disable_power_off set"), "{why}");
    assert!(why.contains("1 more refused it too"), "{why}");
}

#[tokio::test]
async fn what_does_not_fit_is_not_chosen_and_the_rule_is_told() {
    let (cloud, nodes) = cloud(1, &[]).await;
    let id = nodes[0];
    let drops = async |edit: &dyn Fn(&mut Node), rule: &str| {
        let before = node_of(&cloud, id).await;
        change(&cloud, id, |node| edit(node)).await;
        let why = refused(&cloud).await;
        assert!(why.contains(rule), "{why}");
        change(&cloud, id, |node| *node = before).await;
    };
    drops(&|node| node.retired = true, "1 retired").await;
    let mut tx = cloud.cx.store.write().await.unwrap();
    let mut image: Image = record::get(&mut tx, image_id()).await.unwrap().unwrap();
    let property = ("hw_architecture".to_owned(), "aarch64".to_owned());
    image.properties.extend([property]);
    record::update(&mut tx, &image).await.unwrap();
    tx.commit().await.unwrap();
    let x86 = |node: &mut Node| {
        let arch = ("cpu_arch".to_owned(), json!("x86_64"));
        node.properties.extend([arch]);
    };
    drops(&x86, "1 of another architecture than the image").await;
    shut_down_slowly(&cloud, id).await;
    let why = refused(&cloud).await;
    assert!(why.contains("1 worked on by an operation"), "{why}");
    running(&cloud).await;
}

/// A node with an owner or a lessee is for these two; one without, for everybody.
#[tokio::test]
async fn a_node_is_for_its_owner_and_its_lessee() {
    let (cloud, nodes) = cloud(1, &[]).await;
    let parties = [
        (Some("other"), None, false),
        (None, Some("other"), false),
        (Some("other"), Some("another"), false),
        (Some("other"), Some("p"), true),
        (None, Some("p"), true),
        (Some("p"), Some("other"), true),
    ];
    for (owner, lessee, fits) in parties {
        change(&cloud, nodes[0], |node| {
            node.owner = owner.map(str::to_owned);
            node.lessee = lessee.map(str::to_owned);
        })
        .await;
        if fits {
            let id = running(&cloud).await;
            delete(&cloud, id).await;
            cloud.drain().await;
        } else {
            let why = refused(&cloud).await;
            assert!(why.contains("1 of another owner or lessee"), "{why}");
        }
    }
}

#[tokio::test]
async fn what_is_on_a_protected_server_is_neither_deleted_nor_rebuilt() {
    let (cloud, nodes) = cloud(1, &[]).await;
    let id = running(&cloud).await;
    change(&cloud, nodes[0], |node| {
        node.protected = true;
        node.protected_reason = Some("holds the vault".to_owned());
    })
    .await;
    let (cx, actor) = (&cloud.cx, member());
    let rebuild = command::Rebuild::default();
    for refused in [
        command::delete(cx, &actor, id).await,
        command::force_delete(cx, &actor, id).await,
        command::rebuild(cx, &actor, id, rebuild).await.map(drop),
    ] {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("protected set (holds the vault)"), "{why}");
    }
    cloud.drain().await;
    assert_eq!(word(&cloud.instance(id).await), "Active");
    change(&cloud, nodes[0], |node| node.protected = false).await;
    delete(&cloud, id).await;
    cloud.drain().await;
    assert!(is_gone(&cloud, id).await);
    assert_ready(&cloud, nodes[0]).await;
}
