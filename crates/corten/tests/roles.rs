//! The role matrix, generated from the routes: every route refuses whoever has no token (401), whoever may only look
//! (403), and hides from strangers that a thing exists (404). What is allowed to whom stands in `calls.txt`; a route
//! without a line there is an error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/calls.rs"]
mod calls;
mod common;
#[path = "common/fixture.rs"]
mod fixture;
#[path = "common/routes.rs"]
mod routes;

use calls::{Call, HIDDEN, Right, table};
use common::http::Answer;
use fixture::{Fixture, NOTHING};
use futures_util::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const AT_A_TIME: usize = 8;

/// The same path with things that are not.
fn unknown(path: &str) -> String {
    HIDDEN
        .iter()
        .fold(path.to_owned(), |path, word| path.replace(word, "$nothing"))
}

/// An answer that breaks the matrix, in words.
fn wrong(who: &str, call: &Call, answer: &Answer, wanted: &str) -> Option<String> {
    let body = call.body.unwrap_or_default();
    Some(format!(
        "{who}: {} {} {body}: {} in place of {wanted}: {}",
        call.method, call.path, answer.status, answer.text
    ))
}

/// Asks on behalf of everybody and tells what is not as the table has it.
async fn check(fixture: &Fixture, call: &Call) -> Vec<String> {
    let mut found = Vec::new();
    let (yes, no, hidden) = (
        StatusCode::is_success,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
    );
    // The weakest who may, asked only where asking changes nothing.
    let weakest = match call.right {
        Right::Anyone => Some(("the stranger", &fixture.stranger)),
        Right::Reader => Some(("the reader", &fixture.reader)),
        Right::Member | Right::Own => Some(("the member", &fixture.member)),
        Right::Admin => Some(("the administrator", &fixture.admin)),
        Right::Manager => Some(("the manager", &fixture.manager)),
        Right::Public => None,
    };
    if let Some((who, actor)) = weakest.filter(|_| call.method == Method::GET) {
        let answer = call.ask(fixture, actor).await;
        let fits = match call.answered {
            Some(status) => answer.status == status,
            None => {
                yes(&answer.status)
                    || (call.right == Right::Admin && answer.status.is_client_error())
            }
        };
        if !fits {
            found.extend(wrong(who, call, &answer, "success"));
        }
    }
    // One role less.
    let refused = match call.right {
        Right::Member => Some(("the reader", &fixture.reader, &[no][..])),
        Right::Manager => Some(("the member", &fixture.member, &[no][..])),
        // What he may not read may be hidden from him.
        Right::Admin if call.method == Method::GET => {
            Some(("the manager", &fixture.manager, &[no, hidden][..]))
        }
        Right::Admin => Some(("the manager", &fixture.manager, &[no][..])),
        Right::Own => Some(("another user", &fixture.manager, &[no, hidden][..])),
        Right::Public | Right::Anyone | Right::Reader => None,
    };
    if let Some((who, actor, wanted)) = refused {
        let answer = call.ask(fixture, actor).await;
        if !wanted.contains(&answer.status) {
            found.extend(wrong(who, call, &answer, &format!("{wanted:?}")));
        }
    }
    let private =
        matches!(call.right, Right::Reader | Right::Member | Right::Manager) || call.names_hidden();
    if private && call.path.contains('$') {
        let wanted: &[_] = if call.names_hidden() {
            &[hidden]
        } else {
            &[no, hidden]
        };
        let answer = call.ask(fixture, &fixture.stranger).await;
        // A refusal that does not look at the thing tells nothing about it.
        let tells_nothing = call.right == Right::Admin && answer.status == no && {
            let unknown = Call {
                path: unknown(&call.path),
                ..call.clone()
            };
            unknown.ask(fixture, &fixture.stranger).await.status == no
        };
        if !tells_nothing && !wanted.contains(&answer.status) {
            found.extend(wrong("the stranger", call, &answer, &format!("{wanted:?}")));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_keeps_to_the_table() {
    let (routes, table) = (routes::all(), table());
    let serving = |call: &Call| routes::serving(&routes, call.method.as_str(), &call.path);
    let covered: BTreeSet<_> = table.iter().filter_map(serving).collect();
    // The old prefix serves the same as the new.
    let missing: Vec<_> = routes
        .iter()
        .filter(|route| !route.path.starts_with("/compute/v2/") && !covered.contains(route))
        .collect();
    assert!(
        missing.is_empty(),
        "routes without a line in calls.txt: {missing:#?}"
    );
    let fixture = Fixture::new().await;
    let stale: Vec<_> = table
        .iter()
        .filter(|call| serving(call).is_none())
        .collect();
    assert!(
        stale.is_empty(),
        "lines of calls.txt that no route serves: {stale:#?}"
    );

    let checks = futures_util::stream::iter(&table)
        .map(|call| check(&fixture, call))
        .buffer_unordered(AT_A_TIME);
    let found: Vec<String> = checks
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .flatten()
        .collect();
    assert!(
        found.is_empty(),
        "{} answers are not as the table has them:\n{}",
        found.len(),
        found.join("\n")
    );

    // Nothing that was refused has changed anything.
    let Fixture { member, things, .. } = &fixture;
    assert_eq!(member.server(&things["server"]).await["status"], "ACTIVE");
    assert_eq!(
        member
            .get(&format!("/image/v2/images/{}", things["image"]))
            .await["status"],
        "active"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_every_route_but_the_public_ones_answers_401() {
    let cloud = common::Cloud::simulated(1).await;
    let (routes, table) = (routes::all(), table());
    let public: BTreeSet<_> = table
        .iter()
        .filter(|call| call.right == Right::Public)
        .filter_map(|call| routes::serving(&routes, call.method.as_str(), &call.path))
        .collect();
    assert!(public.len() < 40, "too much is public: {public:#?}");
    let nobody = cloud.stranger();
    let forged = nobody.with_token("gAAAAABforgedforgedforgedforgedforgedforgedforgedforgedforged");
    let mut found = Vec::new();
    for route in routes.iter().filter(|route| !public.contains(route)) {
        let path = route.filled(|_| NOTHING.to_owned());
        for (who, actor) in [
            ("without a token", &nobody),
            ("with a forged token", &forged),
        ] {
            for body in [None, Some(json!({}))] {
                let answer = actor.ask(route.method(), &path, body.as_ref()).await;
                if answer.status != StatusCode::UNAUTHORIZED {
                    found.push(format!(
                        "{who}: {} {}: {} {}",
                        route.method, route.path, answer.status, answer.text
                    ));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// K130: only the creator of a key pair may delete it, even against an administrator. K121: a reader makes none.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_pair_belongs_to_its_creator() {
    let fixture = Fixture::new().await;
    let Fixture {
        admin,
        member,
        manager,
        ..
    } = &fixture;
    let of_member = format!("/compute/v2.1/os-keypairs/own?user_id={}", member.user_id);
    for (other, wanted) in [
        (admin, StatusCode::FORBIDDEN),
        (manager, StatusCode::NOT_FOUND),
    ] {
        let answer = other.ask(Method::DELETE, &of_member, None).await;
        assert_eq!(answer.status, wanted, "{}", answer.text);
    }
    assert_eq!(
        member.get("/compute/v2.1/os-keypairs/own").await["keypair"]["name"],
        "own"
    );
    member.delete("/compute/v2.1/os-keypairs/own").await;
    let gone = member
        .ask(Method::GET, "/compute/v2.1/os-keypairs/own", None)
        .await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

/// K118, K124: a member manages instances, a reader views them. K120, K126: the same for images. K116, K122: neither
/// manages who is in the project, its administrator does. K129: what a role allows ends with the role.
#[tokio::test(flavor = "multi_thread")]
async fn roles_say_what_may_be_done_inside_a_project() {
    let fixture = Fixture::new().await;
    let Fixture {
        admin,
        reader,
        member,
        things,
        ..
    } = &fixture;
    let (server, image) = (&things["server"], &things["image"]);
    assert_eq!(reader.server(server).await["name"], "own");
    let stop = json!({"os-stop": null});
    let action = format!("/compute/v2.1/servers/{server}/action");
    assert_eq!(
        reader.ask(Method::POST, &action, Some(&stop)).await.status,
        StatusCode::FORBIDDEN
    );
    member.act(server, stop).await;
    member.wait_for(server, "SHUTOFF", common::SOON).await;
    let image = format!("/image/v2/images/{image}");
    assert_eq!(reader.get(&image).await["name"], "own");
    assert_eq!(
        reader.ask(Method::DELETE, &image, None).await.status,
        StatusCode::FORBIDDEN
    );

    let role = &things["reader_role"];
    let join = format!(
        "/identity/v3/projects/{}/users/{}/roles/{role}",
        member.project_id, fixture.stranger.user_id
    );
    assert_eq!(
        member.ask(Method::PUT, &join, None).await.status,
        StatusCode::FORBIDDEN
    );
    admin.put(&join).await;
    let visitor = fixture
        .cloud
        .log_in("stranger", "stranger-secret", "work")
        .await;
    assert_eq!(visitor.server(server).await["name"], "own");
    admin.delete(&join).await;
    let answer = visitor
        .ask(
            Method::GET,
            &format!("/compute/v2.1/servers/{server}"),
            None,
        )
        .await;
    assert_eq!(
        answer.status,
        StatusCode::UNAUTHORIZED,
        "the token outlives the role: {}",
        answer.text
    );
}

/// K128: what is created belongs to a project; a token without one creates nothing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_outside_a_project() {
    let fixture = Fixture::new().await;
    let password = fixture.cloud.password("admin");
    let unscoped = json!({"auth": {
        "identity": {"methods": ["password"], "password": {"user": {
            "name": "admin", "domain": {"id": "default"}, "password": password,
        }}},
        "scope": "unscoped",
    }});
    let answer = fixture
        .cloud
        .stranger()
        .post("/identity/v3/auth/tokens", unscoped)
        .await;
    let nowhere = fixture
        .admin
        .with_token(answer.headers["x-subject-token"].to_str().unwrap());
    let server = fixture.filled(r#"{"server": {"name": "new", "imageRef": "$image", "flavorRef": "$flavor", "networks": "none"}}"#);
    let server: Value = serde_json::from_str(&server).unwrap();
    let calls = [
        ("/compute/v2.1/servers", server),
        ("/image/v2/images", json!({"name": "new"})),
        (
            "/compute/v2.1/os-server-groups",
            json!({"server_group": {"name": "new", "policy": "affinity"}}),
        ),
    ];
    for (path, body) in calls {
        let answer = nowhere.ask(Method::POST, path, Some(&body)).await;
        assert!(
            answer.status.is_client_error(),
            "{path}: {} {}",
            answer.status,
            answer.text
        );
    }
}
