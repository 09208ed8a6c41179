//! Boots into the ramdisk that do not go as planned (K148, K149, K152, K157): each ends by itself in the right state, with a reason
//! that a person understands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_bmc::{BmcError, BootDevice, Capability};
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::time::Timestamp;
use corten_operations::metal::agent;
use corten_operations::metal::provision;
use corten_operations::metal::{Ident, machine, management};
use corten_sim::Touch;
use corten_store::metal::boot_sign;
use corten_store::metal::node::{BootMethod, Node};
use corten_store::record;
use harness::Cloud;
use harness::metal::{after, ask, assert_sound, node_of, operator, wish};

use NodeVerb::{Abort, Active, Clean, Deleted, Manage, Provide};

fn dead(cloud: &Cloud, devices: &[BootDevice]) {
    cloud
        .ramdisks
        .dead
        .lock()
        .unwrap()
        .extend_from_slice(devices);
}

async fn signs(cloud: &Cloud, id: NodeId) -> Vec<String> {
    let mut tx = cloud.cx.store.read().await.unwrap();
    let signs = boot_sign::of_node(&mut tx, id, Timestamp::from_micros(0)).await;
    signs.unwrap().into_iter().map(|sign| sign.event).collect()
}

/// Runs what is runnable until the node waits for its ramdisk, which does not call.
async fn waits(cloud: &Cloud, id: NodeId, state: ProvisionState) -> Node {
    dead(cloud, &[BootDevice::Cdrom, BootDevice::Network]);
    cloud
        .step_until(async || node_of(cloud, id).await.provision.state == state)
        .await;
    node_of(cloud, id).await
}

/// The node once it is through this verb: in that state.
async fn through(cloud: &Cloud, id: NodeId, verb: NodeVerb, state: ProvisionState) -> Node {
    ask(cloud, id, verb).await;
    cloud.drain().await;
    let node = node_of(cloud, id).await;
    assert_eq!(node.provision.state, state, "{:?}", node.last_error);
    node
}

#[tokio::test]
async fn a_boot_that_brings_nothing_is_followed_by_another_way() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    dead(&cloud, &[BootDevice::Cdrom]);
    through(&cloud, id, Provide, ProvisionState::Available).await;
    let signs = signs(&cloud, id).await;
    assert_eq!(
        signs.iter().filter(|sign| *sign == "boot planned").count(),
        2
    );
    assert!(signs.contains(&"boot failed".to_owned()));
    assert_sound(&cloud, id, "by PXE").await;
}

#[tokio::test]
async fn a_server_that_never_calls_ends_with_the_story_of_its_boots() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    dead(&cloud, &[BootDevice::Cdrom, BootDevice::Network]);
    let node = through(&cloud, id, Provide, ProvisionState::CleanFailed).await;
    let why = node.last_error.unwrap();
    for part in [
        "virtual media",
        "PXE",
        "did not call within 900 s",
        "boot timeline",
    ] {
        assert!(why.contains(part), "{why}");
    }
    assert!(node.boot.is_none() && node.agent.is_none() && node.secrets.is_empty());
    assert_sound(&cloud, id, "nobody called").await;
}

#[tokio::test]
async fn a_bmc_that_lacks_a_way_is_asked_for_the_next() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    let machine = cloud.machines.get(&id.to_string());
    let lacks = BmcError::Lacks {
        bmc: "sim".to_owned(),
        capability: Capability::VirtualMedia,
    };
    machine.fail_next(Touch::Media, 1, lacks);
    through(&cloud, id, Provide, ProvisionState::Available).await;
}

/// The image was half written: the server is booted again, and it is written anew.
#[tokio::test]
async fn a_ramdisk_that_is_lost_in_the_middle_is_booted_again() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide]).await;
    let gone = BmcError::Unreachable {
        bmc: "the ramdisk".to_owned(),
        reason: "no route to host".to_owned(),
    };
    // Asked each 15 s, until it was silent for more than five minutes.
    let machine = cloud.machines.get(&id.to_string());
    machine.fail_next(Touch::Install, 22, gone);
    through(&cloud, id, Active, ProvisionState::Active).await;
    assert_eq!(machine.disks()[0].as_deref(), Some("no image"));
    let signs = signs(&cloud, id).await;
    assert_eq!(
        signs
            .iter()
            .filter(|sign| *sign == "ramdisk called")
            .count(),
        3
    );
    assert_sound(&cloud, id, "lost").await;
}

#[tokio::test]
async fn two_failed_deployments_put_a_server_into_quarantine() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide]).await;
    dead(&cloud, &[BootDevice::Cdrom, BootDevice::Network]);
    for (failures, quarantined) in [(1, false), (2, true)] {
        let node = through(&cloud, id, Active, ProvisionState::DeployFailed).await;
        assert_eq!((node.failures, node.maintenance), (failures, quarantined));
    }
    let node = node_of(&cloud, id).await;
    assert_eq!(node.fault.as_deref(), Some("deploy failure"));
    let refused = provision::set(&cloud.cx, &operator(), &Ident::id(id), wish(Active)).await;
    assert!(refused.unwrap_err().to_string().contains("maintenance"));
}

#[tokio::test]
async fn a_boot_can_be_aborted_while_its_ramdisk_is_awaited() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    ask(&cloud, id, Provide).await;
    let node = waits(&cloud, id, ProvisionState::CleanWait).await;
    let token = machine::secret(&cloud.cx, &node, "boot/token").unwrap();
    let node = through(&cloud, id, Abort, ProvisionState::CleanFailed).await;
    assert!(node.boot.is_none());
    // The ramdisk that comes too late is a stranger.
    let late = agent::lookup(&cloud.cx, &[], Some(&id.to_string()), token.as_deref()).await;
    assert!(late.is_err());
    assert_sound(&cloud, id, "aborted").await;
}

#[tokio::test]
async fn an_instance_can_be_given_up_while_it_is_deployed() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide]).await;
    ask(&cloud, id, Active).await;
    waits(&cloud, id, ProvisionState::WaitCallBack).await;
    cloud.ramdisks.dead.lock().unwrap().clear();
    through(&cloud, id, Deleted, ProvisionState::Available).await;
    assert_sound(&cloud, id, "given up").await;
}

#[tokio::test]
async fn only_the_ramdisk_of_this_boot_is_told_the_token_and_only_once() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    ask(&cloud, id, Provide).await;
    let node = waits(&cloud, id, ProvisionState::CleanWait).await;
    assert_eq!(node.boot.as_ref().unwrap().method, BootMethod::VirtualMedia);
    let token = machine::secret(&cloud.cx, &node, "boot/token").unwrap();
    let text = id.to_string();
    let look_up =
        async |token: Option<&str>| agent::lookup(&cloud.cx, &[], Some(&text), token).await;
    for wrong in [None, Some("guessed")] {
        let refused = look_up(wrong).await.err().unwrap().to_string();
        assert!(refused.contains("another one-time token"), "{refused}");
    }
    assert!(look_up(token.as_deref()).await.unwrap().token.is_some());
    let refused = look_up(token.as_deref()).await.err().unwrap().to_string();
    assert!(refused.contains("used before"), "{refused}");
}

/// Why a manageable node that was changed so is not let through a verb.
async fn refused(verb: NodeVerb, change: impl FnOnce(&mut Node)) -> String {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    let mut node = node_of(&cloud, id).await;
    change(&mut node);
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    let refused = provision::set(&cloud.cx, &operator(), &Ident::id(id), wish(verb)).await;
    let state = node_of(&cloud, id).await.provision.state;
    assert_eq!(state, ProvisionState::Manageable, "nothing began");
    refused.unwrap_err().to_string()
}

#[tokio::test]
async fn a_server_that_is_never_turned_off_is_not_booted() {
    let why = refused(Provide, |node| node.disable_power_off = true).await;
    assert!(why.contains("disable_power_off"), "{why}");
}

#[tokio::test]
async fn steps_of_an_interface_that_is_turned_off_are_not_run() {
    let none = |node: &mut Node| {
        let off = "no-bios".to_owned();
        node.interfaces.insert("bios".to_owned(), off);
    };
    let why = refused(Clean, none).await;
    assert!(
        why.contains("bios_interface") && why.contains("no-bios"),
        "{why}"
    );
}

#[tokio::test]
async fn whoever_reads_the_slots_of_a_boot_learns_nothing_that_boots() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage]).await;
    ask(&cloud, id, Provide).await;
    let node = waits(&cloud, id, ProvisionState::CleanWait).await;
    assert_eq!(node.boot.unwrap().method, BootMethod::VirtualMedia);
    let slots = management::media(&cloud.cx, &operator(), &Ident::id(id)).await;
    let images: Vec<_> = slots
        .unwrap()
        .into_iter()
        .filter_map(|slot| slot.image)
        .collect();
    assert_eq!(images, [machine::HIDDEN], "what is in it is not told");
}
