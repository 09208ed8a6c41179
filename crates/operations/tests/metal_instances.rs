//! Instances that are whole servers (K145 to K162): made, stopped, rebuilt and deleted by the calls that serve virtual machines,
//! disturbed at every point of every step. Whatever happens, no server is lost, given twice, or given unwiped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_bmc::BootDevice;
use corten_model::ids::{FlavorId, InstanceId, NodeId};
use corten_model::lifecycle::Command;
use corten_model::lifecycle::node::ProvisionState;
use corten_operations::instance::networks::{Asked, Networks};
use corten_operations::instance::{command, new};
use corten_operations::resource_provider::{self, Amounts};
use corten_store::instances::{self, Instance};
use corten_store::metal::node::Node;
use corten_store::operations::{self, Filter};
use corten_store::{Query, record};
use harness::metal::{BARE_METAL, assert_sound, node_of, offer, ready};
use harness::{Cloud, Disturbance, image_id, member};

/// A cloud with a flavor for whole servers, and so many nodes of its class that are ready.
async fn cloud(nodes: usize) -> Cloud {
    let cloud = Cloud::open().await;
    offer(&cloud, &[]).await;
    for _ in 0..nodes {
        ready(&cloud, true).await;
    }
    cloud
}

fn request() -> new::NewInstances {
    new::NewInstances {
        name: "server".to_owned(),
        flavor_id: Some(FlavorId::from(BARE_METAL)),
        image_id: Some(image_id()),
        min_count: 1,
        max_count: 1,
        ..new::NewInstances::default()
    }
}

async fn create(cloud: &Cloud) -> InstanceId {
    let made = new::create(&cloud.cx, &member(), request()).await;
    made.unwrap().instances[0].id
}

async fn running(cloud: &Cloud) -> InstanceId {
    let id = create(cloud).await;
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    assert_eq!(word(&instance), "Active", "{:?}", instance.fault);
    id
}

fn word(instance: &Instance) -> &'static str {
    instance.state.display(instance.class).as_str()
}

async fn nodes(cloud: &Cloud) -> Vec<Node> {
    let mut tx = cloud.cx.store.read().await.unwrap();
    Query::new().all(&mut tx).await.unwrap()
}

/// What the tenant and the operator see.
#[derive(Debug, PartialEq)]
struct End {
    instance: Option<(&'static str, bool)>,
    nodes: Vec<(ProvisionState, bool, Option<String>)>,
}

async fn end(cloud: &Cloud, id: InstanceId) -> End {
    let mut tx = cloud.cx.store.read().await.unwrap();
    let instance = instances::get(&mut tx, id).await.unwrap();
    drop(tx);
    let mut seen = Vec::new();
    for node in nodes(cloud).await {
        let disks = cloud.machines.get(&node.id.to_string()).disks();
        let holds = node.instance_id == Some(id);
        seen.push((node.provision.state, holds, disks[0].clone()));
    }
    seen.sort_by_key(|(state, ..)| state.as_str());
    End {
        instance: instance.map(|one| (word(&one), one.fault.is_some())),
        nodes: seen,
    }
}

async fn assert_whole(cloud: &Cloud, id: InstanceId, context: &str) {
    let mut tx = cloud.cx.store.read().await.unwrap();
    let filter = Filter {
        running: true,
        ..Filter::default()
    };
    let left = operations::list(&mut tx, filter).await.unwrap();
    assert!(left.is_empty(), "{context}: {left:?}");
    drop(tx);
    for node in nodes(cloud).await {
        assert_sound(cloud, node.id, context).await;
        if let Some(holder) = node.instance_id {
            assert_eq!(holder, id, "{context}");
            let mut tx = cloud.cx.store.read().await.unwrap();
            let held = instances::get(&mut tx, holder).await.unwrap();
            assert!(
                held.is_some(),
                "{context}: a deleted instance holds a server"
            );
        }
    }
}

/// An instance operation once undisturbed, then with one disturbance at each point of each step of it and of the node's.
async fn survive(
    prepare: impl AsyncFn(&Cloud) -> Option<InstanceId>,
    ask: impl AsyncFn(&Cloud, Option<InstanceId>) -> InstanceId,
) {
    let calm = cloud(1).await;
    let before = prepare(&calm).await;
    calm.forget_moments();
    let id = ask(&calm, before).await;
    calm.drain().await;
    assert_whole(&calm, id, "undisturbed").await;
    let wanted = end(&calm, id).await;
    let failed = wanted.instance.is_some_and(|(_, failed)| failed);
    assert!(!failed, "{:?}", calm.instance(id).await.fault);
    let moments = calm.moments();
    assert!(moments.len() >= 3, "the harness saw no step");
    for (index, moment) in moments.iter().enumerate() {
        for way in moment.ways() {
            let context = format!("{way:?} at {moment:?}");
            let cloud = cloud(1).await;
            let before = prepare(&cloud).await;
            cloud.plan(index, way.clone());
            let id = ask(&cloud, before).await;
            cloud.drain().await;
            assert_whole(&cloud, id, &context).await;
            if *way != Disturbance::Failure {
                assert_eq!(end(&cloud, id).await, wanted, "{context}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_is_given_by_the_call_that_makes_a_virtual_machine() {
    survive(async |_| None, async |cloud, _| create(cloud).await).await;
}

#[tokio::test]
async fn a_deleted_server_is_wiped_before_anybody_gets_it() {
    let prepare = async |cloud: &Cloud| Some(running(cloud).await);
    let ask = async |cloud: &Cloud, id: Option<InstanceId>| {
        let id = id.unwrap();
        command::delete(&cloud.cx, &member(), id).await.unwrap();
        id
    };
    survive(prepare, ask).await;
}

#[tokio::test]
async fn a_server_is_rebuilt() {
    let prepare = async |cloud: &Cloud| Some(running(cloud).await);
    let ask = async |cloud: &Cloud, id: Option<InstanceId>| {
        let id = id.unwrap();
        let change = command::Rebuild::default();
        command::rebuild(&cloud.cx, &member(), id, change)
            .await
            .unwrap();
        id
    };
    survive(prepare, ask).await;
}

/// The catalogue's states of metal (A2, K28 to K34), each by the word that the tenant sees.
#[tokio::test]
async fn power_is_switched_by_the_bmc() {
    let cloud = cloud(1).await;
    let id = running(&cloud).await;
    let node = nodes(&cloud).await[0].id;
    let machine = cloud.machines.get(&node.to_string());
    for (command, on_the_way, at_the_end, power) in [
        (Command::Stop, "Powering-off", "Stopped", false),
        (Command::Start, "Powering-on", "Active", true),
        (Command::HardReboot, "Rebooting_hard", "Active", true),
    ] {
        command::simple(&cloud.cx, &member(), id, command)
            .await
            .unwrap();
        let word_now = word(&cloud.instance(id).await);
        assert_eq!(word_now.to_lowercase(), on_the_way.to_lowercase());
        cloud.drain().await;
        assert_eq!(word(&cloud.instance(id).await), at_the_end, "{command}");
        assert_eq!(machine.booted_from().is_some(), power, "{command}");
    }
    assert_whole(&cloud, id, "power").await;
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_replaced_by_another() {
    let cloud = cloud(2).await;
    let first = nodes(&cloud)
        .await
        .iter()
        .map(|node| node.id)
        .min_by_key(NodeId::to_string);
    let first = first.unwrap();
    // Whatever is chosen first cannot be written to.
    let broken = corten_bmc::BmcError::TaskFailed {
        bmc: "sim".to_owned(),
        task: "standby.prepare_image".to_owned(),
        state: "failed".to_owned(),
        message: "the disk is dead".to_owned(),
    };
    for node in nodes(&cloud).await {
        if node.id != first {
            continue;
        }
        let machine = cloud.machines.get(&node.id.to_string());
        machine.fail_next(corten_sim::Touch::Install, 1, broken.clone());
    }
    let id = running(&cloud).await;
    assert_whole(&cloud, id, "another").await;
    let holders = nodes(&cloud).await;
    let holders: Vec<_> = holders
        .iter()
        .filter(|node| node.instance_id.is_some())
        .collect();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].provision.state, ProvisionState::Active);
}

/// Has the next so many writes to a server's disk find fault with the image.
async fn find_fault(cloud: &Cloud, node: NodeId, times: u32) {
    let fault = corten_bmc::BmcError::ImageUnfit {
        bmc: "sim".to_owned(),
        message: "the image does not have its checksum".to_owned(),
    };
    let machine = cloud.machines.get(&node.to_string());
    machine.fail_next(corten_sim::Touch::Install, times, fault);
}

#[tokio::test]
async fn an_image_that_two_servers_cannot_use_ends_the_create_and_harms_none() {
    let cloud = cloud(3).await;
    for node in nodes(&cloud).await {
        find_fault(&cloud, node.id, 9).await;
    }
    for _ in 0..3 {
        let id = create(&cloud).await;
        cloud.drain().await;
        let instance = cloud.instance(id).await;
        assert_eq!(word(&instance), "Error");
        let why = instance.fault.unwrap().message;
        assert_eq!(why.matches("checksum").count(), 2, "{why}");
    }
    for node in nodes(&cloud).await {
        assert!(!node.maintenance, "{:?}", node.maintenance_reason);
        assert_eq!(node.provision.state, ProvisionState::Available);
    }
}

#[tokio::test]
async fn a_server_that_alone_cannot_use_an_image_is_to_blame_for_it() {
    let cloud = cloud(2).await;
    let id = running(&cloud).await;
    let holds = |node: &Node| node.instance_id == Some(id);
    let first = nodes(&cloud).await.into_iter().find(holds).unwrap().id;
    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    find_fault(&cloud, first, 9).await;
    let mut tries = 0;
    // It is chosen first again, and no create comes to harm by it.
    while !node_of(&cloud, first).await.maintenance {
        let id = running(&cloud).await;
        command::delete(&cloud.cx, &member(), id).await.unwrap();
        cloud.drain().await;
        tries += 1;
        assert!(
            tries < 9,
            "a server that can use no image is offered for ever"
        );
    }
    assert_eq!(
        node_of(&cloud, first).await.fault.as_deref(),
        Some("deploy failure")
    );
}

#[tokio::test]
async fn without_a_server_that_fits_the_reason_is_told() {
    let cloud = cloud(0).await;
    let id = create(&cloud).await;
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    assert_eq!(word(&instance), "Error");
    let why = instance.fault.unwrap().message;
    assert!(
        why.contains("No valid host") && why.contains("CUSTOM_BM_SMALL"),
        "{why}"
    );
    // What never got a server is deleted like anything else.
    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    assert_eq!(end(&cloud, id).await.instance, None);
}

#[tokio::test]
async fn an_instance_can_be_deleted_while_its_server_is_booted() {
    let cloud = cloud(1).await;
    let devices = [BootDevice::Cdrom, BootDevice::Network];
    cloud.ramdisks.dead.lock().unwrap().extend(devices);
    let id = create(&cloud).await;
    let waits = async || nodes(&cloud).await[0].provision.state == ProvisionState::WaitCallBack;
    cloud.step_until(waits).await;
    cloud.ramdisks.dead.lock().unwrap().clear();
    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    assert_whole(&cloud, id, "deleted early").await;
    let node = &nodes(&cloud).await[0];
    assert_eq!(
        (node.provision.state, node.instance_id),
        (ProvisionState::Available, None)
    );
}

/// What is not enforced is not accepted (K67, K68, K102).
#[tokio::test]
async fn what_metal_lacks_is_refused_with_its_name() {
    let cloud = cloud(1).await;
    let refused = async |request: new::NewInstances| {
        let refused = new::create(&cloud.cx, &member(), request).await;
        refused.err().unwrap().to_string()
    };
    let networks = Networks::These(vec![Asked::default()]);
    for (request, lacks) in [
        (
            new::NewInstances {
                networks,
                ..request()
            },
            "DPU",
        ),
        (
            new::NewInstances {
                security_groups: vec!["web".to_owned()],
                ..request()
            },
            "enforces its rules",
        ),
        (
            new::NewInstances {
                scheduler_hints: [("different_host".to_owned(), "x".into())].into(),
                ..request()
            },
            "a host that is shared",
        ),
    ] {
        let why = refused(request).await;
        assert!(why.contains(lacks), "{why}");
    }
    let id = running(&cloud).await;
    for (command, lacks) in [
        (Command::Pause, "hypervisor"),
        (Command::Suspend, "hypervisor"),
        (Command::SoftReboot, "hard reboot"),
    ] {
        let refused = command::simple(&cloud.cx, &member(), id, command).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains(lacks), "{why}");
    }
    assert_eq!(
        word(&cloud.instance(id).await),
        "Active",
        "nothing happened"
    );
}

#[tokio::test]
async fn placement_shows_the_servers_beside_the_hosts() {
    let cloud = cloud(1).await;
    let admin = harness::metal::operator();
    let class = "CUSTOM_BM_SMALL";
    let node = nodes(&cloud).await[0].id;
    let shown = async || {
        let provider = resource_provider::show(&cloud.cx, &admin, &node.to_string()).await;
        let provider = provider.unwrap();
        let inventory = provider.inventories[0].clone();
        assert_eq!(
            (inventory.class.as_str(), inventory.total),
            (class, 1),
            "{inventory:?}"
        );
        let one = Amounts::from([(class.to_owned(), 1)]);
        (
            inventory.reserved,
            inventory.used,
            provider.has_room(&one),
            provider,
        )
    };
    let (reserved, used, room, _) = shown().await;
    assert_eq!((reserved, used, room), (0, 0, true));

    let id = running(&cloud).await;
    let (reserved, used, room, provider) = shown().await;
    assert_eq!((reserved, used, room), (0, 1, false));
    let held = resource_provider::allocations_of(&cloud.cx, &admin, id).await;
    let held = held.unwrap();
    assert_eq!(held[0].provider, node.to_string());
    assert_eq!(held[0].amounts[class], 1);
    let on = resource_provider::allocations_on(&cloud.cx, &admin, &provider).await;
    assert_eq!(on.unwrap()[0].consumer, id);
    let project = &cloud.instance(id).await.project_id;
    let (count, sums) = resource_provider::held_by(&cloud.cx, &admin, project, None)
        .await
        .unwrap();
    assert_eq!((count, sums[class]), (1, 1));

    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    let mut broken = node_of(&cloud, node).await;
    broken.maintenance = true;
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, &broken).await.unwrap();
    tx.commit().await.unwrap();
    let (reserved, used, room, _) = shown().await;
    assert_eq!(
        (reserved, used, room),
        (1, 0, false),
        "in maintenance nobody gets it"
    );
}
