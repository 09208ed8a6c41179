//! Shelve, offload and unshelve as a user and an operator notice them (K2, K15, K16).
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use corten_host::HostError;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::VmState;
use corten_model::refusal::Reason;
use corten_operations::image;
use corten_operations::instance::command;
use corten_operations::instance::reshape::{self, Unshelve};
use corten_sim::TaskKind;
use corten_store::hosts::{self, Resources};
use corten_store::{Failure, record};
use harness::{Cloud, IMAGE_SHA512, member};
use std::time::Duration;

async fn shelve(cloud: &Cloud, id: InstanceId) {
    reshape::shelve(&cloud.cx, &member(), id).await.unwrap();
}

async fn unshelve(cloud: &Cloud, id: InstanceId) {
    let anywhere = Unshelve::default();
    reshape::unshelve(&cloud.cx, &member(), id, anywhere)
        .await
        .unwrap();
}

async fn shelved(cloud: &Cloud) -> InstanceId {
    let id = cloud.running().await;
    shelve(cloud, id).await;
    cloud.drain().await;
    id
}

async fn held(cloud: &Cloud, id: InstanceId) -> Vec<Resources> {
    let mut tx = cloud.store.read().await.unwrap();
    let allocations = hosts::allocations_of(&mut tx, id).await.unwrap();
    allocations.into_iter().map(|row| row.resources).collect()
}

/// The refusal that a rule answers with.
fn refused(outcome: Result<(), Failure>) -> (Reason, String) {
    match outcome {
        Err(Failure::Refused(refusal)) => (refusal.reason, refusal.message),
        other => panic!("a refusal was expected: {other:?}"),
    }
}

/// K2, K15, K16: shelved it holds no host and no capacity; its disk is an image until it is back.
#[tokio::test]
async fn a_shelved_instance_gives_everything_back_but_its_disk() {
    let cloud = Cloud::open().await;
    let id = shelved(&cloud).await;
    let instance = cloud.instance(id).await;
    assert_eq!(cloud.end(id).await.state, "Shelved_offloaded");
    assert_eq!((instance.host_id, instance.host_name), (None, None));
    assert_eq!(held(&cloud, id).await, []);
    assert!(
        cloud
            .hosts
            .iter()
            .all(|(_, sim)| sim.leaks().guests.is_empty())
    );
    let image_id = instance.shelved_image_id.unwrap();
    let shelved_image = image::get(&cloud.cx, &member(), image_id).await.unwrap();
    assert_eq!(shelved_image.name.as_deref(), Some("guest-shelved"));
    let file = image::file_path(&cloud.cx, image_id);
    assert!(file.exists());

    unshelve(&cloud, id).await;
    cloud.drain().await;
    let back = cloud.instance(id).await;
    assert_eq!(cloud.end(id).await.state, "Active");
    assert_eq!(back.shelved_image_id, None);
    assert_eq!(
        back.intent, instance.intent,
        "key, metadata and the rest are as they were"
    );
    assert!(!file.exists(), "the image was only for the way back");
    assert!(image::get(&cloud.cx, &member(), image_id).await.is_err());
    let hash = shelved_image.content.unwrap().sha512;
    assert!(
        cached(&cloud, &hash),
        "it was built from the image it was shelved to, and stands on it"
    );
    cloud.assert_nothing_leaked("back").await;

    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    assert!(!cached(&cloud, &hash), "no guest stands on it any more");
    let original = IMAGE_SHA512.repeat(32);
    assert!(cached(&cloud, &original), "what is an image still is kept");
}

fn cached(cloud: &Cloud, sha512: &str) -> bool {
    let mut hosts = cloud.hosts.iter();
    hosts.any(|(_, sim)| sim.leaks().images.iter().any(|image| image == sha512))
}

/// A host that could not bring it back does not keep the image for it.
#[tokio::test]
async fn a_deleted_shelved_instance_leaves_no_cached_image() {
    let cloud = Cloud::open().await;
    let id = shelved(&cloud).await;
    let image_id = cloud.instance(id).await.shelved_image_id.unwrap();
    let image = image::get(&cloud.cx, &member(), image_id).await.unwrap();
    let hash = image.content.unwrap().sha512;
    for (_, sim) in &cloud.hosts {
        let error = HostError::Internal {
            doing: "start".to_owned(),
            reason: "a test".to_owned(),
        };
        sim.fail_next(TaskKind::Start, 100, error);
    }
    unshelve(&cloud, id).await;
    cloud.drain().await;
    assert!(cached(&cloud, &hash), "an unshelve was tried");
    cloud.hosts.iter().for_each(|(_, sim)| sim.heal());
    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    assert!(!cached(&cloud, &hash));
}

#[tokio::test]
async fn an_unshelve_without_a_host_leaves_it_shelved_and_says_why() {
    let cloud = Cloud::open().await;
    let id = shelved(&cloud).await;
    let fail_over = async |forced_down: bool| {
        let mut tx = cloud.store.write().await.unwrap();
        for (host_id, _) in &cloud.hosts {
            let row: hosts::Host = record::get(&mut tx, host_id).await.unwrap().unwrap();
            let mut service: corten_store::services::Service =
                record::lock(&mut tx, row.service_id)
                    .await
                    .unwrap()
                    .unwrap();
            service.forced_down = forced_down;
            record::update(&mut tx, &service).await.unwrap();
        }
        tx.commit().await.unwrap();
    };
    fail_over(true).await;
    unshelve(&cloud, id).await;
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    assert_eq!(cloud.end(id).await.state, "Shelved_offloaded");
    let fault = instance.fault.unwrap().details;
    assert!(
        fault.contains("No valid host") && fault.contains("ComputeFilter"),
        "{fault}"
    );
    cloud.assert_nothing_leaked("no host").await;

    fail_over(false).await;
    unshelve(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Active");
}

/// B4 row 8b: without the image there is no way back.
#[tokio::test]
async fn an_unshelve_without_its_image_is_an_error() {
    let cloud = Cloud::open().await;
    let id = shelved(&cloud).await;
    let image_id = cloud.instance(id).await.shelved_image_id.unwrap();
    image::delete(&cloud.cx, &member(), image_id).await.unwrap();
    unshelve(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Error");
    let fault = cloud.instance(id).await.fault.unwrap().message;
    assert!(fault.contains("disk is lost"), "{fault}");
    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    cloud.assert_nothing_leaked("deleted").await;
}

#[tokio::test]
async fn another_host_is_tried_when_one_cannot_build_it() {
    let cloud = Cloud::open().await;
    let id = shelved(&cloud).await;
    for (_, sim) in &cloud.hosts {
        let error = HostError::ImageNotCached {
            sha512: "00".to_owned(),
        };
        sim.fail_next(TaskKind::CreateGuest, 1, error);
    }
    unshelve(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(
        cloud.end(id).await.state,
        "Shelved_offloaded",
        "both hosts failed once"
    );
    cloud.assert_nothing_leaked("both failed").await;
    let (_, sim) = &cloud.hosts[0];
    let error = HostError::ImageNotCached {
        sha512: "00".to_owned(),
    };
    sim.fail_next(TaskKind::CreateGuest, 1, error);
    unshelve(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Active");
    assert_eq!(cloud.instance(id).await.host_id, Some(cloud.hosts[1].0));
}

/// B4 row 6a: an upload that fails leaves the server powered off, and no image.
#[tokio::test]
async fn a_failed_capture_leaves_the_instance_stopped_on_its_host() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    for (_, sim) in &cloud.hosts {
        let error = HostError::ImageNotCached {
            sha512: "00".to_owned(),
        };
        sim.fail_next(TaskKind::Snapshot, 1, error);
    }
    shelve(&cloud, id).await;
    cloud.drain().await;
    let instance = cloud.instance(id).await;
    assert_eq!(cloud.end(id).await.state, "Stopped");
    assert!(instance.host_id.is_some() && instance.shelved_image_id.is_none());
    cloud.assert_nothing_leaked("not shelved").await;
}

/// Shelved, but the host did not let go of the guest: it can be powered on there, offloaded by hand, or by itself.
#[tokio::test]
async fn what_could_not_be_offloaded_goes_both_ways() {
    let shelved_on_its_host = async |cloud: &Cloud| {
        let id = cloud.running().await;
        for (_, sim) in &cloud.hosts {
            let error = HostError::ImageNotCached {
                sha512: "00".to_owned(),
            };
            sim.fail_next(TaskKind::DeleteGuest, 1, error);
        }
        shelve(cloud, id).await;
        cloud.drain().await;
        for (_, sim) in &cloud.hosts {
            sim.heal();
        }
        assert_eq!(cloud.instance(id).await.state.vm, VmState::Shelved);
        cloud.assert_nothing_leaked("shelved").await;
        id
    };
    let cloud = Cloud::open().await;
    let id = shelved_on_its_host(&cloud).await;
    let zone = Unshelve {
        availability_zone: Some(None),
        host: None,
    };
    let refusal = reshape::unshelve(&cloud.cx, &member(), id, zone).await;
    assert_eq!(refused(refusal).0, Reason::Conflict);
    unshelve(&cloud, id).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Active");
    cloud.assert_nothing_leaked("powered on").await;

    let cloud = Cloud::open().await;
    let id = shelved_on_its_host(&cloud).await;
    let refusal = reshape::offload(&cloud.cx, &member(), id).await;
    assert_eq!(refused(refusal).0, Reason::Forbidden, "for administrators");
    cloud.clock.advance(Duration::from_secs(3600));
    cloud.drain().await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Shelved_offloaded");
    cloud.assert_nothing_leaked("offloaded by itself").await;
}

#[tokio::test]
async fn a_protected_image_outlives_its_server() {
    let cloud = Cloud::open().await;
    let id = shelved(&cloud).await;
    let image_id = cloud.instance(id).await.shelved_image_id.unwrap();
    let mut tx = cloud.store.write().await.unwrap();
    let mut row = corten_store::images::lock(&mut tx, image_id)
        .await
        .unwrap()
        .unwrap();
    row.protected = true;
    row.name = Some("kept".to_owned());
    corten_store::images::update(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    assert!(image::get(&cloud.cx, &member(), image_id).await.is_ok());
    assert!(image::file_path(&cloud.cx, image_id).exists());
}
