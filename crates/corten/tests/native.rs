//! The native API as its users meet it: instances in the catalogue's words, their timelines, and a description that
//! leaves nothing out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/fixture.rs"]
mod fixture;
#[path = "common/routes.rs"]
mod routes;

use common::http::Actor;
use common::{Cloud, SOON, Shape, until};
use fixture::Fixture;
use reqwest::{Method, StatusCode};
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

async fn public_ips(actor: &Actor, id: &str) -> Value {
    actor.get(&format!("/v1/instances/{id}")).await["instance"]["public_ips"].clone()
}

/// K69, K70, K140, K141: an instance is created with a public IP that it has until it stops; only an administrator of
/// the project may ask for one.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_an_ephemeral_public_ip_until_it_stops() {
    let fixture = Fixture::new().await;
    let (cloud, admin) = (&fixture.cloud, &fixture.admin);
    let chief = cloud.user_in(admin, "chief", "admin", "work").await;
    let asked = |public_ip: &str| {
        json!({"instance": {
            "name": "web", "flavor_id": fixture.things["flavor"], "image_id": fixture.things["image"],
            "network_ids": [fixture.things["network"]], "public_ip": public_ip,
        }})
    };
    let ask = async |actor: &Actor, body: Value| {
        let answer = actor.ask(Method::POST, "/v1/instances", Some(&body)).await;
        (answer.status, answer)
    };
    let (status, answer) = ask(&fixture.member, asked("ephemeral")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{}", answer.text);
    let (status, answer) = ask(&chief, asked("elastic")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{}", answer.text);
    let mut unknown = asked("ephemeral");
    unknown["instance"]["colour"] = json!("rust");
    assert_eq!(ask(&chief, unknown).await.0, StatusCode::BAD_REQUEST);

    let (status, made) = ask(&chief, asked("ephemeral")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{}", made.text);
    assert!(made["admin_password"].is_string());
    let id = made["instance"]["id"].as_str().unwrap();
    let first = made["instance"]["public_ips"][0].clone();
    assert_eq!(first["kind"], "ephemeral");
    chief.wait_for(id, "ACTIVE", SOON).await;
    let server = chief.server(id).await;
    let shown = server["addresses"]["own"].as_array().unwrap();
    assert!(
        shown.iter().any(|one| one["addr"] == first["address"]),
        "{shown:?}"
    );

    chief.act(id, json!({"os-stop": null})).await;
    chief.wait_for(id, "SHUTOFF", SOON).await;
    assert_eq!(public_ips(&chief, id).await, json!([]));
    let path = format!(
        "/network/v2.0/floatingips/{}",
        first["id"].as_str().unwrap()
    );
    let gone = chief.ask(Method::GET, &path, None).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let collection = format!("/v1/instances/{id}/public-ips");
    let ephemeral = json!({"public_ip": "ephemeral"});
    let early = chief.ask(Method::POST, &collection, Some(&ephemeral)).await;
    assert_eq!(early.status, StatusCode::CONFLICT, "{}", early.text);

    chief.act(id, json!({"os-start": null})).await;
    chief.wait_for(id, "ACTIVE", SOON).await;
    assert_eq!(public_ips(&chief, id).await, json!([]));
    let given = chief.post(&collection, ephemeral).await["public_ip"].clone();
    assert_eq!(public_ips(&chief, id).await, json!([given]));
    let address = given["address"].as_str().unwrap();
    chief.delete(&format!("{collection}/{address}")).await;
    assert_eq!(public_ips(&chief, id).await, json!([]));
}

/// K142, K143: a static public IP is the project's: it comes and goes, and outlives its instance.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_public_ip_outlives_its_instance() {
    let fixture = Fixture::new().await;
    let chief = fixture
        .cloud
        .user_in(&fixture.admin, "chief", "admin", "work")
        .await;
    let floating =
        json!({"floatingip": {"floating_network_id": fixture.things["outside_network"]}});
    let floating = chief.post("/network/v2.0/floatingips", floating).await;
    let floating = floating.id("floatingip");
    let wanted = format!("static:{floating}");
    let body = json!({"instance": {
        "name": "web", "flavor_id": fixture.things["flavor"], "image_id": fixture.things["image"],
        "network_ids": [fixture.things["network"]], "public_ip": wanted,
    }});
    let made = chief.post("/v1/instances", body).await;
    let id = made["instance"]["id"].as_str().unwrap();
    let led = &made["instance"]["public_ips"][0];
    assert_eq!(
        (&led["id"], &led["kind"]),
        (&json!(floating), &json!("static"))
    );
    let address = led["address"].as_str().unwrap();
    chief.wait_for(id, "ACTIVE", SOON).await;

    let collection = format!("/v1/instances/{id}/public-ips");
    let again = json!({"public_ip": wanted});
    let twice = chief.ask(Method::POST, &collection, Some(&again)).await;
    assert_eq!(twice.status, StatusCode::CONFLICT, "{}", twice.text);
    chief.delete(&format!("{collection}/{address}")).await;
    assert_eq!(public_ips(&chief, id).await, json!([]));
    chief.post(&collection, again).await;
    chief.delete(&format!("/compute/v2.1/servers/{id}")).await;
    chief.wait_until_gone(id, SOON).await;
    until("the public IP leads nowhere", SOON, async || {
        let held = chief
            .get(&format!("/network/v2.0/floatingips/{floating}"))
            .await;
        held["floatingip"]["port_id"].is_null().then_some(())
    })
    .await;
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
