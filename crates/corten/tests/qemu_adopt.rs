//! Guests outlive the control plane, and what happens to them by themselves is seen and recorded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Actor, Cloud, Shape, guests, until};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// An end that is seen by its event comes well before the look at all guests, which is once a minute.
const AT_ONCE: Duration = Duration::from_secs(5);

struct Lab {
    cloud: Cloud,
    demo: Actor,
    server: String,
}

impl Lab {
    async fn new() -> Self {
        let cloud = Cloud::real().await;
        let admin = cloud.admin().await;
        let image = cloud.image(&admin, "sector", guests::boot_sector()).await;
        let demo = cloud.demo().await;
        let shape = Shape::new(&demo, image).await;
        let server = demo.create_server(&shape, "subject").await;
        demo.wait_for(&server, "ACTIVE", LIMIT).await;
        guests::greeted(&demo, &server).await;
        Self {
            cloud,
            demo,
            server,
        }
    }

    fn guest(&self) -> rustix::process::Pid {
        let found = guests::of_guest(self.cloud.data(), &self.server);
        assert_eq!(found.len(), 1, "processes of the guest");
        found[0]
    }
}

/// K1, K3: a guest runs on without the control plane, is found again and obeys.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_control_plane_adopts_the_guests_that_run() {
    let mut lab = Lab::new().await;
    let before = lab.guest();
    lab.cloud.terminate().await;
    assert_eq!(
        lab.guest(),
        before,
        "the guest runs on without the control plane"
    );
    lab.cloud.run().await;
    lab.cloud.wait_for_hosts(1).await;

    let Lab {
        cloud,
        demo,
        server,
    } = &lab;
    assert_eq!(demo.server(server).await["status"], "ACTIVE");
    assert_eq!(lab.guest(), before, "it is the same process, not a new one");
    demo.act(server, json!({"os-stop": null})).await;
    let stopped = demo.wait_for(server, "SHUTOFF", LIMIT).await;
    assert_eq!(stopped["OS-EXT-STS:power_state"], 4);
    assert_eq!(guests::all(cloud.data()), []);
    demo.act(server, json!({"os-start": null})).await;
    demo.wait_for(server, "ACTIVE", LIMIT).await;
    assert_ne!(lab.guest(), before);
}

/// K3, K4: a guest that dies is Stopped at once, and its owner is told why.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_is_killed_is_seen_at_once() {
    let lab = Lab::new().await;
    let Lab {
        cloud,
        demo,
        server,
    } = &lab;
    guests::kill9(lab.guest());
    let stopped = demo.wait_for(server, "SHUTOFF", AT_ONCE).await;
    // Crashed, in Nova's words.
    assert_eq!(stopped["OS-EXT-STS:power_state"], 6);
    assert_eq!(guests::all(cloud.data()), []);
    let log = cloud.log();
    assert!(
        log.contains("a guest ended") && log.contains(server),
        "the log tells of the end"
    );
    demo.act(server, json!({"os-start": null})).await;
    demo.wait_for(server, "ACTIVE", LIMIT).await;
}

/// A guest that dies while no control plane runs is seen at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_died_in_the_meantime_is_seen_at_the_next_start() {
    let mut lab = Lab::new().await;
    lab.cloud.terminate().await;
    let guest = lab.guest();
    guests::kill9(guest);
    until("the guest's end", LIMIT, async || {
        guests::all(lab.cloud.data()).is_empty().then_some(())
    })
    .await;
    lab.cloud.run().await;
    let stopped = lab.demo.wait_for(&lab.server, "SHUTOFF", LIMIT).await;
    assert_eq!(stopped["OS-EXT-STS:vm_state"], Value::from("stopped"));
    lab.demo.act(&lab.server, json!({"os-start": null})).await;
    lab.demo.wait_for(&lab.server, "ACTIVE", LIMIT).await;
}
