//! Migrations: what became of each change of flavor, told from the operations on its instance.
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use corten_host::HostError;
use corten_iam::actor::Actor;
use corten_model::ids::{FlavorId, InstanceId};
use corten_operations::instance::migrations::{self, Filter};
use corten_operations::instance::{command, reshape};
use corten_sim::TaskKind;
use corten_store::Failure;
use corten_store::migrations::Migration;
use harness::{Cloud, member};
use std::time::Duration;

fn admin() -> Actor {
    Actor {
        roles: ["admin", "manager", "member", "reader"]
            .map(str::to_owned)
            .into(),
        ..member()
    }
}

async fn resize(cloud: &Cloud, id: InstanceId, flavor: &str) {
    cloud.clock.advance(Duration::from_secs(1));
    reshape::resize(&cloud.cx, &member(), id, &FlavorId::from(flavor), None)
        .await
        .unwrap();
    cloud.clock.advance(Duration::from_secs(1));
}

async fn list(cloud: &Cloud, filter: &Filter) -> Vec<(Migration, &'static str)> {
    let found = migrations::list(&cloud.cx, &admin(), filter, None, 100).await;
    let statuses = found.unwrap().into_iter();
    statuses
        .map(|(migration, course)| (migration, course.status))
        .collect()
}

async fn statuses(cloud: &Cloud, filter: &Filter) -> Vec<&'static str> {
    let found = list(cloud, filter).await;
    found.into_iter().map(|(_, status)| status).collect()
}

/// K19 to K23: newest first, each with how it went.
#[tokio::test]
async fn each_resize_tells_how_it_went() {
    let cloud = Cloud::open().await;
    let all = Filter::default();
    let id = cloud.running().await;
    assert_eq!(statuses(&cloud, &all).await, [""; 0]);
    resize(&cloud, id, "2").await;
    assert_eq!(statuses(&cloud, &all).await, ["pre-migrating"]);
    cloud.drain().await;
    assert_eq!(statuses(&cloud, &all).await, ["finished"]);
    reshape::revert_resize(&cloud.cx, &member(), id)
        .await
        .unwrap();
    assert_eq!(statuses(&cloud, &all).await, ["reverting"]);
    cloud.drain().await;
    assert_eq!(statuses(&cloud, &all).await, ["reverted"]);

    resize(&cloud, id, "2").await;
    cloud.drain().await;
    reshape::confirm_resize(&cloud.cx, &member(), id)
        .await
        .unwrap();
    cloud.drain().await;
    assert_eq!(statuses(&cloud, &all).await, ["confirmed", "reverted"]);

    // What happens to the instance later is no word on a resize that is over.
    resize(&cloud, id, "3").await;
    cloud.drain().await;
    command::delete(&cloud.cx, &member(), id).await.unwrap();
    cloud.drain().await;
    assert_eq!(
        statuses(&cloud, &all).await,
        ["confirmed", "confirmed", "reverted"]
    );
}

#[tokio::test]
async fn a_resize_that_failed_is_an_error_and_can_be_searched_for() {
    let cloud = Cloud::open().await;
    let (broken, sound) = (cloud.running().await, cloud.running().await);
    for (_, host) in &cloud.hosts {
        // No use in trying again: no time passes.
        let error = HostError::InvalidSpec {
            field: "vcpus".to_owned(),
            value: "2".to_owned(),
            rule: "a test".to_owned(),
        };
        host.fail_next(TaskKind::Reshape, 1, error);
    }
    resize(&cloud, broken, "2").await;
    cloud.drain().await;
    cloud.hosts.iter().for_each(|(_, host)| host.heal());
    resize(&cloud, sound, "2").await;
    cloud.drain().await;

    assert_eq!(
        statuses(&cloud, &Filter::default()).await,
        ["finished", "error"]
    );
    let only = |status: &str| Filter {
        status: Some(status.to_owned()),
        ..Filter::default()
    };
    let found = list(&cloud, &only("error")).await;
    assert_eq!(found.len(), 1);
    let Migration {
        instance_id,
        number,
        host,
        old_flavor,
        new_flavor,
        ..
    } = &found[0].0;
    assert_eq!((*instance_id, *number), (broken, 1));
    assert!(old_flavor.is_some() && new_flavor.is_some() && old_flavor != new_flavor);
    assert!(host.starts_with("sim-"), "{host}");
    let of_sound = Filter {
        instance_id: Some(sound.to_string()),
        ..Filter::default()
    };
    assert_eq!(statuses(&cloud, &of_sound).await, ["finished"]);
    let late = Filter {
        changed_since: Some(cloud.cx.now().plus(Duration::from_secs(1))),
        ..Filter::default()
    };
    assert_eq!(statuses(&cloud, &late).await, [""; 0]);
}

#[tokio::test]
async fn pages_follow_each_other_and_tenants_see_none() {
    let cloud = Cloud::open().await;
    let id = cloud.running().await;
    for _ in 0..3 {
        resize(&cloud, id, "2").await;
        cloud.drain().await;
        reshape::revert_resize(&cloud.cx, &member(), id)
            .await
            .unwrap();
        cloud.drain().await;
    }
    let all = Filter::default();
    let mut numbers = Vec::new();
    let mut marker = None;
    loop {
        let page = migrations::list(&cloud.cx, &admin(), &all, marker.as_deref(), 2)
            .await
            .unwrap();
        let Some((last, _)) = page.last() else { break };
        marker = Some(last.id.to_string());
        numbers.extend(page.iter().map(|(migration, _)| migration.number));
    }
    assert_eq!(numbers, [3, 2, 1]);
    let unknown = migrations::list(&cloud.cx, &admin(), &all, Some("nothing"), 2).await;
    assert!(matches!(unknown, Err(Failure::Refused(_))), "{unknown:?}");
    let refused = migrations::list(&cloud.cx, &member(), &all, None, 2).await;
    assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
}
