//! The simulated Redfish service as DSP0266 has it: logins, conditions, refusals, accounts and events, asked over plain HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bmcs;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use bmcs::asker::{Asker, SYSTEM, header, json_of, key_of};
use bmcs::{PASSWORD, Rack, USERNAME, limits};
use corten_bmc::{Address, Credentials, PowerState, RedfishAddress, Trust, open};
use corten_sim::SimMachines;
use corten_sim::redfish::{RedfishService, SelfSigned, Shape};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const ACCOUNTS: &str = "/redfish/v1/AccountService/Accounts";
const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";

#[tokio::test]
async fn nothing_but_the_root_is_shown_to_who_is_not_logged_in() {
    let rack = Rack::start(&["standard"]).await;
    let nobody = Asker::nobody(&rack);
    for open in [
        "/redfish",
        "/redfish/v1",
        "/redfish/v1/",
        "/redfish/v1/odata",
        "/redfish/v1/$metadata",
    ] {
        let answer = nobody.get(open).await;
        assert_eq!(answer.status(), 200, "{open}");
        assert_eq!(header(&answer, "odata-version"), "4.0");
    }
    for closed in [
        "/redfish/v1/Systems",
        SYSTEM,
        SESSIONS,
        "/redfish/v1/Nowhere",
    ] {
        let answer = nobody.get(closed).await;
        assert!(
            header(&answer, "www-authenticate").starts_with("Basic"),
            "{closed}"
        );
        assert_eq!(key_of(answer, 401).await, "NoValidSession", "{closed}");
    }
    let stranger = Asker::named(&rack, USERNAME, "guess");
    assert_eq!(
        key_of(stranger.get(SYSTEM).await, 401).await,
        "NoValidSession"
    );
    assert_eq!(
        key_of(Asker::of(&rack).get("/redfish/v1/Nowhere").await, 404).await,
        "ResourceMissingAtURI"
    );
}

#[tokio::test]
async fn a_session_lets_in_until_it_ends() {
    let rack = Rack::start(&["standard"]).await;
    let nobody = Asker::nobody(&rack);
    let wrong = json!({"UserName": USERNAME, "Password": "guess"});
    assert_eq!(
        key_of(nobody.post(SESSIONS, wrong).await, 401).await,
        "NoValidSession"
    );
    assert_eq!(
        key_of(nobody.post(SESSIONS, json!({"UserName": "x"})).await, 400).await,
        "PropertyMissing"
    );

    let login = json!({"UserName": USERNAME, "Password": PASSWORD});
    let made = nobody.post(SESSIONS, login.clone()).await;
    assert_eq!(made.status(), 201);
    let (token, place) = (header(&made, "x-auth-token"), header(&made, "location"));
    let body = json_of(made).await;
    assert_eq!(
        (&body["@odata.id"], &body["Password"]),
        (&json!(place), &Value::Null)
    );
    let with = async |token: &str, method, path: &str| {
        let answer = nobody
            .ask(method, path, &[("X-Auth-Token", token)], None)
            .await;
        answer.status().as_u16()
    };
    assert_eq!(with(&token, Method::GET, SYSTEM).await, 200);
    assert_eq!(with("guess", Method::GET, SYSTEM).await, 401);
    let listed = json_of(Asker::of(&rack).get(SESSIONS).await).await;
    assert_eq!(listed["Members"], json!([{"@odata.id": place}]));
    assert_eq!(with(&token, Method::DELETE, &place).await, 204);
    assert_eq!(with(&token, Method::GET, SYSTEM).await, 401);

    // A time that nobody asked within ends it; how long it is can be set.
    let admin = Asker::of(&rack);
    let service = "/redfish/v1/SessionService";
    let short = admin.patch(service, json!({"SessionTimeout": 29})).await;
    assert_eq!(key_of(short, 400).await, "PropertyValueIncorrect");
    assert_eq!(
        admin
            .patch(service, json!({"SessionTimeout": 30}))
            .await
            .status(),
        200
    );
    let token = header(&nobody.post(SESSIONS, login).await, "x-auth-token");
    for _ in 0..3 {
        rack.pass(Duration::from_secs(29));
        assert_eq!(with(&token, Method::GET, SYSTEM).await, 200);
    }
    rack.pass(Duration::from_secs(31));
    assert_eq!(with(&token, Method::GET, SYSTEM).await, 401);
}

#[tokio::test]
async fn a_change_of_what_was_changed_meanwhile_is_refused() {
    let rack = Rack::start(&["standard"]).await;
    let admin = Asker::of(&rack);
    let tag = header(&admin.get(SYSTEM).await, "etag");
    let set = async |tag: &str, value: &str| {
        let body = json!({"AssetTag": value});
        admin
            .ask(Method::PATCH, SYSTEM, &[("If-Match", tag)], Some(body))
            .await
    };
    let changed = set(&tag, "rack 7").await;
    assert_eq!(changed.status(), 200);
    let newer = header(&changed, "etag");
    let body = json_of(changed).await;
    assert_eq!(
        (&body["AssetTag"], &body["@odata.etag"]),
        (&json!("rack 7"), &json!(newer))
    );
    assert_eq!(
        key_of(set(&tag, "rack 8").await, 412).await,
        "PreconditionFailed"
    );
    assert_eq!(json_of(admin.get(SYSTEM).await).await["AssetTag"], "rack 7");
    assert_eq!(set("*", "rack 9").await.status(), 200);
    let newest = header(&admin.get(SYSTEM).await, "etag");
    let same = admin
        .ask(Method::GET, SYSTEM, &[("If-None-Match", &newest)], None)
        .await;
    assert_eq!(same.status(), 304);
    let other = admin
        .ask(Method::GET, SYSTEM, &[("OData-Version", "4.1")], None)
        .await;
    assert_eq!(key_of(other, 412).await, "PreconditionFailed");
}

#[tokio::test]
async fn what_is_not_done_is_refused_and_says_why() {
    let rack = Rack::start(&["standard"]).await;
    let admin = Asker::of(&rack);
    let answer = admin.ask(Method::DELETE, SYSTEM, &[], None).await;
    assert_eq!(header(&answer, "allow"), "GET, HEAD, OPTIONS, PATCH");
    assert_eq!(key_of(answer, 405).await, "OperationNotAllowed");
    let answer = admin.ask(Method::OPTIONS, SYSTEM, &[], None).await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "allow")),
        (204, "GET, HEAD, OPTIONS, PATCH".to_owned())
    );
    let answer = admin.ask(Method::HEAD, SYSTEM, &[], None).await;
    assert!(answer.status().is_success() && !header(&answer, "etag").is_empty());
    assert_eq!(answer.text().await.unwrap(), "");
    let action = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
    assert_eq!(header(&admin.get(&action).await, "allow"), "OPTIONS, POST");

    let none = json!({"Boot": {"BootSourceOverrideEnabled": "Disabled"}});
    assert_eq!(admin.patch(SYSTEM, none).await.status(), 200);
    for (body, key) in [
        (json!({"PowerState": "On"}), "PropertyNotWritable"),
        (json!({"Colour": "red"}), "PropertyUnknown"),
        (json!({"AssetTag": 7}), "PropertyValueTypeError"),
        (
            json!({"Boot": {"BootSourceOverrideTarget": "Tape"}}),
            "PropertyValueNotInList",
        ),
        (
            json!({"Boot": {"BootSourceOverrideTarget": "Cd"}}),
            "PropertyMissing",
        ),
        (json!({"Boot": 3}), "PropertyValueTypeError"),
        (json!({"@odata.id": SYSTEM}), "NoOperation"),
        (json!([1]), "MalformedJSON"),
    ] {
        assert_eq!(
            key_of(admin.patch(SYSTEM, body.clone()).await, 400).await,
            key,
            "{body}"
        );
    }
    for (body, key) in [
        (json!({}), "ActionParameterMissing"),
        (json!({"ResetType": "Explode"}), "PropertyValueNotInList"),
        (
            json!({"ResetType": "On", "Delay": 3}),
            "ActionParameterUnknown",
        ),
    ] {
        assert_eq!(
            key_of(admin.post(&action, body.clone()).await, 400).await,
            key,
            "{body}"
        );
    }
    assert_eq!(
        key_of(admin.reset("ForceRestart").await, 409).await,
        "ResourceInUse"
    );
    let answer = admin.get(&format!("{SYSTEM}?$expand=.")).await;
    assert_eq!(key_of(answer, 501).await, "QueryNotSupported");
    let settings = format!("{SYSTEM}/Bios/Settings");
    let answer = admin
        .patch(&settings, json!({"Attributes": {"QuietBoot": "yes"}}))
        .await;
    assert_eq!(key_of(answer, 400).await, "PropertyValueTypeError");
    let update = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let answer = admin
        .post(update, json!({"ImageURI": "ftp://10.0.0.9/bmc-2.0.bin"}))
        .await;
    assert_eq!(key_of(answer, 400).await, "PropertyValueIncorrect");
}

#[tokio::test]
async fn each_reset_type_that_is_listed_does_what_it_says() {
    let rack = Rack::start(&["standard"]).await;
    let admin = Asker::of(&rack);
    let node = rack.service.node("1").unwrap();
    for (word, state, boots) in [
        ("PushPowerButton", "On", 1),
        ("PushPowerButton", "Off", 1),
        ("ForceOn", "On", 2),
        ("On", "On", 2),
        ("Nmi", "On", 2),
        ("GracefulRestart", "On", 3),
        ("ForceRestart", "On", 4),
        ("PowerCycle", "On", 5),
        ("GracefulShutdown", "Off", 5),
        ("On", "On", 6),
        ("ForceOff", "Off", 6),
        ("ForceOff", "Off", 6),
    ] {
        assert_eq!(admin.reset(word).await.status(), 204, "{word}");
        let shown = json_of(admin.get(SYSTEM).await).await;
        assert_eq!(
            (shown["PowerState"].as_str().unwrap(), node.boots()),
            (state, boots),
            "{word}"
        );
    }
}

#[tokio::test]
async fn collections_are_told_in_pages() {
    let rack = Rack::start(&["standard"; 5]).await;
    let admin = Asker::of(&rack);
    let mut next = Some("/redfish/v1/Systems?$top=2".to_owned());
    let mut seen = Vec::new();
    while let Some(path) = next {
        let page = json_of(admin.get(&path).await).await;
        assert_eq!(page["Members@odata.count"], 5);
        seen.extend(
            page["Members"]
                .as_array()
                .unwrap()
                .iter()
                .map(|link| link["@odata.id"].to_string()),
        );
        next = page["Members@odata.nextLink"]
            .as_str()
            .map(|link| format!("{link}&$top=2"));
    }
    seen.dedup();
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn accounts_are_made_changed_and_let_do_what_their_role_says() {
    let rack = Rack::start(&["standard"]).await;
    let admin = Asker::of(&rack);
    let account = |name: &str, role: &str| json!({"UserName": name, "Password": "first-horse", "RoleId": role});
    let made = admin.post(ACCOUNTS, account("reader", "ReadOnly")).await;
    assert_eq!(made.status(), 201);
    let place = header(&made, "location");
    assert_eq!(
        key_of(
            admin.post(ACCOUNTS, account("reader", "Operator")).await,
            409
        )
        .await,
        "ResourceAlreadyExists"
    );
    assert_eq!(
        key_of(admin.post(ACCOUNTS, account("x", "King")).await, 400).await,
        "PropertyValueNotInList"
    );
    let mut short = account("x", "Operator");
    short["Password"] = json!("short");
    assert_eq!(
        key_of(admin.post(ACCOUNTS, short).await, 400).await,
        "PropertyValueIncorrect"
    );

    let reader = Asker::named(&rack, "reader", "first-horse");
    assert_eq!(reader.get(SYSTEM).await.status(), 200);
    assert_eq!(
        key_of(reader.reset("On").await, 403).await,
        "InsufficientPrivilege"
    );
    let others = format!("{ACCOUNTS}/1");
    assert_eq!(
        key_of(reader.get(&others).await, 404).await,
        "ResourceMissingAtURI"
    );
    let rise = reader
        .patch(&place, json!({"RoleId": "Administrator"}))
        .await;
    assert_eq!(key_of(rise, 403).await, "InsufficientPrivilege");

    // The password is its own to change.
    assert_eq!(
        reader
            .patch(&place, json!({"Password": "second-horse"}))
            .await
            .status(),
        200
    );
    assert_eq!(reader.get(SYSTEM).await.status(), 401);
    let reader = Asker::named(&rack, "reader", "second-horse");
    assert_eq!(reader.get(SYSTEM).await.status(), 200);
    assert_eq!(
        json_of(reader.get(&place).await).await["Password"],
        Value::Null
    );

    assert_eq!(
        admin
            .patch(&place, json!({"RoleId": "Operator"}))
            .await
            .status(),
        200
    );
    assert_eq!(reader.reset("On").await.status(), 204);
    assert_eq!(
        key_of(reader.post(SUBSCRIPTIONS, json!({})).await, 403).await,
        "InsufficientPrivilege"
    );

    assert_eq!(
        admin
            .patch(&place, json!({"PasswordChangeRequired": true}))
            .await
            .status(),
        200
    );
    assert_eq!(
        key_of(reader.get(SYSTEM).await, 403).await,
        "PasswordChangeRequired"
    );
    assert_eq!(reader.get(&place).await.status(), 200);
    assert_eq!(
        reader
            .patch(&place, json!({"Password": "third-horse"}))
            .await
            .status(),
        200
    );
    let reader = Asker::named(&rack, "reader", "third-horse");
    assert_eq!(reader.get(SYSTEM).await.status(), 200);

    let login = json!({"UserName": "reader", "Password": "third-horse"});
    let token = header(
        &Asker::nobody(&rack).post(SESSIONS, login).await,
        "x-auth-token",
    );
    assert_eq!(
        admin.ask(Method::DELETE, &place, &[], None).await.status(),
        204
    );
    let gone = Asker::nobody(&rack)
        .ask(Method::GET, SYSTEM, &[("X-Auth-Token", &token)], None)
        .await;
    assert_eq!(gone.status(), 401);
    let own = admin.ask(Method::DELETE, &others, &[], None).await;
    assert_eq!(key_of(own, 409).await, "ResourceInUse");
}

async fn note(
    State(sender): State<UnboundedSender<(String, Value)>>,
    headers: HeaderMap,
    body: String,
) {
    let mark = headers.get("x-mark").and_then(|mark| mark.to_str().ok());
    let _ = sender.send((
        mark.unwrap_or_default().to_owned(),
        serde_json::from_str(&body).unwrap(),
    ));
}

#[tokio::test]
async fn who_subscribed_is_told_of_power_in_its_order() {
    let rack = Rack::start(&["standard", "standard"]).await;
    let admin = Asker::of(&rack);
    let (sender, mut told) = unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = format!("http://{}/told", listener.local_addr().unwrap());
    let router = Router::new().route("/told", post(note)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let wanted = json!({
        "Destination": destination, "Protocol": "Redfish", "Context": "rack 7", "RegistryPrefixes": ["ResourceEvent"],
        "OriginResources": [{"@odata.id": SYSTEM}], "HttpHeaders": [{"X-Mark": "m1"}],
    });
    let made = admin.post(SUBSCRIPTIONS, wanted.clone()).await;
    assert_eq!(made.status(), 201);
    let place = header(&made, "location");
    assert_eq!(json_of(made).await["HttpHeaders"], json!([]));

    // Of another server it is told nothing.
    let other = "/redfish/v1/Systems/2/Actions/ComputerSystem.Reset";
    assert_eq!(
        admin.post(other, json!({"ResetType": "On"})).await.status(),
        204
    );
    for word in ["On", "PowerCycle", "ForceOff"] {
        assert_eq!(admin.reset(word).await.status(), 204);
    }
    let mut keys = Vec::new();
    for _ in 0..4 {
        let (mark, event) = told.recv().await.unwrap();
        assert_eq!((mark.as_str(), &event["Context"]), ("m1", &json!("rack 7")));
        let event = &event["Events"][0];
        assert_eq!(event["OriginOfCondition"]["@odata.id"], SYSTEM);
        assert_eq!(event["EventTimestamp"], rack.now().to_string());
        keys.push(
            event["MessageId"]
                .as_str()
                .unwrap()
                .rsplit('.')
                .next()
                .unwrap()
                .to_owned(),
        );
    }
    let (on, off) = ("ResourcePoweredOn", "ResourcePoweredOff");
    assert_eq!(keys, [on, off, on, off]);

    assert_eq!(
        admin.ask(Method::DELETE, &place, &[], None).await.status(),
        204
    );
    assert_eq!(
        json_of(admin.get(SUBSCRIPTIONS).await).await["Members@odata.count"],
        0
    );
    for (key, value) in [
        ("Destination", json!("mailto:root")),
        ("RegistryPrefixes", json!(["Weather"])),
        ("Protocol", json!("SNMPv2c")),
        ("MetricReportDefinitions", json!([])),
    ] {
        let mut wrong = wanted.clone();
        wrong[key] = value;
        assert_eq!(
            admin.post(SUBSCRIPTIONS, wrong).await.status(),
            400,
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_bmc_that_restarts_is_away_for_some_requests() {
    let rack = Rack::start(&["standard"]).await;
    let admin = Asker::of(&rack);
    let path = "/redfish/v1/Managers/1/Actions/Manager.Reset";
    let answer = admin.post(path, json!({"ResetType": "ForceRestart"})).await;
    assert_eq!(answer.status(), 204);
    let away = admin.get(SYSTEM).await;
    assert_eq!(header(&away, "retry-after"), "0");
    assert_eq!(key_of(away, 503).await, "ServiceTemporarilyUnavailable");
    let (_, bmc) = rack.node("1");
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn the_service_speaks_tls() {
    let shown = SelfSigned::new("127.0.0.1").unwrap();
    let service = RedfishService::new(USERNAME, PASSWORD);
    let node = service.add("1", SimMachines::default().get("1"), Shape::standard());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { service.serve_tls(listener, shown.config).await });

    let address = RedfishAddress::new(&url)
        .unwrap()
        .with_system(node.system_path());
    let trusting = |trust| {
        let address = Address::Redfish(address.clone().with_trust(trust));
        open(address, Credentials::new(USERNAME, PASSWORD), limits()).unwrap()
    };
    let bmc = trusting(Trust::Authority(shown.pem));
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
    let wrong = trusting(Trust::Pinned([7; 32]));
    assert!(
        wrong
            .power()
            .await
            .unwrap_err()
            .to_string()
            .contains("not trusted")
    );
}
