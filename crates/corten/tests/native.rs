//! The native API as its users meet it: instances in the catalogue's words, their timelines, and a description that
//! leaves nothing out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/routes.rs"]
mod routes;

use common::{Cloud, SOON, Shape};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `METHOD path` of every operation that is described.
fn described(description: &Value) -> BTreeSet<String> {
    let paths = description["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_native_route_is_described_and_nothing_else() {
    let cloud = Cloud::start("[host]\nenabled = false\n[network]\nenabled = false\n").await;
    let description = cloud.stranger().get("/v1/openapi.json").await;
    assert_eq!(description["openapi"], "3.1.0");
    let native = routes::all().into_iter();
    let served: BTreeSet<_> = native
        .filter(|route| route.path.starts_with("/v1/"))
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert!(served.len() >= 7, "{served:#?}");
    assert_eq!(described(&description), served);
    // What is referred to is there.
    let schemas = names(&description["components"]["schemas"]);
    let text = description.text.as_str();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains(name), "{name} is not in {schemas:?}");
    }
}

/// K1: the catalogue's words, what is legal and whether it is billed; the host is for administrators.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_told_in_the_catalogues_words() {
    let cloud = Cloud::simulated(1).await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let image = cloud.image(&admin, "tiny", vec![0; 4096]).await;
    let shape = Shape::new(&demo, image.clone()).await;
    let id = demo.create_server(&shape, "one").await;
    demo.wait_for(&id, "ACTIVE", SOON).await;

    let path = format!("/v1/instances/{id}");
    let seen = demo.get(&path).await["instance"].clone();
    assert_eq!(
        (
            &seen["name"],
            &seen["class"],
            &seen["state"],
            &seen["billed"]
        ),
        (&json!("one"), &json!("vm"), &json!("Active"), &json!(true))
    );
    assert_eq!(seen["image_id"], json!(image));
    let commands: Vec<_> = seen["commands"].as_array().unwrap().iter().collect();
    assert!(commands.contains(&&json!("stop")), "{commands:?}");
    assert!(!commands.contains(&&json!("start")), "{commands:?}");
    assert!(seen.get("host").is_none(), "{seen}");
    let host = admin.get(&path).await["instance"]["host"].clone();
    assert!(host.as_str().is_some_and(|host| !host.is_empty()), "{host}");

    let description = demo.get("/v1/openapi.json").await;
    let schema = &description["components"]["schemas"]["Instance"]["properties"];
    assert_eq!(names(&admin.get(&path).await["instance"]), names(schema));

    demo.act(&id, json!({"os-stop": null})).await;
    demo.wait_for(&id, "SHUTOFF", SOON).await;
    let stopped = demo.get(&path).await["instance"].clone();
    assert_eq!(stopped["state"], "Stopped");
    let commands = stopped["commands"].as_array().unwrap();
    assert!(commands.contains(&json!("start")), "{commands:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_tells_what_happened_and_who_asked_also_after_the_end() {
    let cloud = Cloud::simulated(1).await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let image = cloud.image(&admin, "tiny", vec![0; 4096]).await;
    let shape = Shape::new(&demo, image).await;
    let id = demo.create_server(&shape, "one").await;
    demo.wait_for(&id, "ACTIVE", SOON).await;
    let stopped = demo.act(&id, json!({"os-stop": null})).await;
    let request_id = stopped.headers["x-openstack-request-id"].to_str().unwrap();
    demo.wait_for(&id, "SHUTOFF", SOON).await;
    demo.delete(&format!("/compute/v2.1/servers/{id}")).await;
    demo.wait_until_gone(&id, SOON).await;

    let path = format!("/v1/instances/{id}");
    let gone = demo.ask(reqwest::Method::GET, &path, None).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let answer = demo.get(&format!("{path}/timeline")).await;
    let timeline = answer["timeline"].as_array().unwrap();
    assert_eq!(timeline[0]["from"], Value::Null);
    for pair in timeline.windows(2) {
        assert_eq!(pair[0]["to"], pair[1]["from"], "the timeline has a gap");
        assert!(pair[1]["lasted_secs"].as_f64().unwrap() >= 0.0);
    }
    assert_eq!(timeline.last().unwrap()["to"], "Deleted");
    let stop = timeline
        .iter()
        .find(|change| change["to"] == "Stopped")
        .unwrap();
    assert_eq!(stop["request_id"], request_id);
    assert_eq!(stop["user_id"], json!(demo.user_id));
    let active = timeline
        .iter()
        .find(|change| change["to"] == "Active")
        .unwrap();
    assert_eq!(active["billed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_of_ones_own_project() {
    let cloud = Cloud::simulated(1).await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let image = cloud.image(&admin, "tiny", vec![0; 4096]).await;
    let shape = Shape::new(&demo, image).await;
    let mut wanted = BTreeSet::new();
    for name in ["a", "b", "c"] {
        wanted.insert(demo.create_server(&shape, name).await);
    }
    let mut found = BTreeSet::new();
    let mut path = "/v1/instances?limit=2".to_owned();
    for expected in [2, 1] {
        let page = demo.get(&path).await;
        let ids = page["instances"].as_array().unwrap().iter();
        let ids: Vec<_> = ids
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(ids.len(), expected);
        found.extend(ids);
        path = format!(
            "/v1/instances?limit=2&marker={}",
            page["next"].as_str().unwrap_or("none")
        );
        assert_eq!(page["next"].is_null(), expected == 1);
    }
    assert_eq!(found, wanted);
    assert_eq!(admin.get("/v1/instances").await["instances"], json!([]));
    let all = admin.get("/v1/instances?all_projects=true").await;
    assert_eq!(all["instances"].as_array().unwrap().len(), 3);
}

/// Whoever has an account on the machine reads nothing of the cloud.
#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_cloud_are_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let cloud = Cloud::simulated(1).await;
    cloud.demo().await;
    for name in [
        "corten.db",
        "corten.db-wal",
        "corten.db-shm",
        "passwords",
        "clouds.yaml",
    ] {
        let file = std::fs::metadata(cloud.data().join(name)).unwrap();
        let mode = file.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} has the mode {mode:o}");
    }
}
