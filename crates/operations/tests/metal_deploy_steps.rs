//! What a deployment does around the image, whose fault it is when it fails, and how an instance gets its server back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_bmc::BmcError;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_operations::metal::Ident;
use corten_operations::metal::provision::{self, Wish};
use corten_operations::metal::validate;
use corten_sim::Touch;
use corten_store::Failure;
use corten_store::metal::node::PowerSeen;
use harness::Cloud;
use harness::metal::{after, ask, assert_sound, change, node_of, operator, with_step};
use serde_json::json;

use NodeVerb::{Abort, Active, Deleted, Manage, Provide, Service, Unhold};

async fn set(cloud: &Cloud, id: NodeId, wish: Wish) -> Result<(), Failure> {
    provision::set(&cloud.cx, &operator(), &Ident::id(id), wish).await
}

/// A step with its own priority.
fn step(verb: NodeVerb, interface: &str, name: &str, priority: u32) -> Wish {
    let mut wish = with_step(verb, interface, name, json!({}));
    for step in wish.steps.iter_mut().flatten() {
        step.priority = priority;
    }
    wish
}

/// Whether the first disk has an image.
fn has_image(cloud: &Cloud, id: NodeId) -> bool {
    cloud.machines.get(&id.to_string()).disks()[0].is_some()
}

#[tokio::test]
async fn a_step_above_80_comes_before_the_image_and_may_erase() {
    for booted in [false, true] {
        let cloud = Cloud::open().await;
        let id = after(&cloud, booted, &[Manage, Provide]).await;
        let erase = step(Active, "deploy", "erase_devices", 90);
        set(&cloud, id, erase).await.unwrap();
        cloud.drain().await;
        let node = node_of(&cloud, id).await;
        assert_eq!(
            node.provision.state,
            ProvisionState::Active,
            "{:?}",
            node.last_error
        );
        assert!(
            has_image(&cloud, id),
            "the image was written after the erasure"
        );
        assert_eq!(
            node.wiped, None,
            "a disk with an image on it is not a wiped one"
        );
        assert_sound(&cloud, id, "erased before").await;
    }
}

#[tokio::test]
async fn a_step_that_would_destroy_what_the_verb_leaves_is_refused_with_the_rule() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, false, &[Manage, Provide]).await;
    for (interface, name) in [
        ("deploy", "erase_devices"),
        ("raid", "create_configuration"),
    ] {
        let late = set(&cloud, id, step(Active, interface, name, 80)).await;
        let why = late.unwrap_err().to_string();
        assert!(why.contains("priority above 80"), "{why}");
        assert!(why.contains(&format!("{interface}.{name}")), "{why}");
    }
    assert_eq!(
        node_of(&cloud, id).await.provision.state,
        ProvisionState::Available
    );
    ask(&cloud, id, Active).await;
    cloud.drain().await;
    let wipe = set(&cloud, id, step(Service, "deploy", "erase_devices", 0)).await;
    let why = wipe.unwrap_err().to_string();
    assert!(why.contains("Delete the instance"), "{why}");
    assert!(has_image(&cloud, id));
}

#[tokio::test]
async fn a_person_may_hold_a_deployment_before_the_image_and_after_it() {
    for priority in [90, 50] {
        let cloud = Cloud::open().await;
        let id = after(&cloud, true, &[Manage, Provide]).await;
        let hold = step(Active, "deploy", "hold", priority);
        set(&cloud, id, hold).await.unwrap();
        cloud.drain().await;
        let node = node_of(&cloud, id).await;
        assert_eq!(node.provision.state, ProvisionState::DeployHold);
        assert_eq!(has_image(&cloud, id), priority == 50);
        ask(&cloud, id, Unhold).await;
        cloud.drain().await;
        let node = node_of(&cloud, id).await;
        assert_eq!(
            node.provision.state,
            ProvisionState::Active,
            "{:?}",
            node.last_error
        );
        assert!(has_image(&cloud, id), "held at {priority}");
    }
}

#[tokio::test]
async fn an_image_at_fault_puts_no_server_into_quarantine_and_a_dead_disk_does() {
    let image = BmcError::ImageUnfit {
        bmc: "sim".to_owned(),
        message: "the image does not have its checksum".to_owned(),
    };
    let disk = BmcError::TaskFailed {
        bmc: "sim".to_owned(),
        task: "standby.prepare_image".to_owned(),
        state: "failed".to_owned(),
        message: "the disk is dead".to_owned(),
    };
    for (error, quarantined) in [(image, false), (disk, true)] {
        let cloud = Cloud::open().await;
        let id = after(&cloud, false, &[Manage, Provide]).await;
        for _ in 0..3 {
            let machine = cloud.machines.get(&id.to_string());
            machine.fail_next(Touch::Install, 1, error.clone());
            let _ = set(&cloud, id, harness::metal::wish(Active)).await;
            cloud.drain().await;
        }
        let node = node_of(&cloud, id).await;
        assert_eq!(node.provision.state, ProvisionState::DeployFailed);
        assert_eq!(node.maintenance, quarantined, "{:?}", node.last_error);
        assert_eq!(node.image_unfit, !quarantined);
        let why = node.last_error.unwrap_or_default();
        assert!(why.contains("checksum") || why.contains("dead"), "{why}");
    }
}

#[tokio::test]
async fn a_wipe_leaves_no_array_and_no_word_of_one() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide, Active]).await;
    change(&cloud, id, |node| {
        let disks = json!([{"raid_level": "1", "size_gb": 8}]);
        node.raid_config.insert("logical_disks".to_owned(), disks);
    })
    .await;
    ask(&cloud, id, Deleted).await;
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Available);
    assert!(node.raid_config.is_empty(), "{:?}", node.raid_config);
}

#[tokio::test]
async fn a_retired_server_is_wiped_and_not_offered_again() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide, Active]).await;
    change(&cloud, id, |node| node.retired = true).await;
    ask(&cloud, id, Deleted).await;
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Manageable);
    assert!(node.wiped.is_some());
    assert!(!has_image(&cloud, id));
}

#[tokio::test]
async fn an_aborted_service_that_failed_gives_the_instance_its_server_back() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide, Active]).await;
    let machine = cloud.machines.get(&id.to_string());
    machine.lose_settings();
    ask(&cloud, id, Service).await;
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::ServiceFailed);
    assert_ne!(
        machine.booted_from(),
        Some(corten_bmc::BootDevice::Disk),
        "its own system does not run"
    );
    ask(&cloud, id, Abort).await;
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Active);
    assert_eq!(node.power.seen, Some(PowerSeen::On));
    assert_eq!(
        machine.booted_from(),
        Some(corten_bmc::BootDevice::Disk),
        "its own system runs again"
    );
    assert_sound(&cloud, id, "aborted").await;
}

#[tokio::test]
async fn validation_says_what_a_deployment_lacks() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, true, &[Manage, Provide]).await;
    let verdicts = validate::validate(&cloud.cx, &operator(), &Ident::id(id))
        .await
        .unwrap();
    let of = |kind: &str| {
        let found = verdicts.iter().find(|(name, _)| *name == kind);
        found.and_then(|(_, problem)| problem.clone())
    };
    assert_eq!(of("deploy"), None);
    assert_eq!(of("power"), None);
    let boot = of("boot").unwrap();
    assert!(boot.contains("has no port with pxe_enabled"), "{boot}");
}
