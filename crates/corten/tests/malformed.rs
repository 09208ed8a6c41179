//! 10,000 malformed requests against every route: none is answered 500, each gets its service's own error body, the
//! process lives and does not grow, and afterwards a server can be created as before.
//!
//! The requests follow from a seed: `CORTEN_SEED=7` tries others, and what went wrong is told with its number.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/calls.rs"]
mod calls;
mod common;
#[path = "common/fixture.rs"]
mod fixture;
#[path = "common/mangle.rs"]
mod mangle;

use calls::Call;
use common::http::Answer;
use common::{Actor, SOON, Shape, until};
use fixture::Fixture;
use futures_util::StreamExt as _;
use mangle::{Dice, Spoilt};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

const REQUESTS: u64 = 10_000;
/// Until then caches fill and the allocator finds its size.
const WARM_UP: u64 = 3_000;
const AT_A_TIME: usize = 8;
/// What the requests after the warm-up may add to the memory, in KiB: a password hash takes 19 MiB, and the allocator
/// keeps that for each thread that hashes for the first time.
const SLACK_KIB: u64 = 96 << 10;
/// A body that a call does not take may be left unread, and the answer may then be lost with the connection.
const SURELY_READ_BYTES: usize = 16 << 10;
/// Few servers, so that some requests are over quota.
const SETTINGS: &str =
    "[host]\nenabled = false\n[sim]\nhosts = 1\nmetal = true\n[quota]\ninstances = 4\n";

fn seed() -> u64 {
    std::env::var("CORTEN_SEED").map_or(2, |text| text.parse().expect("CORTEN_SEED is a number"))
}

/// A call that is in order, or almost, spoilt in one to three ways.
fn spoilt(fixture: &Fixture, calls: &[Call], number: u64) -> (Spoilt, &'static str) {
    let mut dice = Dice::new(seed(), number);
    let call = dice.one_of(calls);
    let is_patch = call.method == Method::PATCH && call.path.starts_with("/image/");
    let content = if is_patch {
        "application/openstack-images-v2.1-json-patch"
    } else {
        "application/json"
    };
    let mut request = Spoilt {
        method: call.method.to_string(),
        path: fixture.filled(&call.path),
        headers: HashMap::new(),
        body: call
            .body
            .map(|body| fixture.filled(body).into_bytes())
            .unwrap_or_default(),
    };
    request.header("content-type", content);
    request.header("x-openstack-nova-api-version", call.microversion);
    request.header(
        "openstack-api-version",
        format!("compute {}, placement 1.39", call.microversion),
    );
    let who = *dice.one_of(&["member", "member", "admin"]);
    // A call in order, in whatever state things are: illegal, or over quota. But what all others need must stay.
    let harmless =
        who == "member" && call.method != Method::DELETE && !call.path.contains("/action");
    if !(harmless && dice.percent(5)) {
        for _ in 0..=dice.below(3) {
            request.spoil(&mut dice);
        }
    }
    if who == "admin" && request.method == "DELETE" {
        request.method = "GET".to_owned();
    }
    (request, who)
}

fn built(actor: &Actor, request: &Spoilt) -> RequestBuilder {
    let method = request.method.parse().unwrap();
    let mut built = actor.bare_request(method, &request.path);
    if !request.headers.contains_key("x-auth-token") {
        built = built.header("x-auth-token", &actor.token);
    }
    for (name, value) in &request.headers {
        built = built.header(*name, value.as_bytes());
    }
    built.body(request.body.clone())
}

/// Is an error told as its service tells errors?
fn has_its_own_body(answer: &Answer) -> bool {
    let code = answer.status.as_u16();
    // The path as it was sent, without `..` in it.
    let path = answer.asked.split(' ').nth(1).unwrap_or_default();
    let (first, body): (_, &Value) = (path.split('/').nth(1).unwrap_or_default(), answer);
    let told = match first {
        "identity" => body["error"]["code"] == code && body["error"]["title"].is_string(),
        "image" => {
            body["code"]
                .as_str()
                .is_some_and(|text| text.starts_with(&code.to_string()))
                && body["title"].is_string()
        }
        "compute" => {
            body.as_object().is_some_and(|kinds| {
                kinds.len() == 1 && kinds.values().all(|fault| fault["code"] == code)
            }) || body["errors"][0]["status"] == code
        }
        "placement" => {
            body["errors"][0]["status"] == code && body["errors"][0]["detail"].is_string()
        }
        // Whoever has no token is answered by what stands before Ironic.
        "baremetal" if code == 401 => body["error"]["code"] == code,
        // A fault as JSON, in a text.
        "baremetal" => body["error_message"].as_str().is_some_and(|fault| {
            serde_json::from_str::<Value>(fault).is_ok_and(|fault| fault["faultstring"].is_string())
        }),
        "v1" => body["error"]["status"] == code && body["error"]["message"].is_string(),
        // Consoles speak WebSocket; the rest is a path of no service.
        _ => true,
    };
    told && !answer.text.contains("panicked")
}

/// A server that answers before it has read the body closes the connection, and so does another request of ours that is
/// about to use it get no answer: such a one is sent again.
async fn answered(actor: &Actor, request: &Spoilt) -> Result<Answer, reqwest::Error> {
    for _ in 0..3 {
        match Answer::try_of(built(actor, request)).await {
            Err(error) if !error.is_builder() => {}
            outcome => return outcome,
        }
    }
    Answer::try_of(built(actor, request)).await
}

/// Sends one spoilt request; says its status, or what is wrong with the answer.
async fn send(fixture: &Fixture, calls: &[Call], number: u64) -> Result<u16, String> {
    let (request, who) = spoilt(fixture, calls, number);
    let actor = if who == "admin" {
        &fixture.admin
    } else {
        &fixture.member
    };
    let answer = match answered(actor, &request).await {
        Ok(answer) => answer,
        // The client itself refuses to send it.
        Err(error) if error.is_builder() => return Ok(0),
        Err(_) if request.body.len() > SURELY_READ_BYTES => return Ok(0),
        Err(error) => {
            let (
                Spoilt {
                    method, path, body, ..
                },
                path_shown,
            ) = (&request, cut(&request.path));
            return Err(format!(
                "request {number} of {who}: {method} {path_shown} ({} bytes): {error:?}",
                body.len()
            ))
            .map_err(|text| text.replace(path, &path_shown));
        }
    };
    let status = answer.status;
    let is_fault = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
    // The HTTP library answers by itself what is not HTTP.
    let is_ours = answer.headers.contains_key("x-openstack-request-id") && request.method != "HEAD";
    let is_mute = is_ours
        && (status.is_client_error() || status.is_server_error())
        && !has_its_own_body(&answer);
    if is_fault || is_mute {
        let Spoilt {
            method,
            path,
            headers,
            body,
        } = &request;
        let (path, body): (String, String) = (cut(path), cut(&String::from_utf8_lossy(body)));
        let text = cut(&answer.text);
        return Err(format!(
            "request {number} of {who}: {method} {path} {headers:?} {body}\n    {status} {text}"
        ));
    }
    Ok(status.as_u16())
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

async fn send_all(
    fixture: &Fixture,
    calls: &[Call],
    numbers: std::ops::Range<u64>,
    seen: &mut BTreeMap<u16, u64>,
) {
    let answers = futures_util::stream::iter(numbers)
        .map(|number| send(fixture, calls, number))
        .buffer_unordered(AT_A_TIME);
    let mut wrong = Vec::new();
    for answer in answers.collect::<Vec<_>>().await {
        match answer {
            Ok(status) => *seen.entry(status).or_default() += 1,
            Err(what) => wrong.push(what),
        }
    }
    let shown: Vec<_> = wrong.iter().take(20).cloned().collect();
    assert!(
        wrong.is_empty(),
        "seed {}: {} answers are wrong:\n{}",
        seed(),
        wrong.len(),
        shown.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_malformed_requests_do_no_harm() {
    let mut fixture = Fixture::with(SETTINGS).await;
    fixture.spare_ourselves().await;
    // Whoever may delete everything deletes nothing.
    let calls: Vec<_> = calls::table()
        .into_iter()
        .filter(|call| call.method != Method::DELETE)
        .collect();
    let mut seen = BTreeMap::new();
    send_all(&fixture, &calls, 0..WARM_UP, &mut seen).await;
    let warm = fixture.cloud.memory_kib();
    send_all(&fixture, &calls, WARM_UP..REQUESTS, &mut seen).await;
    let after = fixture.cloud.memory_kib();
    println!("statuses: {seen:?}");
    println!("memory after {WARM_UP} requests {warm} KiB, after {REQUESTS} {after} KiB");
    assert!(
        after <= warm + SLACK_KIB,
        "memory grew from {warm} to {after} KiB"
    );
    for status in [400, 401, 403, 404, 405, 406, 409, 413, 415] {
        assert!(
            seen.contains_key(&status),
            "no request was refused with {status}, so not all was tried: {seen:?}"
        );
    }
    assert!(fixture.cloud.is_alive());
    assert!(
        !fixture.cloud.log().contains("panicked"),
        "a request made a thread panic"
    );
    a_server_is_created_as_before(&fixture).await;
}

async fn a_server_is_created_as_before(fixture: &Fixture) {
    let Fixture { cloud, .. } = fixture;
    let admin = cloud.admin().await;
    // Some request may have been well-formed enough to switch the host off.
    let services = admin.get("/compute/v2.1/os-services").await;
    let compute = services["services"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|service| service["binary"] == "nova-compute");
    for service in compute {
        let path = format!(
            "/compute/v2.1/os-services/{}",
            service["id"].as_str().unwrap()
        );
        admin
            .ask(
                Method::PUT,
                &path,
                Some(&json!({"status": "enabled", "forced_down": false})),
            )
            .await
            .ok();
    }
    let owner = cloud
        .user_in(&admin, "afterwards", "member", "afterwards")
        .await;
    let image = cloud.image(&admin, "afterwards", vec![0; 1 << 20]).await;
    let shape = Shape::new(&owner, image).await;
    let server = owner.create_server(&shape, "afterwards").await;
    owner.wait_for(&server, "ACTIVE", SOON).await;
    owner
        .delete(&format!("/compute/v2.1/servers/{server}"))
        .await;
    owner.wait_until_gone(&server, SOON).await;
    until("no operation runs", SOON, async || {
        admin.get("/v1/operations").await["operations"]
            .as_array()?
            .is_empty()
            .then_some(())
    })
    .await;
}
