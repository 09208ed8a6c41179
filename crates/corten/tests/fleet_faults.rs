//! Faults of a server's BMC and of the control plane, end to end and over the wire: each ends by itself in the state that the
//! life cycle says, with a reason that a person understands, and well once the fault is gone (K148, K149, K152, K157).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/fleet.rs"]
mod fleet;

use common::http::Answer;
use common::until;
use corten_bmc::BootDevice;
use corten_sim::fleet::{FleetServer, PASSWORD};
use corten_sim::redfish::{Fault, On};
use fleet::{LIMIT, Rack, in_a_namespace};
use reqwest::Method;
use serde_json::{Value, json};

/// Nobody but the verb that is tested asks the BMC: no request of another meets the fault in its place.
const UNWATCHED: &str =
    "[metal]\npower_every_secs = 0\nsensors_every_secs = 0\nevent_streams = 0\n";

/// A rack of one server.
struct One {
    rack: Rack,
    node: String,
}

impl One {
    async fn new() -> Self {
        let rack = Rack::with(1, UNWATCHED).await;
        let node = rack.nodes[0].clone();
        Self { rack, node }
    }

    fn server(&self) -> &FleetServer {
        &self.rack.fleet.servers[0]
    }

    async fn shown(&self) -> Answer {
        self.rack.shown(&self.node).await
    }

    async fn change(&self, path: &str, value: Value) {
        let change = json!([{"op": "add", "path": path, "value": value}]);
        let node = format!("/nodes/{}", self.node);
        self.rack.ask(Method::PATCH, &node, change).await;
    }

    async fn power_on(&self) {
        let path = format!("/nodes/{}/states/power", self.node);
        let wish = json!({"target": "power on", "timeout": 3});
        self.rack.ask(Method::PUT, &path, wish).await;
    }

    /// An image is being written to its disk, and stands still in the middle. The image's id.
    async fn is_written(&self) -> String {
        self.rack.ready().await;
        let bytes = vec![7; 65_536];
        let image = self.rack.cloud.image(&self.rack.admin, "os", bytes).await;
        self.change("/instance_info", json!({"image_source": image}))
            .await;
        self.server().machine.hold_writes();
        self.rack.verb("active").await;
        until("a write", LIMIT, async || {
            self.server().machine.is_held_at_a_write().then_some(())
        })
        .await;
        assert_eq!(self.shown().await["provision_state"], "wait call-back");
        image
    }

    /// By itself: the image is on the disk, and the server was started from there.
    async fn is_deployed(&self, image: &str) {
        self.rack.all_are("active").await;
        let shown = self.shown().await;
        assert_eq!(shown["last_error"], Value::Null);
        assert_eq!(shown["power_state"], "power on");
        assert_eq!(shown["maintenance"], false);
        let machine = &self.server().machine;
        assert_eq!(machine.disks()[0].as_deref(), Some(image));
        assert_eq!(machine.booted_from(), Some(BootDevice::Disk));
    }
}

/// A BMC that has this fault, for so many requests, between the write of the image and the start from the disk.
async fn is_deployed_in_spite_of(fault: Fault, requests: u64) {
    let one = One::new().await;
    let image = one.is_written().await;
    let FleetServer { bmc, machine, .. } = one.server();
    bmc.fail_until_mended(fault, On::All);
    machine.let_writes_go();
    until("requests in vain", LIMIT, async || {
        (bmc.faults_met() >= requests).then_some(())
    })
    .await;
    let shown = one.shown().await;
    assert_eq!(shown["provision_state"], "deploying");
    assert_eq!(machine.booted_from(), Some(BootDevice::Cdrom), "not yet");
    bmc.mend();
    one.is_deployed(&image).await;
}

#[test]
fn a_bmc_that_is_silent_for_a_while_only_delays_a_deployment() {
    in_a_namespace("corten-silent", async || {
        // Half a minute passes until the request counts as lost.
        is_deployed_in_spite_of(Fault::Hang, 1).await;
    });
}

#[test]
fn a_bmc_that_is_too_busy_for_a_while_only_delays_a_deployment() {
    in_a_namespace("corten-busy", async || {
        is_deployed_in_spite_of(Fault::Status(503, None), 4).await;
    });
}

#[test]
fn a_wrong_password_is_told_at_manage_and_the_right_one_helps() {
    in_a_namespace("corten-password", async || {
        let one = One::new().await;
        let place = "/driver_info/redfish_password";
        one.change(place, json!("guessed")).await;
        one.rack.verb("manage").await;
        let shown = until("the verdict", LIMIT, async || {
            let shown = one.shown().await;
            (shown["provision_state"] == "enroll").then_some(shown)
        })
        .await;
        let why = shown["last_error"].as_str().expect("a reason");
        for part in ["127.80.0.1", "does not let \"admin\" in", "password"] {
            assert!(why.contains(part), "no {part} in: {why}");
        }
        assert!(!why.contains("guessed"), "{why}");
        assert_eq!(shown["target_provision_state"], Value::Null);

        one.change(place, json!(PASSWORD)).await;
        one.rack.verb("manage").await;
        one.rack.all_are("manageable").await;
        assert_eq!(one.shown().await["last_error"], Value::Null);
    });
}

#[test]
fn a_bmc_that_says_yes_and_does_nothing_is_found_out() {
    in_a_namespace("corten-liar", async || {
        let one = One::new().await;
        one.rack.verb("manage").await;
        one.rack.all_are("manageable").await;
        let FleetServer { bmc, machine, .. } = one.server();
        bmc.fail_until_mended(Fault::PowerLies, On::All);
        one.power_on().await;
        let shown = until("the verdict", LIMIT, async || {
            let shown = one.shown().await;
            shown["target_power_state"].is_null().then_some(shown)
        })
        .await;
        assert_eq!(bmc.faults_met(), 1, "it said yes");
        let why = shown["last_error"].as_str().expect("a reason");
        for part in ["the power On", "within 3 s", "it shows Off", "console"] {
            assert!(why.contains(part), "no {part} in: {why}");
        }
        assert_eq!(shown["power_state"], "power off");
        assert_eq!(shown["provision_state"], "manageable");

        bmc.mend();
        one.power_on().await;
        until("power", LIMIT, async || {
            let shown = one.shown().await;
            (shown["power_state"] == "power on" && shown["target_power_state"].is_null())
                .then_some(())
        })
        .await;
        assert_eq!(one.shown().await["last_error"], Value::Null);
        assert!(machine.booted_from().is_some());
    });
}

#[test]
fn a_deployment_outlives_the_control_plane_that_is_killed_in_the_middle_of_a_write() {
    in_a_namespace("corten-kill9", async || {
        let mut one = One::new().await;
        let image = one.is_written().await;
        let boots = one.server().bmc.boots();
        one.rack.cloud.kill9();
        assert_eq!(one.server().machine.disks()[0], None, "not whole");
        one.rack.cloud.run().await;
        let shown = one.shown().await;
        assert_eq!(shown["provision_state"], "wait call-back");
        assert_eq!(shown["last_error"], Value::Null);
        one.server().machine.let_writes_go();
        one.is_deployed(&image).await;
        assert_eq!(one.server().bmc.boots(), boots + 1, "from the disk alone");
    });
}
