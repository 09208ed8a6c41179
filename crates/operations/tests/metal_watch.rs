//! The watch over nodes, as an operator notices it: what changed behind the cloud's back is seen, what an operation works
//! on is left alone, a silent BMC is a fault that heals, and never more BMCs are read at once than may be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use async_trait::async_trait;
use corten_bmc::{
    Bmc, BmcError, Boot, Capabilities, FirmwareItem, Inventory, LogEntry, Machine, Oddity,
    PowerAction, PowerState, SensorKind, Sensors,
};
use corten_iam::actor::{Actor, Scope};
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodePowerTarget, ProvisionState};
use corten_operations::Context;
use corten_operations::context::Hosts;
use corten_operations::metal::watch::Watch;
use corten_operations::metal::{Ident, Metal, Simulator, driver, node, power_node};
use corten_sim::{SimMachine, SimMachines, Touch};
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::record;
use harness::{Cloud, member};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch as signal;

fn operator() -> Actor {
    let mut actor = member();
    actor.scope = Scope::System;
    actor.roles.insert("admin".to_owned());
    actor
}

/// A node that was verified, with its power known to be off.
async fn manageable(cloud: &Cloud) -> NodeId {
    let driver = driver::of_node(&cloud.cx.metal, driver::FAKE).unwrap();
    let mut node = node::blank(NodeId::random(), driver, cloud.cx.now());
    node.provision.state = ProvisionState::Manageable;
    node.power.seen = Some(PowerSeen::Off);
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::insert(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    node.id
}

async fn node_of(cloud: &Cloud, id: NodeId) -> Node {
    let mut tx = cloud.cx.store.read().await.unwrap();
    record::get(&mut tx, id).await.unwrap().unwrap()
}

/// What the node's history says, one line each.
async fn history(cloud: &Cloud, id: NodeId) -> Vec<String> {
    let log = node::history(&cloud.cx, &operator(), &Ident::id(id)).await;
    log.unwrap()
        .into_iter()
        .map(|line| format!("{} to {}", line.from.unwrap_or_default(), line.to))
        .collect()
}

fn machine(cloud: &Cloud, id: NodeId) -> Arc<SimMachine> {
    cloud.machines.get(&id.to_string())
}

/// A minute later, everything that is due is read.
async fn look(cloud: &Cloud, watch: &Arc<Watch>) {
    cloud.clock.advance(Duration::from_secs(60));
    watch.round().await.unwrap().join_all().await;
}

fn unreachable() -> BmcError {
    BmcError::Unreachable {
        bmc: "sim".to_owned(),
        reason: "no route to host".to_owned(),
    }
}

#[tokio::test]
async fn a_power_that_changed_behind_the_clouds_back_is_seen() {
    let cloud = Cloud::open().await;
    let id = manageable(&cloud).await;
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    look(&cloud, &watch).await;
    assert!(history(&cloud, id).await.is_empty(), "nothing changed");
    machine(&cloud, id)
        .set_power(PowerAction::On)
        .await
        .unwrap();
    look(&cloud, &watch).await;
    assert_eq!(node_of(&cloud, id).await.power.seen, Some(PowerSeen::On));
    assert_eq!(history(&cloud, id).await, ["power off to power on"]);
}

#[tokio::test]
async fn a_node_that_is_new_is_left_to_who_enrols_it() {
    let cloud = Cloud::open().await;
    let id = manageable(&cloud).await;
    let mut node = node_of(&cloud, id).await;
    node.provision.state = ProvisionState::Enroll;
    node.power.seen = None;
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    look(&cloud, &watch).await;
    assert_eq!(node_of(&cloud, id).await, node);
}

#[tokio::test]
async fn a_silent_bmc_is_a_fault_until_it_answers_again() {
    let cloud = Cloud::open().await;
    let id = manageable(&cloud).await;
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    machine(&cloud, id).fail_next(Touch::Power, 4, unreachable());
    for _ in 0..2 {
        look(&cloud, &watch).await;
        assert!(!node_of(&cloud, id).await.maintenance, "it may pass");
    }
    for _ in 0..2 {
        look(&cloud, &watch).await;
        let node = node_of(&cloud, id).await;
        assert!(node.maintenance);
        assert_eq!(node.fault.as_deref(), Some("power failure"));
        let reason = node.maintenance_reason.unwrap();
        assert!(
            reason.contains("3 times") && reason.contains("no route to host"),
            "{reason}"
        );
        assert_eq!(node.power.seen, Some(PowerSeen::Off), "as last seen");
    }
    look(&cloud, &watch).await;
    let node = node_of(&cloud, id).await;
    assert!(!node.maintenance && node.fault.is_none() && node.maintenance_reason.is_none());
    assert_eq!(
        history(&cloud, id).await,
        ["power off to power failure", "power failure to power off"]
    );
}

#[tokio::test]
async fn maintenance_that_a_person_takes_over_is_theirs_to_end() {
    let cloud = Cloud::open().await;
    let id = manageable(&cloud).await;
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    machine(&cloud, id).fail_next(Touch::Power, 3, unreachable());
    for _ in 0..3 {
        look(&cloud, &watch).await;
    }
    assert!(node_of(&cloud, id).await.fault.is_some());
    let reason = Some("the board is changed".to_owned());
    node::maintain(&cloud.cx, &operator(), &Ident::id(id), true, reason)
        .await
        .unwrap();
    look(&cloud, &watch).await;
    let node = node_of(&cloud, id).await;
    assert!(node.maintenance && node.fault.is_none());
    assert_eq!(
        node.maintenance_reason.as_deref(),
        Some("the board is changed")
    );
}

#[tokio::test]
async fn a_fault_of_another_kind_is_not_healed_by_an_answer() {
    let cloud = Cloud::open().await;
    let id = manageable(&cloud).await;
    let mut node = node_of(&cloud, id).await;
    node.maintenance = true;
    node.fault = Some("clean failure".to_owned());
    let mut tx = cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    look(&cloud, &watch).await;
    let node = node_of(&cloud, id).await;
    assert!(node.maintenance);
    assert_eq!(node.fault.as_deref(), Some("clean failure"));
}

#[tokio::test]
async fn a_node_that_an_operation_works_on_is_not_asked() {
    let cloud = Cloud::open().await;
    let id = manageable(&cloud).await;
    let bench = Bench::new(&cloud, true);
    let before = node_of(&cloud, id).await;
    power_node::set(
        &cloud.cx,
        &operator(),
        &Ident::id(id),
        NodePowerTarget::On,
        None,
    )
    .await
    .unwrap();
    let accepted = node_of(&cloud, id).await;
    assert_ne!(accepted, before);
    machine(&cloud, id)
        .set_power(PowerAction::On)
        .await
        .unwrap();
    look(&cloud, &bench.watch).await;
    assert_eq!(bench.probe.asked(), 0);
    assert_eq!(node_of(&cloud, id).await, accepted);
    cloud.drain().await;
    look(&cloud, &bench.watch).await;
    assert_eq!(bench.probe.asked(), 1, "the operation has ended");
}

/// The operation begins, and ends, while the BMC is being read: what it did is newer than what was read.
#[tokio::test]
async fn a_reading_that_an_operation_overtook_is_thrown_away() {
    let cloud = Cloud::open().await;
    let id = manageable(&cloud).await;
    machine(&cloud, id)
        .set_power(PowerAction::On)
        .await
        .unwrap();
    let bench = Bench::new(&cloud, false);
    let readings = bench.watch.round().await.unwrap();
    bench.probe.until(|told| told.answering == 1).await;
    power_node::set(
        &cloud.cx,
        &operator(),
        &Ident::id(id),
        NodePowerTarget::Off,
        None,
    )
    .await
    .unwrap();
    cloud.drain().await;
    bench.probe.open();
    readings.join_all().await;
    assert_eq!(node_of(&cloud, id).await.power.seen, Some(PowerSeen::Off));
    assert!(history(&cloud, id).await.is_empty());
    look(&cloud, &bench.watch).await;
    assert!(history(&cloud, id).await.is_empty());
}

#[tokio::test]
async fn sensors_are_read_each_ten_minutes_and_kept() {
    let cloud = Cloud::open().await;
    let id = manageable(&cloud).await;
    let watch = Arc::new(Watch::new(cloud.cx.clone(), None));
    look(&cloud, &watch).await;
    let first = cloud.cx.metal.readings.of(id).unwrap();
    let inlet = first.sensors.of(SensorKind::Temperature).next().unwrap();
    assert_eq!((inlet.name.as_str(), inlet.reading), ("Inlet", Some(24.0)));
    for _ in 0..9 {
        look(&cloud, &watch).await;
        assert_eq!(cloud.cx.metal.readings.of(id).unwrap().at, first.at);
    }
    look(&cloud, &watch).await;
    assert!(cloud.cx.metal.readings.of(id).unwrap().at > first.at);
}

#[tokio::test]
async fn no_more_bmcs_are_read_at_once_than_may_be() {
    const NODES: usize = 150;
    let cloud = Cloud::open().await;
    for _ in 0..NODES {
        manageable(&cloud).await;
    }
    let bench = Bench::new(&cloud, false);
    let readings = bench.watch.round().await.unwrap();
    bench.probe.until(|told| told.answering == 64).await;
    let again = bench.watch.round().await.unwrap();
    assert!(again.is_empty(), "a node is not read twice at once");
    bench.probe.open();
    readings.join_all().await;
    let told = *bench.probe.told.borrow();
    assert_eq!(told.most, 64);
    assert_eq!(told.asked, NODES);
    assert_eq!(told.closed, NODES, "each session was ended");
}

/// A watch over the cloud's nodes whose BMCs tell how often they were asked.
struct Bench {
    watch: Arc<Watch>,
    probe: Arc<Probe>,
}

impl Bench {
    fn new(cloud: &Cloud, open: bool) -> Self {
        let probe = Arc::new(Probe {
            told: signal::channel(Told::default()).0,
            is_open: signal::channel(open).0,
        });
        let (machines, seen) = (cloud.machines.clone(), probe.clone());
        let simulator: Simulator = Arc::new(move |id| probed(&machines, &seen, id));
        let cx = Arc::new(Context {
            store: cloud.cx.store.clone(),
            policy: cloud.cx.policy.clone(),
            settings: cloud.cx.settings.clone(),
            clock: cloud.clock.clone(),
            hosts: Hosts::default(),
            fabric: cloud.fabric.clone(),
            image_dir: cloud.cx.image_dir.clone(),
            metal: Metal::forgetful(Some(simulator)).unwrap(),
        });
        let watch = Arc::new(Watch::new(cx, None));
        Self { watch, probe }
    }
}

fn probed(machines: &SimMachines, probe: &Arc<Probe>, id: NodeId) -> Machine {
    let bmc = ProbedBmc {
        machine: machines.get(&id.to_string()),
        probe: probe.clone(),
    };
    Machine {
        bmc: Arc::new(bmc),
        inside: None,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    asked: usize,
    answering: usize,
    most: usize,
    closed: usize,
}

/// What all BMCs of a bench were asked. While it is shut, none of them answers.
struct Probe {
    told: signal::Sender<Told>,
    is_open: signal::Sender<bool>,
}

impl Probe {
    fn asked(&self) -> usize {
        self.told.borrow().asked
    }

    fn open(&self) {
        self.is_open.send_replace(true);
    }

    async fn until(&self, what: impl FnMut(&Told) -> bool) {
        self.told.subscribe().wait_for(what).await.unwrap();
    }
}

struct ProbedBmc {
    machine: Arc<SimMachine>,
    probe: Arc<Probe>,
}

#[async_trait]
impl Bmc for ProbedBmc {
    fn name(&self) -> &str {
        self.machine.name()
    }

    async fn capabilities(&self) -> Result<Capabilities, BmcError> {
        self.machine.capabilities().await
    }

    fn oddities(&self) -> Vec<Oddity> {
        Vec::new()
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        // What it is when it is asked, however late it is told.
        let power = self.machine.power().await;
        self.probe.told.send_modify(|told| {
            told.asked += 1;
            told.answering += 1;
            told.most = told.most.max(told.answering);
        });
        let mut is_open = self.probe.is_open.subscribe();
        is_open.wait_for(|is_open| *is_open).await.unwrap();
        power
    }

    async fn set_power(&self, action: PowerAction) -> Result<(), BmcError> {
        self.machine.set_power(action).await
    }

    async fn boot(&self) -> Result<Boot, BmcError> {
        self.machine.boot().await
    }

    async fn set_boot(&self, wanted: Boot) -> Result<Boot, BmcError> {
        self.machine.set_boot(wanted).await
    }

    async fn inventory(&self) -> Result<Inventory, BmcError> {
        self.machine.inventory().await
    }

    async fn sensors(&self) -> Result<Sensors, BmcError> {
        self.machine.sensors().await
    }

    async fn event_log(&self) -> Result<Vec<LogEntry>, BmcError> {
        self.machine.event_log().await
    }

    async fn clear_event_log(&self) -> Result<(), BmcError> {
        self.machine.clear_event_log().await
    }

    async fn firmware(&self) -> Result<Vec<FirmwareItem>, BmcError> {
        self.machine.firmware().await
    }

    async fn close(&self) {
        self.probe.told.send_modify(|told| {
            told.answering -= 1;
            told.closed += 1;
        });
    }
}
