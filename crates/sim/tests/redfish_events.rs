//! Corten's own client on streams of events: what it makes of them, and what of those that break.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bmcs;

use bmcs::asker::{Asker, header, json_of};
use bmcs::{PASSWORD, Rack, USERNAME, limits};
use corten_bmc::{
    About, Address, Bmc, BmcError, Capability, Credentials, Event, EventStream, Limits,
    PowerAction, PowerState, RedfishAddress, Trust, open,
};
use corten_sim::SimMachines;
use corten_sim::redfish::{RedfishService, SelfSigned, Shape};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{interval, timeout};

const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";
const STREAM: &str = "/redfish/v1/EventService/SSE";

async fn next(events: &mut EventStream) -> Option<Result<Event, BmcError>> {
    let patience = Duration::from_secs(20);
    timeout(patience, events.next()).await.expect("an event")
}

async fn about(events: &mut EventStream) -> About {
    next(events).await.unwrap().unwrap().about
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        let mut turns = interval(Duration::from_millis(20));
        while !holds() {
            turns.tick().await;
        }
    };
    timeout(Duration::from_secs(20), wait).await.expect(what);
}

#[tokio::test]
async fn power_is_told_in_its_order_and_of_this_server_alone() {
    let rack = Rack::start(&["standard", "dell"]).await;
    let (_, bmc) = rack.node("1");
    let (_, other) = rack.node("2");
    let can = bmc.capabilities().await.unwrap();
    assert!(can.has(Capability::EventStream));
    let mut events = bmc.events().await.unwrap();
    assert_eq!(rack.service.streams_open(), 1);
    other.set_power(PowerAction::On).await.unwrap();
    bmc.set_power(PowerAction::On).await.unwrap();
    bmc.set_power(PowerAction::Off).await.unwrap();
    for key in ["ResourcePoweredOn", "ResourcePoweredOff"] {
        let event = next(&mut events).await.unwrap().unwrap();
        assert_eq!(event.about, About::Power);
        assert!(event.message_id.unwrap().ends_with(key));
        assert_eq!(event.origin.unwrap(), "/redfish/v1/Systems/1");
    }
    drop(events);
    until("closed", || rack.service.streams_open() == 0).await;
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
    bmc.close().await;
    other.close().await;
    assert_eq!(rack.service.sessions_open(), 0);
}

#[tokio::test]
async fn one_connection_of_a_bmc_is_left_for_questions() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    let first = bmc.events().await.unwrap();
    // Whoever opened it: the limit is of the BMC.
    let again = rack.open("1", limits());
    let error = again.events().await.err().unwrap();
    assert!(
        matches!(error, BmcError::NoConnectionLeft { connections: 2, .. }),
        "{error}"
    );
    assert!(error.is_transient());
    assert_eq!(again.power().await.unwrap(), PowerState::Off);
    again.sensors().await.unwrap();
    drop(first);
    drop(again.events().await.unwrap());
}

#[tokio::test]
async fn no_stream_is_opened_where_a_bmc_gets_one_connection() {
    let rack = Rack::start(&["standard"]).await;
    let one = Limits {
        connections: 1,
        ..limits()
    };
    let bmc = rack.open("1", one);
    let error = bmc.events().await.err().unwrap();
    assert!(
        matches!(error, BmcError::NoConnectionLeft { .. }),
        "{error}"
    );
    assert_eq!(bmc.power().await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn what_is_odd_in_a_stream_is_passed_over() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    let mut events = bmc.events().await.unwrap();
    let write = |text: &str| rack.service.write_to_streams(text.to_owned());
    let on = json!({"MessageId": "ResourceEvent.1.3.ResourcePoweredOn"});
    let warning = json!({"MessageId": "ResourceEvent.1.3.ResourceStatusChangedWarning"});
    let login = json!({"MessageId": "Maker.1.0.Login", "Message": "admin logged in"});
    // Comments, blank lines, other fields, no JSON, JSON of other kinds: none of it is an event.
    for odd in [
        ": keep-alive\n\n",
        "\n\n\r\n",
        "retry: 10\n\n",
        "nonsense\n\n",
        "data:\n\n",
        "data: {\"Events\": [\n\n",
        "data: {\"@odata.type\": \"#MetricReport.v1_4_2.MetricReport\", \"MetricValues\": []}\n\n",
    ] {
        write(odd);
    }
    // Several in one message, which is in several lines that end in either way, and comes in pieces.
    let message = serde_json::to_string_pretty(&json!({"Events": [on, login, 7, null, warning]}));
    for line in message.unwrap().lines() {
        write("da");
        write(&format!("ta:{line}\r\n"));
    }
    write("\r\n");
    assert_eq!(about(&mut events).await, About::Power);
    assert_eq!(about(&mut events).await, About::Other);
    assert_eq!(about(&mut events).await, About::Health);
    // Two messages at once.
    write(&format!(
        "data: {}\n\ndata: {}\n\n",
        json!({"Events": [warning]}),
        on
    ));
    assert_eq!(about(&mut events).await, About::Health);
    assert_eq!(about(&mut events).await, About::Power);
    let oddities = bmc.oddities();
    assert!(oddities.iter().any(|odd| odd.expected == "JSON"));
}

#[tokio::test]
async fn a_stream_that_is_cut_in_the_middle_of_an_event_ends_with_an_error() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    let mut events = bmc.events().await.unwrap();
    rack.service.write_to_streams("data: {\"Events\": [{");
    rack.service.cut_streams();
    let error = next(&mut events).await.unwrap().unwrap_err();
    assert!(matches!(error, BmcError::Unreachable { .. }), "{error}");
    assert!(next(&mut events).await.is_none());
    // The BMC is there, and so is the next stream.
    until("closed", || rack.service.streams_open() == 0).await;
    drop(events);
    let mut events = bmc.events().await.unwrap();
    bmc.set_power(PowerAction::On).await.unwrap();
    assert_eq!(about(&mut events).await, About::Power);
}

#[tokio::test]
async fn an_event_without_an_end_is_not_kept() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    let mut events = bmc.events().await.unwrap();
    rack.service.write_to_streams("data: ");
    for _ in 0..40 {
        rack.service.write_to_streams("x".repeat(64 * 1024));
    }
    let error = next(&mut events).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("1048576 bytes"), "{error}");
    assert!(next(&mut events).await.is_none());
    until("closed", || rack.service.streams_open() == 0).await;
}

#[tokio::test]
async fn a_subscription_that_is_deleted_ends_its_stream() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    let admin = Asker::of(&rack);
    let mut events = bmc.events().await.unwrap();
    let list = json_of(admin.get(SUBSCRIPTIONS).await).await;
    let place = list["Members"][0]["@odata.id"].as_str().unwrap().to_owned();
    let shown = json_of(admin.get(&place).await).await;
    assert_eq!(shown["SubscriptionType"], "SSE");
    let gone = admin.ask(Method::DELETE, &place, &[], None).await;
    assert_eq!(gone.status(), 204);
    assert!(next(&mut events).await.is_none(), "an end, not an error");
}

#[tokio::test]
async fn who_does_not_listen_as_the_standard_has_it_is_refused_in_json() {
    let rack = Rack::start(&["standard"]).await;
    let admin = Asker::of(&rack);
    let only_json = [("Accept", "application/json")];
    let filtered = format!("{STREAM}?$filter=RegistryPrefix%20eq%20Task");
    for (path, headers, status) in [
        (STREAM, only_json.as_slice(), 406),
        (filtered.as_str(), &[], 400),
        ("/redfish/v1/EventService/SSE?$top=3", &[], 501),
    ] {
        let refused = admin.ask(Method::GET, path, headers, None).await;
        assert_eq!(refused.status(), status, "{path}");
        assert!(header(&refused, "content-type").starts_with("application/json"));
    }
    assert_eq!(Asker::nobody(&rack).get(STREAM).await.status(), 401);
    let posted = admin.post(STREAM, json!({})).await;
    assert_eq!(posted.status(), 405);
    assert_eq!(rack.service.streams_open(), 0);
}

#[tokio::test]
async fn a_session_that_ended_is_renewed_for_a_stream() {
    let rack = Rack::start(&["standard"]).await;
    let (_, bmc) = rack.node("1");
    bmc.power().await.unwrap();
    rack.service.end_sessions();
    let mut events = bmc.events().await.unwrap();
    bmc.set_power(PowerAction::On).await.unwrap();
    assert_eq!(about(&mut events).await, About::Power);
}

#[tokio::test]
async fn a_wrong_password_gives_no_stream() {
    let rack = Rack::start(&["standard"]).await;
    let address = Address::Redfish(RedfishAddress::new(&rack.url).unwrap());
    let stranger = open(address, Credentials::new(USERNAME, "guess"), limits()).unwrap();
    let error = stranger.events().await.err().unwrap();
    assert!(matches!(error, BmcError::LoginRefused { .. }), "{error}");
    assert_eq!(rack.service.streams_open(), 0);
}

/// The stream is believed for the same reason as any answer.
#[tokio::test]
async fn a_stream_comes_over_the_pinned_certificate() {
    let shown = SelfSigned::new("bmc").unwrap();
    let service = RedfishService::new(USERNAME, PASSWORD);
    let machine = SimMachines::default().get("1");
    service.add("1", machine, Shape::named("standard").unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = service.clone();
    tokio::spawn(async move { serving.serve_tls(listener, shown.config).await });
    let trusting = |trust| -> Arc<dyn Bmc> {
        let address = RedfishAddress::new(&url).unwrap().with_trust(trust);
        let credentials = Credentials::new(USERNAME, PASSWORD);
        open(Address::Redfish(address), credentials, limits()).unwrap()
    };
    let other = trusting(Trust::Pinned([7; 32]));
    let error = other.events().await.err().unwrap();
    let BmcError::Untrusted { reason, .. } = error else {
        panic!("{error}");
    };
    // "its SHA-256 is …, another one is pinned"
    let pin = reason.split([' ', ',']).find(|word| word.len() == 64);
    let bmc = trusting(Trust::pinned(pin.unwrap()).unwrap());
    let mut events = bmc.events().await.unwrap();
    bmc.set_power(PowerAction::On).await.unwrap();
    assert_eq!(about(&mut events).await, About::Power);
}
