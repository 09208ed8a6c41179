//! `kill -9` of the whole control plane in the middle of its work, with real guests: what was accepted comes to its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Cloud, Shape, guests};
use serde_json::json;
use std::time::Duration;

/// For an operation whose worker was killed: its lease has to run out first.
const RESUMED: Duration = Duration::from_secs(60);

/// How long after the 202 the control plane is killed, in milliseconds.
const MOMENTS: [u64; 6] = [0, 5, 20, 60, 150, 400];

/// Lets the control plane work for a moment, the one at which the fault comes. Nothing is waited for.
async fn moment(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_comes_to_its_end_whenever_the_control_plane_is_killed() {
    let mut cloud = Cloud::real().await;
    let admin = cloud.admin().await;
    let image = cloud.image(&admin, "sector", guests::boot_sector()).await;
    let demo = cloud.demo().await;
    let shape = Shape::new(&demo, image).await;
    let mut servers = Vec::new();
    let mut interrupted = 0;
    // Later kills hit what the earlier ones interrupted, too.
    for millis in MOMENTS {
        servers.push(
            demo.create_server(&shape, &format!("after-{millis}-ms"))
                .await,
        );
        moment(millis).await;
        cloud.kill9();
        cloud.run().await;
        interrupted +=
            usize::from(demo.server(&servers[servers.len() - 1]).await["status"] == "BUILD");
    }
    assert!(
        interrupted > 0,
        "no create was in its middle when the control plane was killed"
    );
    for id in &servers {
        demo.wait_for(id, "ACTIVE", RESUMED).await;
        guests::greeted(&demo, id).await;
        assert_eq!(
            guests::of_guest(cloud.data(), id).len(),
            1,
            "processes of {id}"
        );
    }
    assert_eq!(guests::all(cloud.data()).len(), servers.len());
    assert_eq!(guests::files(cloud.data()).len(), servers.len());
    for id in &servers {
        demo.delete(&format!("/compute/v2.1/servers/{id}")).await;
    }
    for id in &servers {
        demo.wait_until_gone(id, RESUMED).await;
    }
    guests::assert_nothing_left(&admin, cloud.data()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_and_a_delete_come_to_their_end_although_the_control_plane_is_killed() {
    let mut cloud = Cloud::real().await;
    let admin = cloud.admin().await;
    let image = cloud.image(&admin, "sector", guests::boot_sector()).await;
    let demo = cloud.demo().await;
    let shape = Shape::new(&demo, image).await;
    let id = demo.create_server(&shape, "subject").await;
    demo.wait_for(&id, "ACTIVE", RESUMED).await;

    // The guest does not listen to ACPI, so the stop lasts until its power is cut.
    for millis in [0, 30, 1000] {
        demo.act(&id, json!({"os-stop": null})).await;
        moment(millis).await;
        cloud.kill9();
        cloud.run().await;
        assert_eq!(
            demo.server(&id).await["OS-EXT-STS:task_state"],
            "powering-off",
            "it was killed before the end"
        );
        demo.wait_for(&id, "SHUTOFF", RESUMED).await;
        assert_eq!(
            guests::all(cloud.data()),
            [],
            "a process of a guest that is stopped"
        );
        demo.act(&id, json!({"os-start": null})).await;
        demo.wait_for(&id, "ACTIVE", RESUMED).await;
        assert_eq!(guests::of_guest(cloud.data(), &id).len(), 1);
    }

    let mut doomed = vec![id];
    for name in ["second", "third"] {
        let id = demo.create_server(&shape, name).await;
        demo.wait_for(&id, "ACTIVE", RESUMED).await;
        doomed.push(id);
    }
    for (id, millis) in doomed.iter().zip([0, 5, 30]) {
        demo.delete(&format!("/compute/v2.1/servers/{id}")).await;
        moment(millis).await;
        cloud.kill9();
        cloud.run().await;
    }
    for id in &doomed {
        demo.wait_until_gone(id, RESUMED).await;
    }
    guests::assert_nothing_left(&admin, cloud.data()).await;
}
