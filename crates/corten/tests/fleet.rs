//! A fleet of simulated servers goes through its life over the wire: BMCs by Redfish, boots from virtual media, our ramdisk's
//! own calls home. Enrolled, inspected, wiped, rented, given back and wiped again (K145, K146, K148, K151, K153, K162).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/fleet.rs"]
mod fleet;

use common::until;
use corten_bmc::BmcError;
use corten_sim::Touch;
use fleet::{LIMIT, Rack, in_a_namespace, os_image};
use reqwest::Method;
use serde_json::Value;

#[test]
fn a_fleet_is_enrolled_rented_and_wiped_over_the_wire() {
    in_a_namespace("corten-fleet", async || {
        let rack = Rack::new(6).await;
        rack.ready().await;
        assert!(rack.blank(), "wiped before anybody gets one");
        for node in &rack.nodes {
            let shown = rack.shown(node).await;
            assert_eq!(
                shown["properties"]["memory_mb"], 65_536,
                "as its ramdisk told"
            );
        }

        let flavor = rack.flavor().await;
        let image = rack.cloud.image(&rack.admin, "os", os_image()).await;
        let mut servers = Vec::new();
        for number in 0..rack.nodes.len() {
            servers.push(
                rack.server(&flavor, &image, &format!("whole-{number}"))
                    .await,
            );
        }
        for server in &servers {
            rack.admin.wait_for(server, "ACTIVE", LIMIT).await;
        }
        for server in &rack.fleet.servers {
            assert_eq!(server.machine.disks()[0], Some(image.clone()));
            assert!(server.machine.starts().borrow().is_some(), "it is on");
        }

        for server in &servers {
            rack.admin
                .delete(&format!("/compute/v2.1/servers/{server}"))
                .await
                .ok();
        }
        for server in &servers {
            rack.admin.wait_until_gone(server, LIMIT).await;
        }
        rack.all_are("available").await;
        assert!(rack.blank(), "and after");
        for node in &rack.nodes {
            let path = format!("/nodes/{node}/wipes");
            let wipes = rack.ask(Method::GET, &path, Value::Null).await;
            let disks = wipes["wipes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|wipe| wipe["disks"].to_string());
            let with_serials = disks.filter(|disks| disks.matches("SIM").count() == 2);
            assert_eq!(
                with_serials.count(),
                2,
                "each wipe is on record: {}",
                *wipes
            );
        }
    });
}

#[test]
fn a_ramdisk_that_fails_harms_one_server_alone() {
    in_a_namespace("corten-fleet-ill", async || {
        let rack = Rack::new(3).await;
        rack.ready().await;
        // One cannot write its disk.
        let error = BmcError::Unreachable {
            bmc: "the disk".to_owned(),
            reason: "it does not answer".to_owned(),
        };
        rack.fleet.servers[0]
            .machine
            .fail_next(Touch::Install, 100, error);
        let flavor = rack.flavor().await;
        let image = rack.cloud.image(&rack.admin, "os", os_image()).await;
        let mut servers = Vec::new();
        for number in 0..3 {
            servers.push(
                rack.server(&flavor, &image, &format!("whole-{number}"))
                    .await,
            );
        }
        let mut ends = Vec::new();
        for server in &servers {
            let end = until("an end", LIMIT, async || {
                let shown = rack.admin.server(server).await;
                (shown["status"] != "BUILD").then_some(shown)
            });
            ends.push(end.await);
        }
        let (ill, well): (Vec<_>, Vec<_>) = ends.iter().partition(|end| end["status"] == "ERROR");
        assert_eq!(well.len(), 2);
        assert!(well.iter().all(|end| end["status"] == "ACTIVE"), "{well:?}");
        let why = ill[0]["fault"]["message"].as_str().unwrap();
        assert!(
            why.contains("No valid host") && why.contains("Try 1"),
            "{why}"
        );
        let path = format!("/nodes/{}/history?detail=True", rack.nodes[0]);
        let history = rack.ask(Method::GET, &path, Value::Null).await.to_string();
        assert!(history.contains("the disk cannot be reached"), "{history}");
    });
}
