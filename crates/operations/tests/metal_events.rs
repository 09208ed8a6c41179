//! The watch over nodes whose BMCs tell of events, as an operator notices it: what changed behind the cloud's back is seen without
//! waiting for a reading on time, a BMC that tells nothing is read as ever, and no stream outlives what it is for.
//!
//! The servers speak Redfish over TCP. The cloud's clock stands still unless a test moves it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_bmc::{
    Address, Bmc as _, Credentials, Limits, PowerAction, RedfishAddress, SensorKind, open,
};
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::ProvisionState;
use corten_operations::metal::node::{self, Edit, Reach};
use corten_operations::metal::watch::{self, Watch};
use corten_operations::metal::{Ident, driver};
use corten_operations::{Settings, settings};
use corten_sim::SimMachines;
use corten_sim::redfish::{RedfishNode, RedfishService, Shape};
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::record;
use harness::Cloud;
use harness::metal::operator;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, interval};

const USERNAME: &str = "admin";
const PASSWORD: &str = "s3cret-horse";
const DAY_SECS: u64 = 86_400;

/// A server with a BMC of its own, and the node that it is in the cloud.
struct Server {
    id: NodeId,
    service: RedfishService,
    shown: Arc<RedfishNode>,
    url: String,
}

async fn cloud(metal: settings::Metal) -> Cloud {
    Cloud::with(Settings {
        metal,
        ..Settings::default()
    })
    .await
}

/// Power is read so often, sensors never.
fn power_every(secs: u64) -> settings::Metal {
    settings::Metal {
        power_every_secs: secs,
        sensors_every_secs: 0,
        ..settings::Metal::default()
    }
}

fn sealed(password: &str) -> BTreeMap<String, Option<String>> {
    let place = "driver_info/redfish_password".to_owned();
    BTreeMap::from([(place, Some(Value::from(password).to_string()))])
}

impl Server {
    /// One that is off and manageable.
    async fn enrol(cloud: &Cloud) -> Self {
        let service = RedfishService::new(USERNAME, PASSWORD);
        let machine = SimMachines::default().get("1");
        let shown = service.add("1", machine, Shape::named("standard").unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = service.clone();
        tokio::spawn(async move { serving.serve(listener).await });

        let driver = driver::find(&cloud.cx.metal, driver::REDFISH).unwrap();
        let mut node = node::blank(NodeId::random(), driver, cloud.cx.now());
        for (key, value) in [
            ("redfish_address", url.as_str()),
            ("redfish_username", USERNAME),
        ] {
            node.driver_info.insert(key.to_owned(), json!(value));
        }
        let edit = Edit {
            node,
            secrets: sealed(PASSWORD),
        };
        let made = node::create(&cloud.cx, &operator(), edit, false).await;
        let mut node = made.unwrap();
        node.provision.state = ProvisionState::Manageable;
        node.power.seen = Some(PowerSeen::Off);
        let mut tx = cloud.cx.store.write().await.unwrap();
        record::update(&mut tx, &node).await.unwrap();
        tx.commit().await.unwrap();
        Self {
            id: node.id,
            service,
            shown,
            url,
        }
    }

    /// Somebody else switches it, by way of its BMC, which tells of it.
    async fn switch(&self, action: PowerAction) {
        let address = Address::Redfish(RedfishAddress::new(&self.url).unwrap());
        let credentials = Credentials::new(USERNAME, PASSWORD);
        let bmc = open(address, credentials, Limits::default()).unwrap();
        bmc.set_power(action).await.unwrap();
        bmc.close().await;
    }

    /// Its power changes, and its BMC tells nobody.
    async fn switch_in_silence(&self, action: PowerAction) {
        self.shown.machine().set_power(action).await.unwrap();
    }

    async fn node(&self, cloud: &Cloud) -> Node {
        let mut tx = cloud.cx.store.read().await.unwrap();
        record::get(&mut tx, self.id).await.unwrap().unwrap()
    }

    async fn power(&self, cloud: &Cloud) -> Option<PowerSeen> {
        self.node(cloud).await.power.seen
    }

    async fn until_power(&self, cloud: &Cloud, power: PowerSeen) {
        until("shown", async || self.power(cloud).await == Some(power)).await;
    }

    async fn until_streams(&self, count: usize) {
        until("as many streams", async || {
            self.service.streams_open() == count
        })
        .await;
    }

    async fn set_password(&self, cloud: &Cloud, password: &str) {
        let edit = |before: &Node| {
            Ok(Edit {
                node: before.clone(),
                secrets: sealed(password),
            })
        };
        let ident = Ident::id(self.id);
        node::update(&cloud.cx, &operator(), &ident, Reach::Write, edit)
            .await
            .unwrap();
    }

    async fn maintain(&self, cloud: &Cloud, maintenance: bool) {
        let ident = Ident::id(self.id);
        node::maintain(&cloud.cx, &operator(), &ident, maintenance, None)
            .await
            .unwrap();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut turns = interval(Duration::from_millis(20));
    while !holds().await {
        assert!(Instant::now() < deadline, "not {what}");
        turns.tick().await;
    }
}

/// What is due after so much time is read. A node that is being read still would be left out.
async fn pass(cloud: &Cloud, watch: &Arc<Watch>, secs: u64) {
    until("idle", async || watch.is_idle()).await;
    cloud.clock.advance(Duration::from_secs(secs));
    watch.round().await.unwrap().join_all().await;
}

#[tokio::test]
async fn a_change_that_the_bmc_tells_of_is_seen_without_waiting_for_a_reading_on_time() {
    let cloud = cloud(power_every(DAY_SECS)).await;
    let server = Server::enrol(&cloud).await;
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    pass(&cloud, &watch, 0).await;
    server.until_streams(1).await;
    for (action, power) in [
        (PowerAction::On, PowerSeen::On),
        (PowerAction::Off, PowerSeen::Off),
        (PowerAction::On, PowerSeen::On),
    ] {
        server.switch(action).await;
        server.until_power(&cloud, power).await;
    }
    let log = node::history(&cloud.cx, &operator(), &Ident::id(server.id)).await;
    let told: Vec<String> = log.unwrap().into_iter().map(|line| line.to).collect();
    assert_eq!(told, ["power on", "power off", "power on"]);
    assert_eq!(server.service.sessions_open(), 1, "that of the stream");
}

#[tokio::test]
async fn the_health_that_an_event_is_about_is_read_with_the_sensors() {
    let cloud = cloud(power_every(DAY_SECS)).await;
    let server = Server::enrol(&cloud).await;
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    pass(&cloud, &watch, 0).await;
    server.until_streams(1).await;
    assert!(cloud.cx.metal.readings.of(server.id).is_none());
    let event =
        json!({"Events": [{"MessageId": "ResourceEvent.1.3.ResourceStatusChangedWarning"}]});
    server
        .service
        .write_to_streams(format!("data: {event}\n\n"));
    let readings = &cloud.cx.metal.readings;
    until("read", async || readings.of(server.id).is_some()).await;
    let shown = readings.of(server.id).unwrap();
    assert!(shown.sensors.of(SensorKind::Fan).next().is_some());
}

/// A cloud that reads each minute, and whose server has told by its stream that it was switched on: of the look at the stream's
/// beginning nothing is left.
async fn told_that_it_is_on() -> (Cloud, Server, Arc<Watch>) {
    let cloud = cloud(power_every(60)).await;
    let server = Server::enrol(&cloud).await;
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    pass(&cloud, &watch, 0).await;
    server.until_streams(1).await;
    server.switch(PowerAction::On).await;
    server.until_power(&cloud, PowerSeen::On).await;
    (cloud, server, watch)
}

#[tokio::test]
async fn a_node_is_read_a_tenth_as_often_while_its_stream_is_open_and_at_once_when_it_ends() {
    let (cloud, server, watch) = told_that_it_is_on().await;
    server.switch_in_silence(PowerAction::Off).await;
    for _ in 0..9 {
        pass(&cloud, &watch, 60).await;
        assert_eq!(server.power(&cloud).await, Some(PowerSeen::On));
    }
    server.service.cut_streams();
    server.until_power(&cloud, PowerSeen::Off).await;
    server.until_streams(0).await;

    server.switch_in_silence(PowerAction::On).await;
    pass(&cloud, &watch, 60).await;
    assert_eq!(server.power(&cloud).await, Some(PowerSeen::On), "on time");
    server.until_streams(1).await;
}

#[tokio::test]
async fn a_bmc_that_did_not_tell_of_a_change_is_read_as_often_as_one_without_a_stream() {
    let (cloud, server, watch) = told_that_it_is_on().await;
    server.switch_in_silence(PowerAction::Off).await;
    pass(&cloud, &watch, 600).await;
    assert_eq!(server.power(&cloud).await, Some(PowerSeen::Off));
    server.switch_in_silence(PowerAction::On).await;
    pass(&cloud, &watch, 60).await;
    assert_eq!(server.power(&cloud).await, Some(PowerSeen::On));
    assert_eq!(server.service.streams_open(), 1, "it is not given up");
}

#[tokio::test]
async fn a_stream_ends_with_its_node() {
    let cloud = cloud(power_every(DAY_SECS)).await;
    let server = Server::enrol(&cloud).await;
    tokio::spawn(watch::watch(cloud.cx.clone(), "here".to_owned()));
    server.until_streams(1).await;
    node::delete(&cloud.cx, &operator(), &Ident::id(server.id))
        .await
        .unwrap();
    server.until_streams(0).await;
    until("logged out", async || server.service.sessions_open() == 0).await;
}

#[tokio::test]
async fn who_works_on_a_server_has_all_connections_of_its_bmc() {
    let cloud = cloud(power_every(DAY_SECS)).await;
    let server = Server::enrol(&cloud).await;
    tokio::spawn(watch::watch(cloud.cx.clone(), "here".to_owned()));
    server.until_streams(1).await;
    server.maintain(&cloud, true).await;
    server.until_streams(0).await;
    until("logged out", async || server.service.sessions_open() == 0).await;
    server.maintain(&cloud, false).await;
    server.until_streams(1).await;
}

#[tokio::test]
async fn a_stream_is_opened_anew_with_new_credentials() {
    let cloud = cloud(power_every(DAY_SECS)).await;
    let server = Server::enrol(&cloud).await;
    tokio::spawn(watch::watch(cloud.cx.clone(), "here".to_owned()));
    server.until_streams(1).await;
    server.set_password(&cloud, "not-the-horse").await;
    server.until_streams(0).await;
    until("a fault", async || {
        server.node(&cloud).await.fault.is_some()
    })
    .await;
    server.set_password(&cloud, PASSWORD).await;
    cloud.clock.advance(Duration::from_secs(DAY_SECS));
    server.maintain(&cloud, false).await;
    server.until_streams(1).await;
}

#[tokio::test]
async fn no_more_streams_are_open_than_may_be() {
    let one = settings::Metal {
        event_streams: 1,
        ..power_every(60)
    };
    let cloud = cloud(one).await;
    let servers = [Server::enrol(&cloud).await, Server::enrol(&cloud).await];
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    let open = || -> usize {
        let counts = servers.iter().map(|server| server.service.streams_open());
        counts.sum()
    };
    for _ in 0..3 {
        pass(&cloud, &watch, 60).await;
        assert_eq!(open(), 1);
    }
    // Each is watched all the same.
    for server in &servers {
        server.switch(PowerAction::On).await;
    }
    pass(&cloud, &watch, 60).await;
    for server in &servers {
        server.until_power(&cloud, PowerSeen::On).await;
    }
    let ident = Ident::id(if servers[0].service.streams_open() == 1 {
        servers[0].id
    } else {
        servers[1].id
    });
    node::delete(&cloud.cx, &operator(), &ident).await.unwrap();
    pass(&cloud, &watch, 60).await;
    until("closed", async || open() == 0).await;
    pass(&cloud, &watch, 3600).await;
    assert_eq!(open(), 1, "its place is taken by the other");
}
