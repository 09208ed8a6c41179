//! Every operation on a bare-metal node, disturbed at every point of every step in every way (K145, K150, K152, K157).
//! Whatever happens: the node rests in a state of its life cycle, nothing runs any more, and it is available only with
//! the proof of a wipe and blank disks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_model::lifecycle::node::{NodePowerTarget, NodeVerb, ProvisionState};
use corten_operations::metal::{Ident, power_node, provision};
use harness::Cloud;
use harness::metal::{after, ask, assert_sound, enroll, firmware, node_of, operator, survive};

use NodeVerb::{
    Active, Adopt, Clean, Deleted, Inspect, Manage, Provide, Rebuild, Rescue, Service, Unrescue,
};

/// Once for a server that is worked on at once, and once for one whose ramdisk is booted first.
async fn verb_after(before: &[NodeVerb], verb: NodeVerb) {
    for booted in [false, true] {
        disturbed(booted, before, verb).await;
    }
}

async fn disturbed(booted: bool, before: &[NodeVerb], verb: NodeVerb) {
    survive(
        async |cloud| after(cloud, booted, before).await,
        async |cloud, id| ask(cloud, id, verb).await,
    )
    .await;
}

#[tokio::test]
async fn manage() {
    verb_after(&[], Manage).await;
}

#[tokio::test]
async fn inspect() {
    verb_after(&[Manage], Inspect).await;
}

#[tokio::test]
async fn provide() {
    for booted in [false, true] {
        let prepare = async |cloud: &Cloud| {
            let id = after(cloud, booted, &[Manage]).await;
            cloud.machines.get(&id.to_string()).leave("a tenant's data");
            id
        };
        survive(prepare, async |cloud, id| ask(cloud, id, Provide).await).await;
    }
}

#[tokio::test]
async fn clean_by_hand() {
    verb_after(&[Manage], Clean).await;
}

/// A worker that dies, or is held, at any point has no component flashed a second time.
#[tokio::test]
async fn install_firmware() {
    for (booted, before, verb) in [
        (true, &[Manage][..], Clean),
        (false, &[Manage, Provide, Active][..], Service),
    ] {
        survive(
            async |cloud| after(cloud, booted, before).await,
            async |cloud, id| {
                let images = [("bmc", "bmc-2.1.bin"), ("bios", "bios-3.0.bin")];
                let wish = firmware(verb, &images);
                provision::set(&cloud.cx, &operator(), &Ident::id(id), wish)
                    .await
                    .unwrap();
            },
        )
        .await;
    }
}

#[tokio::test]
async fn adopt() {
    verb_after(&[Manage], Adopt).await;
}

#[tokio::test]
async fn deploy() {
    verb_after(&[Manage, Provide], Active).await;
}

#[tokio::test]
async fn rebuild() {
    verb_after(&[Manage, Provide, Active], Rebuild).await;
}

#[tokio::test]
async fn undeploy() {
    verb_after(&[Manage, Provide, Active], Deleted).await;
}

#[tokio::test]
async fn rescue() {
    verb_after(&[Manage, Provide, Active], Rescue).await;
}

#[tokio::test]
async fn unrescue() {
    verb_after(&[Manage, Provide, Active, Rescue], Unrescue).await;
}

#[tokio::test]
async fn service() {
    verb_after(&[Manage, Provide, Active], Service).await;
}

#[tokio::test]
async fn power_on() {
    let ask = async |cloud: &Cloud, id| {
        let ident = Ident::id(id);
        power_node::set(&cloud.cx, &operator(), &ident, NodePowerTarget::On, None)
            .await
            .unwrap();
    };
    survive(async |cloud| enroll(cloud, false).await, ask).await;
}

/// A disk that cannot be wiped keeps its server from everybody.
#[tokio::test]
async fn a_server_that_cannot_be_wiped_is_given_to_nobody() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, false, &[Manage]).await;
    let machine = cloud.machines.get(&id.to_string());
    machine.leave("a tenant's data");
    let broken = corten_bmc::BmcError::Refused {
        bmc: "sim".to_owned(),
        request: "wipe".to_owned(),
        status: None,
        message: "the disk is dead".to_owned(),
    };
    machine.fail_next(corten_sim::Touch::Wipe, 100, broken);
    ask(&cloud, id, Provide).await;
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::CleanFailed);
    assert!(node.maintenance && node.wiped.is_none());
    assert!(node.last_error.unwrap().contains("the disk is dead"));
    assert_sound(&cloud, id, "a dead disk").await;
}
