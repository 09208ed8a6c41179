//! The bare-metal service over HTTP as clients of different ages see it: what came with which version of the API, what a list
//! takes, and refusals in Ironic's own error body that leave everything as it was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod baremetal_client;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use baremetal_client::{Cloud, NEWEST};
use serde_json::json;
use tower::ServiceExt as _;

const MAC: &str = "52:54:00:00:00:01";

#[tokio::test]
async fn a_change_that_is_refused_says_why_and_leaves_the_node_as_it_was() {
    let cloud = Cloud::open().await;
    let id = cloud.node(json!({"name": "rack-1"})).await;
    let path = format!("/nodes/{id}");
    let port = json!({"node_uuid": id, "address": MAC});
    cloud.post("/ports", port.clone()).await;
    let before = cloud.get(NEWEST, &path).await;

    let (status, told) = cloud.refused(NEWEST, "POST", "/ports", Some(port)).await;
    assert_eq!(status, 409);
    assert!(
        told.contains(MAC) && told.contains("already exists"),
        "{told}"
    );

    let patch = json!([{"op": "replace", "path": "/provision_state", "value": "active"}]);
    let (status, told) = cloud.refused(NEWEST, "PATCH", &path, Some(patch)).await;
    assert_eq!(status, 400);
    assert!(
        told.contains("'/provision_state' is an internal attribute"),
        "{told}"
    );

    let verb = json!({"target": "provide"});
    let provision = format!("{path}/states/provision");
    let (status, told) = cloud.refused(NEWEST, "PUT", &provision, Some(verb)).await;
    assert_eq!(status, 400);
    assert!(told.contains("while it is in state \"enroll\""), "{told}");
    assert!(told.contains("Legal now: manage."), "{told}");

    let verb = json!({"target": "polish"});
    let (status, told) = cloud.refused(NEWEST, "PUT", &provision, Some(verb)).await;
    assert_eq!(status, 400);
    assert!(
        told.contains("polish") && told.contains("manage, provide"),
        "{told}"
    );

    assert_eq!(cloud.get(NEWEST, &path).await, before);
    let ports = format!("{path}/ports");
    assert_eq!(cloud.listed(&ports, "ports", "address").await, [MAC]);
}

#[tokio::test]
async fn an_event_of_a_nodes_history_tells_more_to_newer_clients() {
    let cloud = Cloud::open().await;
    let id = cloud.node(json!({})).await;
    let provision = format!("/nodes/{id}/states/provision");
    let verb = json!({"target": "manage"});
    let accepted = cloud.ask(NEWEST, "PUT", &provision, Some(verb)).await;
    assert_eq!(accepted.0, StatusCode::ACCEPTED, "{}", accepted.1);
    let path = format!("/nodes/{id}/history?detail=True");
    let newest = cloud.get(NEWEST, &path).await["history"][0].clone();
    assert_eq!(newest["state"], "verifying");
    assert_eq!(newest["target_provision_state"], "manageable");
    assert!(newest["duration_seconds"].is_number(), "{newest}");
    assert!(newest["project"].is_string(), "{newest}");
    for field in ["request_id", "updated_at"] {
        assert!(newest.get(field).is_none(), "{newest}");
    }
    let older = cloud.get(114, &path).await["history"][0].clone();
    assert!(older.get("project").is_some(), "{older}");
    assert!(older.get("state").is_none(), "{older}");
    let oldest = cloud.get(112, &path).await["history"][0].clone();
    assert!(oldest.get("project").is_none(), "{oldest}");
    let brief = cloud.get(NEWEST, &format!("/nodes/{id}/history")).await;
    assert!(brief["history"][0].get("conductor").is_none(), "{brief}");
    let path = format!("/nodes/{id}/history?sort_key=colour");
    assert_eq!(cloud.refused(NEWEST, "GET", &path, None).await.0, 400);
}

#[tokio::test]
async fn what_came_later_is_hidden_from_older_clients_and_refused_of_them() {
    let cloud = Cloud::open().await;
    let id = cloud.node(json!({"name": "a"})).await;
    // Ports and portgroups of a fabric that makes groups by itself.
    let port = json!({"node_ident": "a", "address": MAC});
    let port = cloud.post("/ports", port).await;
    assert_eq!(port["available_for_dynamic_portgroup"], true);
    let path = format!("/ports/{}", port["uuid"].as_str().unwrap());
    let older = cloud.get(110, &path).await;
    assert!(older.get("available_for_dynamic_portgroup").is_none());
    let patch = json!([{"op": "add", "path": "/available_for_dynamic_portgroup", "value": false}]);
    let (status, told) = cloud
        .refused(NEWEST, "PATCH", &path, Some(patch.clone()))
        .await;
    assert_eq!(status, 400);
    assert!(told.contains("set it to true"), "{told}");
    assert_eq!(cloud.refused(110, "PATCH", &path, Some(patch)).await.0, 406);
    let group = cloud.post("/portgroups", json!({"node_uuid": id})).await;
    assert_eq!(group["dynamic_portgroup"], false);
    let given = json!({"node_uuid": id, "dynamic_portgroup": true});
    assert_eq!(
        cloud
            .refused(NEWEST, "POST", "/portgroups", Some(given))
            .await
            .0,
        400
    );

    // Names of runbooks.
    let steps = json!([{"interface": "bios", "step": "factory_reset", "args": {}, "order": 1}]);
    let runbook = json!({"name": "reset-the-BIOS", "steps": steps});
    let (status, told) = cloud
        .refused(111, "POST", "/runbooks", Some(runbook.clone()))
        .await;
    assert_eq!(status, 400);
    assert!(told.contains("reset-the-BIOS"), "{told}");
    cloud.post("/runbooks", runbook).await;
    let spaced = json!({"name": "reset the BIOS", "steps": steps});
    assert_eq!(
        cloud
            .refused(NEWEST, "POST", "/runbooks", Some(spaced))
            .await
            .0,
        400
    );
    let path = "/runbooks/reset-the-BIOS/traits/CUSTOM_NONE";
    assert_eq!(
        cloud.ask(NEWEST, "DELETE", path, None).await.0,
        StatusCode::NO_CONTENT
    );

    // Words and parts of verbs.
    let path = format!("/nodes/{id}/states/provision");
    let verb = json!({"target": "deploy"});
    assert_eq!(
        cloud.refused(72, "PUT", &path, Some(verb.clone())).await.0,
        406
    );
    assert_eq!(cloud.refused(73, "PUT", &path, Some(verb)).await.0, 400);
    let verb = json!({"target": "active", "configdrive": {"meta_data": {}}});
    let (status, told) = cloud.refused(55, "PUT", &path, Some(verb)).await;
    assert_eq!(status, 400);
    assert!(told.contains("1.56"), "{told}");
    let verb = json!({"target": "manage", "disable_ramdisk": false});
    assert_eq!(cloud.refused(NEWEST, "PUT", &path, Some(verb)).await.0, 400);

    // Parameters.
    for (minor, path) in [
        (76, "/drivers?fields=name"),
        (98, "/ports?conductor_groups=a"),
        (96, "/ports?description_contains=a"),
        (105, "/portgroups?shard=a"),
        (108, "/nodes?sort_key=health"),
    ] {
        assert_eq!(
            cloud.refused(minor, "GET", path, None).await.0,
            406,
            "{path}"
        );
    }
    let path = format!("/nodes/{id}/bios?detail=True");
    assert_eq!(cloud.refused(73, "GET", &path, None).await.0, 400);
    let path = format!("/nodes/{id}/firmware?fields=vendor");
    assert_eq!(cloud.refused(113, "GET", &path, None).await.0, 400);
    assert_eq!(cloud.get(114, &path).await["firmware"], json!([]));
    let path = format!("/nodes/{id}/vmedia");
    assert_eq!(cloud.refused(92, "GET", &path, None).await.0, 404);
    let node = cloud.get(109, &format!("/nodes/{id}")).await;
    assert!(node["health"].is_null() && node.get("health").is_some());
}

#[tokio::test]
async fn a_list_is_narrowed_by_every_filter_and_refuses_what_it_does_not_know() {
    let cloud = Cloud::open().await;
    let near = json!({"name": "near", "shard": "s1", "conductor_group": "North"});
    let near = cloud.node(near).await;
    let far =
        json!({"name": "far", "shard": "s2", "conductor_group": "south", "parent_node": near});
    let far = cloud.node(far).await;
    for (node, mac, words) in [
        (&near, MAC, "left of the door"),
        (&far, "52:54:00:00:00:02", "under the roof"),
    ] {
        let port = json!({"node_uuid": node, "address": mac, "description": words});
        cloud.post("/ports", port).await;
        let group = json!({"node_uuid": node, "name": format!("bond-{}", words.len())});
        cloud.post("/portgroups", group).await;
    }
    for (path, list, field, wanted) in [
        (
            "/ports?conductor_groups=north",
            "ports",
            "address",
            &[MAC][..],
        ),
        ("/ports?conductor_groups=none", "ports", "address", &[]),
        (
            "/ports?description_contains=door",
            "ports",
            "address",
            &[MAC],
        ),
        (
            "/portgroups?shard=s1,s9",
            "portgroups",
            "name",
            &["bond-16"],
        ),
        (
            "/portgroups?conductor_groups=south",
            "portgroups",
            "name",
            &["bond-14"],
        ),
        ("/nodes?parent_node=near", "nodes", "name", &["far"]),
        ("/nodes?parent_node=nowhere", "nodes", "name", &[]),
    ] {
        assert_eq!(cloud.listed(path, list, field).await, wanted, "{path}");
    }
    for (path, known) in [
        ("/nodes?colour=red", "conductor_group"),
        ("/ports?colour=red", "description_contains"),
        ("/drivers?colour=red", "type"),
        ("/shards?colour=red", "no parameters"),
    ] {
        let (status, told) = cloud.refused(NEWEST, "GET", path, None).await;
        assert_eq!(status, 400, "{path}");
        assert!(told.contains("Unexpected arguments: colour"), "{told}");
        assert!(told.contains(known), "{told}");
    }
    let path = format!("/nodes/{near}?colour=red");
    assert_eq!(cloud.refused(NEWEST, "DELETE", &path, None).await.0, 400);
    cloud.get(NEWEST, &format!("/nodes/{near}")).await;
    let stranger = Request::get("/baremetal/v1/nodes?colour=red");
    let answer = cloud
        .router
        .clone()
        .oneshot(stranger.body(Body::empty()).unwrap());
    assert_eq!(answer.await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn lists_are_sorted_by_every_key_that_clients_offer() {
    let cloud = Cloud::open().await;
    for (name, words) in [("a", "3"), ("b", "1"), ("c", "2")] {
        cloud
            .node(json!({"name": name, "description": words}))
            .await;
    }
    let names = async |path: &str| cloud.listed(path, "nodes", "name").await;
    assert_eq!(names("/nodes?sort_key=description").await, ["b", "c", "a"]);
    let path = "/nodes?sort_key=description&sort_dir=desc&limit=2";
    assert_eq!(names(path).await, ["a", "c"]);
    let next = cloud.get(NEWEST, path).await["next"].clone();
    let next = next
        .as_str()
        .unwrap()
        .split_once("/v1")
        .unwrap()
        .1
        .to_owned();
    assert_eq!(names(&next).await, ["b"]);
    for key in [
        "automated_clean",
        "boot_mode",
        "conductor",
        "conductor_group",
        "console_enabled",
        "created_at",
        "disable_power_off",
        "driver",
        "fault",
        "health",
        "inspection_finished_at",
        "inspection_started_at",
        "instance_name",
        "instance_uuid",
        "last_error",
        "lessee",
        "maintenance",
        "maintenance_reason",
        "name",
        "owner",
        "parent_node",
        "power_state",
        "protected",
        "protected_reason",
        "provision_state",
        "provision_updated_at",
        "reservation",
        "resource_class",
        "retired",
        "retired_reason",
        "secure_boot",
        "target_power_state",
        "target_provision_state",
        "updated_at",
        "uuid",
        "bios_interface",
        "firmware_interface",
        "rescue_interface",
        "vendor_interface",
    ] {
        let found = names(&format!("/nodes?sort_key={key}")).await;
        assert_eq!(found.len(), 3, "{key}");
    }
    for path in [
        "/ports?sort_key=is_smartnic",
        "/ports?sort_key=vendor",
        "/portgroups?sort_key=standalone_ports_supported",
        "/portgroups?sort_key=mode",
        "/volume/targets?sort_key=volume_type",
        "/allocations?sort_key=last_error",
        "/runbooks?sort_key=description",
        "/conductors?sort_key=conductor_group&sort_dir=desc&limit=1",
    ] {
        cloud.get(NEWEST, path).await;
    }
    let (status, told) = cloud
        .refused(NEWEST, "GET", "/nodes?sort_key=extra", None)
        .await;
    assert_eq!(status, 400);
    assert!(told.contains("provision_updated_at"), "{told}");
    assert_eq!(
        cloud
            .refused(NEWEST, "GET", "/conductors?sort_key=alive", None)
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_word_of_an_address_is_no_name_of_a_node() {
    let cloud = Cloud::open().await;
    let body = json!({"driver": "fake-hardware", "name": "detail"});
    let (status, told) = cloud.refused(NEWEST, "POST", "/nodes", Some(body)).await;
    assert_eq!(status, 400);
    assert!(
        told.contains("reserved") && told.contains("maintenance"),
        "{told}"
    );
    let id = cloud.node(json!({"name": "details"})).await;
    let patch = json!([{"op": "replace", "path": "/name", "value": "states"}]);
    let path = format!("/nodes/{id}");
    assert_eq!(
        cloud.refused(NEWEST, "PATCH", &path, Some(patch)).await.0,
        400
    );
    let patch = json!([{"op": "replace", "path": "/name", "value": "a_b"}]);
    assert_eq!(
        cloud
            .refused(9, "PATCH", &path, Some(patch.clone()))
            .await
            .0,
        400
    );
    Cloud::ok(&path, cloud.ask(10, "PATCH", &path, Some(patch)).await);
}

#[tokio::test]
async fn events_of_ports_are_taken_if_they_are_well_formed() {
    let cloud = Cloud::open().await;
    let event = |name: &str, mac: &str| {
        json!({
            "event": name, "port_id": "b7e1c0de-0000-4000-8000-000000000001", "mac_address": mac,
            "status": "ACTIVE", "device_id": null, "binding:vnic_type": "baremetal",
        })
    };
    let good = json!({"events": [event("network.bind_port", MAC)]});
    let (status, _) = cloud.ask(54, "POST", "/events", Some(good.clone())).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(
        cloud.refused(53, "POST", "/events", Some(good)).await.0,
        404
    );
    for wrong in [
        json!({"events": []}),
        json!({"events": [event("network.paint_port", MAC)]}),
        json!({"events": [event("network.bind_port", "here")]}),
        json!({"events": [{"event": "network.bind_port"}]}),
        json!({"events": [], "colour": "red"}),
    ] {
        let (status, told) = cloud.refused(NEWEST, "POST", "/events", Some(wrong)).await;
        assert_eq!(status, 400, "{told}");
    }
}

#[tokio::test]
async fn pages_of_a_node_have_ironics_shape() {
    let cloud = Cloud::open().await;
    let id = cloud.node(json!({})).await;
    let found = cloud
        .get(63, &format!("/nodes/{id}/management/indicators"))
        .await;
    let light = &found["indicators"][0];
    assert_eq!(
        (&light["name"], &light["component"]),
        (&json!("led@system"), &json!("system"))
    );
    assert_eq!(light["readonly"], false);
    let path = format!("/nodes/{id}/management/indicators/system");
    assert_eq!(cloud.refused(63, "GET", &path, None).await.0, 400);

    let path = format!("/nodes/{id}/vmedia");
    let empty = json!([{"media_types": ["CD"], "inserted": false, "image": null}]);
    assert_eq!(cloud.get(93, &path).await, empty);
    let image = json!({"device_type": "cdrom", "image_url": "http://images/a.iso"});
    Cloud::ok(&path, cloud.ask(NEWEST, "POST", &path, Some(image)).await);
    assert_eq!(
        cloud.get(93, &path).await[0]["image"],
        "http://images/a.iso"
    );
    Cloud::ok(&path, cloud.ask(NEWEST, "DELETE", &path, None).await);
    assert_eq!(cloud.get(93, &path).await, empty);

    for path in [
        format!("/nodes/{id}/vendor_passthru/paint"),
        "/drivers/fake-hardware/vendor_passthru/paint".to_owned(),
    ] {
        for method in ["GET", "POST"] {
            let (status, told) = cloud.refused(NEWEST, method, &path, None).await;
            assert_eq!(status, 400, "{method} {path}");
            assert!(
                told.contains("'paint'") && told.contains("none at all"),
                "{told}"
            );
        }
    }
    let driver = cloud
        .get(
            77,
            "/drivers/fake-hardware?fields=name,default_bios_interface",
        )
        .await;
    assert_eq!(driver["default_bios_interface"], "fake");
    assert!(
        driver.get("hosts").is_none() && driver.get("links").is_some(),
        "{driver}"
    );
    let (status, told) = cloud
        .refused(77, "GET", "/drivers?fields=colour", None)
        .await;
    assert_eq!(status, 400);
    assert!(told.contains("enabled_bios_interfaces"), "{told}");
}
