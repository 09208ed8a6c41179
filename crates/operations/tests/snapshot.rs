//! Images and backups of instances: disturbed at every point, overtaken by other commands, rotated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_host::{HostError, Power};
use corten_iam::actor::{Actor, Scope};
use corten_model::ids::{DomainId, ImageId, InstanceId, ProjectId};
use corten_model::lifecycle::Command;
use corten_model::refusal::Reason;
use corten_operations::image;
use corten_operations::instance::capture::{NewCapture, create_image};
use corten_operations::instance::{command, edit};
use corten_operations::snapshot_instance::Backup;
use corten_sim::TaskKind;
use corten_store::images::{Image, ImageStatus, Visibility, members};
use corten_store::operations::{self, Filter, Status};
use corten_store::record::{Direction, Query};
use corten_store::{Failure, instances, transitions};
use harness::{Cloud, Disturbance, member, survive_everything, visible};

fn admin() -> Actor {
    let scope = Scope::Project {
        id: ProjectId::from("admin"),
        domain_id: DomainId::from("default"),
    };
    Actor {
        scope,
        roles: ["admin", "manager", "member", "reader"]
            .map(str::to_owned)
            .into(),
        ..member()
    }
}

fn named(name: &str) -> NewCapture {
    NewCapture {
        name: name.to_owned(),
        ..NewCapture::default()
    }
}

fn daily(name: &str, rotation: u32) -> NewCapture {
    let backup_type = "daily".to_owned();
    NewCapture {
        backup: Some(Backup {
            backup_type,
            rotation,
        }),
        ..named(name)
    }
}

async fn take(cloud: &Cloud, id: InstanceId, new: NewCapture) -> ImageId {
    create_image(&cloud.cx, &member(), id, new).await.unwrap()
}

async fn refused(cloud: &Cloud, id: InstanceId) -> Reason {
    match create_image(&cloud.cx, &member(), id, named("snap")).await {
        Err(Failure::Refused(refusal)) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

async fn row(cloud: &Cloud, id: ImageId) -> Option<Image> {
    corten_store::images::get(&mut cloud.store.read().await.unwrap(), id)
        .await
        .unwrap()
}

/// The names of all images but the one that instances are made from.
async fn names(cloud: &Cloud) -> Vec<String> {
    let mut tx = cloud.store.read().await.unwrap();
    let all: Vec<Image> = Query::new()
        .order_by("name", Direction::Ascending)
        .all(&mut tx)
        .await
        .unwrap();
    all.into_iter()
        .filter(|image| image.id != harness::image_id())
        .filter_map(|image| image.name)
        .collect()
}

/// How many moments the operation that `ask` starts has.
async fn count_moments(ask: impl AsyncFn(&Cloud, InstanceId)) -> usize {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    cloud.forget_moments();
    ask(&cloud, id).await;
    cloud.drain().await;
    cloud.moments().len()
}

/// Runs `overtake` at every moment at which a snapshot can be interrupted, and everything to its end.
async fn overtaken(
    overtake: impl AsyncFn(&Cloud, InstanceId, ImageId),
    check: impl AsyncFn(&Cloud, InstanceId, ImageId),
) {
    let moments = count_moments(async |cloud, id| {
        take(cloud, id, named("snap")).await;
    })
    .await;
    assert!(moments >= 6, "a snapshot has more than {moments} moments");
    // The last is after the end.
    for moment in 0..moments - 1 {
        let cloud = Cloud::open().await;
        let id = cloud.running().await;
        cloud.plan(moment, Disturbance::Kill);
        let image = take(&cloud, id, named("snap")).await;
        cloud.run_until_killed().await;
        overtake(&cloud, id, image).await;
        cloud.drain().await;
        cloud
            .assert_nothing_leaked(&format!("overtaken at moment {moment}"))
            .await;
        check(&cloud, id, image).await;
    }
}

#[tokio::test]
async fn a_snapshot_survives_everything() {
    let ask = async |cloud: &Cloud, id| {
        take(cloud, id, named("snap")).await;
    };
    survive_everything(async |cloud| cloud.running().await, ask).await;
}

#[tokio::test]
async fn a_backup_survives_everything() {
    let prepare = async |cloud: &Cloud| {
        let id = cloud.running().await;
        take(cloud, id, daily("first", 1)).await;
        cloud.drain().await;
        id
    };
    let ask = async |cloud: &Cloud, id| {
        take(cloud, id, daily("second", 1)).await;
    };
    survive_everything(prepare, ask).await;
}

/// K13, K14 and the rest of the way; the guest runs on.
#[tokio::test]
async fn a_snapshot_is_an_image_with_the_bytes_and_the_origin_of_the_instance() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let new = NewCapture {
        metadata: [("colour".to_owned(), "red".to_owned())].into(),
        ..named("snap")
    };
    let image = take(&cloud, id, new).await;
    let queued = row(&cloud, image).await.unwrap();
    assert_eq!(
        queued.status,
        ImageStatus::Queued,
        "it is there from the moment of acceptance"
    );
    cloud.drain().await;
    let done = row(&cloud, image).await.unwrap();
    assert_eq!(done.status, ImageStatus::Active);
    assert_eq!(done.visibility, Visibility::Private);
    assert_eq!(done.owner, Some(ProjectId::from("p")));
    assert_eq!(done.disk_format.as_deref(), Some("qcow2"));
    assert_eq!(
        done.min_disk_gib,
        cloud.instance(id).await.intent.flavor.root_gib
    );
    let property = |name: &str| done.properties.get(name).map(String::as_str);
    assert_eq!(property("instance_uuid"), Some(id.to_string().as_str()));
    assert_eq!(
        property("base_image_ref"),
        Some(harness::image_id().to_string().as_str())
    );
    assert_eq!(property("image_type"), Some("snapshot"));
    assert_eq!(property("user_id"), Some("u"));
    assert_eq!(property("colour"), Some("red"));
    let file = std::fs::metadata(image::file_path(&cloud.cx, image)).unwrap();
    assert_eq!(done.content.unwrap().size_bytes, file.len() as i64);
    let mut tx = cloud.store.read().await.unwrap();
    let log = transitions::of_subject(&mut tx, instances::SUBJECT, &id.to_string())
        .await
        .unwrap();
    let states: Vec<_> = log
        .iter()
        .map(|transition| transition.to.as_str())
        .collect();
    let wanted = [
        "Image_snapshot_pending",
        "Image_snapshot",
        "Image_pending_upload",
        "Image_uploading",
        "Active",
    ];
    assert!(states.ends_with(&wanted), "{states:?}");
    assert_eq!(
        cloud.end(id).await.guest.unwrap(),
        format!("{:?}, rescued false", Power::Running)
    );
}

#[tokio::test]
async fn a_second_capture_waits_for_the_first_and_a_lock_does_not_matter() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    edit::lock(&cloud.cx, &admin(), id, None).await.unwrap();
    take(&cloud, id, named("snap")).await;
    assert_eq!(refused(&cloud, id).await, Reason::Conflict);
    assert_eq!(
        names(&cloud).await,
        ["snap"],
        "a refused capture leaves no image"
    );
    cloud.drain().await;
    edit::unlock(&cloud.cx, &admin(), id).await.unwrap();
    for (before, stays) in [
        (Command::Stop, "Stopped"),
        (Command::Start, "Active"),
        (Command::Pause, "Paused"),
    ] {
        cloud.simple(id, before).await;
        cloud.drain().await;
        take(&cloud, id, named(before.as_str())).await;
        cloud.drain().await;
        assert_eq!(cloud.end(id).await.state, stays);
    }
    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    assert_eq!(refused(&cloud, id).await, Reason::NotFound);
    assert_eq!(
        names(&cloud).await,
        ["pause", "snap", "start", "stop"],
        "images outlive their instance"
    );
}

#[tokio::test]
async fn an_administrators_image_of_anothers_instance_is_shared_with_its_owner() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    let image = create_image(&cloud.cx, &admin(), id, named("snap"))
        .await
        .unwrap();
    cloud.drain().await;
    let done = row(&cloud, image).await.unwrap();
    assert_eq!(
        (done.visibility, done.owner),
        (Visibility::Shared, Some(ProjectId::from("admin")))
    );
    let mut tx = cloud.store.read().await.unwrap();
    let shared_with = members::of_image(&mut tx, image).await.unwrap();
    assert_eq!(shared_with[0].member, ProjectId::from("p"));
    assert!(image::get(&cloud.cx, &member(), image).await.is_ok());
}

#[tokio::test]
async fn a_backup_drops_the_oldest_of_its_type_beyond_the_rotation() {
    let cloud = Cloud::open().await;
    let (id, other) = (cloud.running().await, cloud.running().await);
    let weekly = NewCapture {
        backup: Some(Backup {
            backup_type: "weekly".to_owned(),
            rotation: 1,
        }),
        ..named("weekly")
    };
    for (instance, new) in [
        (id, named("snapshot")),
        (id, weekly),
        (other, daily("other", 1)),
        (id, daily("1", 2)),
        (id, daily("2", 2)),
        (id, daily("3", 2)),
    ] {
        take(&cloud, instance, new).await;
        cloud.drain().await;
        cloud.clock.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!(
        names(&cloud).await,
        ["2", "3", "other", "snapshot", "weekly"]
    );
    take(&cloud, id, daily("4", 0)).await;
    cloud.drain().await;
    assert_eq!(
        names(&cloud).await,
        ["other", "snapshot", "weekly"],
        "a rotation of 0 keeps none"
    );
    cloud.assert_nothing_leaked("after all backups").await;
}

#[tokio::test]
async fn deleting_the_image_on_the_way_ends_the_work_without_harm() {
    let delete = async |cloud: &Cloud, _, image_id| {
        image::delete(&cloud.cx, &member(), image_id).await.unwrap()
    };
    overtaken(delete, async |cloud, id, image| {
        assert_eq!(row(cloud, image).await, None);
        let end = cloud.end(id).await;
        assert_eq!((end.state, end.fault), ("Active", false));
    })
    .await;
}

#[tokio::test]
async fn deleting_the_instance_on_the_way_takes_the_unfinished_image_with_it() {
    let delete =
        async |cloud: &Cloud, id, _| command::delete(&cloud.cx, &member(), id).await.unwrap();
    overtaken(delete, async |cloud, id, image| {
        assert!(!visible(cloud, id).await);
        let left = row(cloud, image).await;
        assert!(left.is_none_or(|image| image.status == ImageStatus::Active));
    })
    .await;
}

#[tokio::test]
async fn an_administrators_reset_takes_the_unfinished_image_away() {
    let reset = async |cloud: &Cloud, id, _| {
        command::reset_state(&cloud.cx, &admin(), id, true)
            .await
            .unwrap()
    };
    overtaken(reset, async |cloud, id, _| {
        assert_eq!(cloud.end(id).await.state, "Active");
        take(cloud, id, named("next")).await;
        cloud.drain().await;
        cloud.assert_nothing_leaked("after the next snapshot").await;
    })
    .await;
}

#[tokio::test]
async fn a_host_that_cannot_leaves_the_instance_as_it_was_and_no_image() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    for (_, sim) in &cloud.hosts {
        let full = HostError::DiskFull {
            path: "/images".into(),
            needed: None,
            available: 0,
        };
        sim.fail_next(TaskKind::Snapshot, 1000, full);
    }
    take(&cloud, id, named("snap")).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.state, "Active");
    assert_eq!(names(&cloud).await, [""; 0]);
    let mut tx = cloud.store.read().await.unwrap();
    let subject = Some((instances::SUBJECT.to_owned(), id.to_string()));
    let all = operations::list(
        &mut tx,
        Filter {
            subject,
            ..Filter::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(
        (all[0].kind.as_str(), all[0].status),
        ("snapshot_instance", Status::Failed)
    );
}
