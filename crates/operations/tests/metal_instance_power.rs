//! The power of instances that are whole servers, as their owners and their operator notice it: what a command does, what it does
//! not do while somebody else works on the server, and what is seen of a server that was switched by another.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use async_trait::async_trait;
use corten_bmc::{
    Bmc, BmcError, Boot, Capabilities, FirmwareItem, Inventory, LogEntry, Machine, Oddity,
    PowerAction, PowerState, Sensors,
};
use corten_model::ids::{InstanceId, NodeId};
use corten_model::lifecycle::Command;
use corten_model::lifecycle::node::{NodePowerTarget, NodeVerb, ProvisionState};
use corten_model::refusal::Reason;
use corten_operations::Settings;
use corten_operations::instance::command;
use corten_operations::metal::watch::Watch;
use corten_operations::metal::{Ident, node, power_node, provision};
use corten_sim::{SimMachine, Touch};
use corten_store::Failure;
use corten_store::instances::{self, Instance};
use corten_store::metal::flash::{Flash, Stage};
use corten_store::metal::node::{Node, PowerSeen, SUBJECT};
use corten_store::operations;
use corten_store::transitions;
use harness::metal::{ask, assert_sound, change, node_of, offer, operator, ready, rent, wish};
use harness::{Cloud, Disturbance, member};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server that a tenant has, and its node.
struct Server {
    cloud: Cloud,
    id: InstanceId,
    node: NodeId,
}

impl Server {
    async fn running() -> Self {
        Self::on(Cloud::open().await).await
    }

    async fn on(cloud: Cloud) -> Self {
        offer(&cloud, &[]).await;
        let node = ready(&cloud, false).await;
        let id = rent(&cloud).await;
        cloud.drain().await;
        let server = Self { cloud, id, node };
        assert_eq!(server.word().await, "Active");
        server
    }

    async fn instance(&self) -> Instance {
        self.cloud.instance(self.id).await
    }

    async fn word(&self) -> &'static str {
        word(&self.instance().await)
    }

    async fn node(&self) -> Node {
        node_of(&self.cloud, self.node).await
    }

    fn machine(&self) -> Arc<SimMachine> {
        self.cloud.machines.get(&self.node.to_string())
    }

    fn is_on(&self) -> bool {
        self.machine().booted_from().is_some()
    }

    async fn command(&self, command: Command) -> Result<(), Failure> {
        command::simple(&self.cloud.cx, &member(), self.id, command).await
    }

    async fn rebuild(&self) -> Result<(), Failure> {
        let change = command::Rebuild::default();
        let done = command::rebuild(&self.cloud.cx, &member(), self.id, change).await;
        done.map(drop)
    }

    /// A command is carried out.
    async fn done(&self, command: Command) {
        self.command(command).await.unwrap();
        self.cloud.drain().await;
    }

    async fn operator_switches(&self, target: NodePowerTarget) {
        let ident = Ident::id(self.node);
        power_node::set(&self.cloud.cx, &operator(), &ident, target, None)
            .await
            .unwrap();
    }

    /// What its owner reads of its states, oldest first.
    async fn log(&self) -> Vec<String> {
        let mut tx = self.cloud.cx.store.read().await.unwrap();
        let log = transitions::of_subject(&mut tx, instances::SUBJECT, &self.id.to_string()).await;
        log.unwrap().into_iter().map(|line| line.to).collect()
    }

    /// What the watch told of the node's power: all of it was done by nobody that it knows.
    async fn told_power(&self) -> Vec<String> {
        let log = node::history(&self.cloud.cx, &operator(), &Ident::id(self.node)).await;
        let lines = log.unwrap().into_iter().map(|line| line.to);
        lines.filter(|to| to.starts_with("power")).collect()
    }

    /// A service was carried out to its end.
    async fn assert_serviced(&self) {
        let log = node::history(&self.cloud.cx, &operator(), &Ident::id(self.node)).await;
        let states: Vec<String> = log.unwrap().into_iter().map(|line| line.to).collect();
        let has = |wanted: &str| states.iter().any(|state| state == wanted);
        let went_well = has("servicing") && !has("service failed");
        let last = states.last().map(String::as_str);
        assert!(went_well && last == Some("active"), "{states:?}");
    }

    /// What runs on the node.
    async fn work(&self) -> Option<String> {
        let mut tx = self.cloud.cx.store.read().await.unwrap();
        let running = operations::running_on(&mut tx, SUBJECT, &self.node.to_string()).await;
        running.unwrap().map(|operation| operation.kind)
    }
}

fn word(instance: &Instance) -> &'static str {
    instance.state.display(instance.class).as_str()
}

fn watch(cloud: &Cloud) -> Arc<Watch> {
    Arc::new(Watch::new(cloud.cx.clone(), None))
}

/// A minute later, everything that is due is read.
async fn look(cloud: &Cloud, watch: &Arc<Watch>) {
    cloud.clock.advance(Duration::from_secs(60));
    watch.round().await.unwrap().join_all().await;
}

fn assert_conflict(outcome: Result<(), Failure>, words: &[&str]) {
    let Err(Failure::Refused(refusal)) = outcome else {
        panic!("not refused: {outcome:?}");
    };
    assert_eq!(refusal.reason, Reason::Conflict, "{refusal}");
    for word in words {
        assert!(refusal.message.contains(word), "no '{word}' in: {refusal}");
    }
}

/// A command once undisturbed, then with one disturbance at each point of each step of it and of the node's. Whatever
/// happens: the owner sees what the server does, a minute later at the latest.
async fn survive(command: Command, at_the_end: &str) {
    let calm = Server::running().await;
    calm.cloud.forget_moments();
    calm.done(command).await;
    assert_eq!(calm.word().await, at_the_end);
    let moments = calm.cloud.moments();
    let kinds = ["power_node", "metal_instance"];
    for kind in kinds {
        let seen = moments.iter().any(|moment| moment.kind.contains(kind));
        assert!(seen, "no step of {kind}");
    }
    for (index, moment) in moments.iter().enumerate() {
        for way in moment.ways() {
            let context = format!("{way:?} at {moment:?}");
            let server = Server::running().await;
            server.cloud.plan(index, way.clone());
            let mut starts = server.machine().starts();
            starts.mark_unchanged();
            server.done(command).await;
            assert_sound(&server.cloud, server.node, &context).await;
            look(&server.cloud, &watch(&server.cloud)).await;
            let (word, is_on) = (server.word().await, server.is_on());
            match way {
                Disturbance::Failure => assert!(
                    word == "Error" || (word == "Active") == is_on,
                    "{context}: {word}, and the server is on: {is_on}"
                ),
                _ => {
                    let ends_on = at_the_end == "Active";
                    assert_eq!((word, is_on), (at_the_end, ends_on), "{context}");
                    let restarted = starts.has_changed().unwrap();
                    assert!(!ends_on || restarted, "{context}: it was not started");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stop_survives_what_befalls_its_workers() {
    survive(Command::Stop, "Stopped").await;
}

#[tokio::test]
async fn a_hard_reboot_survives_what_befalls_its_workers() {
    survive(Command::HardReboot, "Active").await;
}

#[tokio::test]
async fn what_a_command_does_is_no_change_behind_the_clouds_back() {
    let server = Server::running().await;
    let watch = watch(&server.cloud);
    look(&server.cloud, &watch).await;
    for command in [Command::Stop, Command::Start, Command::HardReboot] {
        server.command(command).await.unwrap();
        look(&server.cloud, &watch).await;
        server.cloud.drain().await;
        look(&server.cloud, &watch).await;
    }
    assert!(server.told_power().await.is_empty());
}

#[tokio::test]
async fn a_command_waits_for_its_operators_work_on_the_server() {
    let server = Server::running().await;
    server.command(Command::Stop).await.unwrap();
    ask(&server.cloud, server.node, NodeVerb::Service).await;
    server.cloud.drain().await;
    assert_eq!(server.word().await, "Stopped");
    assert!(server.instance().await.fault.is_none() && !server.is_on());
    let node = server.node().await;
    assert_eq!(node.provision.state, ProvisionState::Active);
    server.assert_serviced().await;
}

#[tokio::test]
async fn its_operator_waits_for_a_tenants_command() {
    let server = Server::running().await;
    server.command(Command::Stop).await.unwrap();
    let is_switched = async || server.work().await.is_some();
    server.cloud.step_until(is_switched).await;
    let ident = Ident::id(server.node);
    let service = wish(NodeVerb::Service);
    let asked = provision::set(&server.cloud.cx, &operator(), &ident, service).await;
    assert_conflict(asked, &["is locked by operation", "power_node"]);
    server.cloud.drain().await;
    assert_eq!(server.word().await, "Stopped");
}

/// A step that installed firmware ended without knowing what became of it.
#[tokio::test]
async fn power_is_not_cut_while_firmware_may_be_in_flight() {
    let server = Server::running().await;
    let now = server.cloud.cx.now();
    change(&server.cloud, server.node, |node| {
        node.flashes.push(Flash {
            component: "bmc".to_owned(),
            target: "BMC".to_owned(),
            name: None,
            url: "http://127.0.0.1/bmc-2.1.bin".to_owned(),
            wait_secs: 0,
            version_before: None,
            tasks_before: None,
            since: Some(now),
            tries: 1,
            task: None,
            looks: 1,
            lost_at: Some(now),
            stage: Stage::Begun,
        });
    })
    .await;
    let words = ["the firmware of 'bmc'", "ask again in"];
    for command in [Command::Stop, Command::HardReboot] {
        assert_conflict(server.command(command).await, &words);
    }
    assert_conflict(server.rebuild().await, &words);
    assert_eq!(server.word().await, "Active");
    server.cloud.clock.advance(Duration::from_secs(3600));
    server.done(Command::Stop).await;
    assert_eq!(server.word().await, "Stopped");
}

#[tokio::test]
async fn a_server_that_is_never_turned_off_is_rebooted_and_not_stopped() {
    let server = Server::running().await;
    change(&server.cloud, server.node, |node| {
        node.disable_power_off = true;
    })
    .await;
    let words = ["disable_power_off", "Reboot it hard"];
    assert_conflict(server.command(Command::Stop).await, &words);
    let starts = server.machine().starts();
    let started = |starts: &tokio::sync::watch::Receiver<Option<corten_sim::Start>>| {
        starts.borrow().as_ref().map(|start| start.number)
    };
    let before = started(&starts);
    server.done(Command::HardReboot).await;
    assert_eq!(server.word().await, "Active");
    assert!(server.is_on() && started(&starts) > before);
}

#[tokio::test]
async fn a_server_that_was_switched_by_another_is_seen_by_its_owner() {
    let server = Server::running().await;
    let watch = watch(&server.cloud);
    look(&server.cloud, &watch).await;
    server.machine().set_power(PowerAction::Off).await.unwrap();
    look(&server.cloud, &watch).await;
    assert_eq!(server.word().await, "Stopped");
    server.done(Command::Start).await;
    assert_eq!((server.word().await, server.is_on()), ("Active", true));

    server.machine().set_power(PowerAction::Off).await.unwrap();
    look(&server.cloud, &watch).await;
    server.machine().set_power(PowerAction::On).await.unwrap();
    look(&server.cloud, &watch).await;
    assert_eq!((server.word().await, server.is_on()), ("Active", true));
    let log = server.log().await;
    let wanted = ["Stopped", "PoweringOn", "Active", "Stopped", "Active"];
    let last: Vec<String> = log[log.len() - wanted.len()..].to_vec();
    let same = last.iter().zip(wanted);
    for (line, wanted) in same {
        let line = line.replace('-', "").to_lowercase();
        assert_eq!(line, wanted.to_lowercase(), "{log:?}");
    }
}

#[tokio::test]
async fn a_server_that_its_operator_switched_is_seen_by_its_owner_at_once() {
    let server = Server::running().await;
    for (target, at_the_end) in [
        (NodePowerTarget::Off, "Stopped"),
        (NodePowerTarget::On, "Active"),
        (NodePowerTarget::SoftOff, "Stopped"),
    ] {
        server.operator_switches(target).await;
        server.cloud.drain().await;
        assert_eq!(server.word().await, at_the_end);
    }
    assert!(server.told_power().await.is_empty());
}

#[tokio::test]
async fn a_bmc_that_does_not_answer_stops_nothing() {
    let server = Server::running().await;
    let watch = watch(&server.cloud);
    let silent = BmcError::Unreachable {
        bmc: "sim".to_owned(),
        reason: "no route to host".to_owned(),
    };
    server.machine().fail_next(Touch::Power, 4, silent);
    for _ in 0..4 {
        look(&server.cloud, &watch).await;
        assert_eq!(server.word().await, "Active");
    }
}

#[tokio::test]
async fn what_was_not_rebuilt_is_not_switched_but_rebuilt_again() {
    let server = Server::running().await;
    let broken = BmcError::TaskFailed {
        bmc: "sim".to_owned(),
        task: "standby.prepare_image".to_owned(),
        state: "failed".to_owned(),
        message: "the disk is dead".to_owned(),
    };
    server.machine().fail_next(Touch::Install, 1, broken);
    server.rebuild().await.unwrap();
    server.cloud.drain().await;
    assert_eq!(server.word().await, "Error");
    for command in [Command::Stop, Command::HardReboot] {
        let words = ["'deploy failed'", "Rebuild the instance, or delete it"];
        assert_conflict(server.command(command).await, &words);
        assert_eq!(server.word().await, "Error");
    }
    server.rebuild().await.unwrap();
    server.cloud.drain().await;
    let fault = server.instance().await.fault;
    assert_eq!(server.word().await, "Active", "{fault:?}");
}

#[tokio::test]
async fn a_rebuild_is_refused_while_the_operator_works_on_the_server() {
    let server = Server::running().await;
    ask(&server.cloud, server.node, NodeVerb::Service).await;
    let words = ["is worked on by operation", "service_node", "Ask again"];
    assert_conflict(server.rebuild().await, &words);
    server.cloud.drain().await;
    ask(&server.cloud, server.node, NodeVerb::Rescue).await;
    server.cloud.drain().await;
    assert_conflict(server.rebuild().await, &["is 'rescue'", "ask again"]);
    assert_conflict(server.command(Command::Stop).await, &["is 'rescue'"]);
    assert_eq!(server.word().await, "Active");
    assert!(server.instance().await.fault.is_none());
}

/// The service begins after the rebuild was accepted, and before it has begun.
#[tokio::test]
async fn a_rebuild_waits_for_work_that_came_before_it() {
    let server = Server::running().await;
    server.rebuild().await.unwrap();
    ask(&server.cloud, server.node, NodeVerb::Service).await;
    server.cloud.drain().await;
    let instance = server.instance().await;
    assert_eq!(word(&instance), "Active", "{:?}", instance.fault);
    server.assert_serviced().await;
}

#[tokio::test]
async fn a_server_that_does_not_shut_down_holds_up_nobody_and_is_cut_off() {
    let deaf = Arc::new(AtomicBool::new(false));
    let server = Server::on(hard_of_hearing(&deaf, &[PowerAction::SoftOff]).await).await;
    deaf.store(true, Ordering::Relaxed);
    server.command(Command::Stop).await.unwrap();
    // Without the clock: what is due is done, and no worker stands by.
    let work = server.cloud.run_until_killed();
    let worked = tokio::time::timeout(Duration::from_secs(30), work).await;
    assert!(worked.is_ok(), "a worker waits for the server");
    assert_eq!(server.work().await.as_deref(), Some("power_node"));
    assert!(server.is_on());
    let asked = server.cloud.cx.now();
    server.cloud.drain().await;
    let waited = server.cloud.cx.now().since(asked);
    assert_eq!((server.word().await, server.is_on()), ("Stopped", false));
    let limit = Settings::default().compute.shutdown_timeout();
    assert!(waited >= limit, "it had {waited:?} to shut down");
}

#[tokio::test]
async fn a_server_that_cannot_be_switched_is_what_it_was_and_says_why() {
    let deaf = Arc::new(AtomicBool::new(false));
    let cloud = hard_of_hearing(&deaf, &[PowerAction::SoftOff, PowerAction::Off]).await;
    let server = Server::on(cloud).await;
    deaf.store(true, Ordering::Relaxed);
    server.done(Command::Stop).await;
    assert_eq!((server.word().await, server.is_on()), ("Active", true));
    let fault = server.instance().await.fault.unwrap();
    let node = server.node().await;
    assert!(fault.details.contains("within 60 s"), "{fault:?}");
    assert_eq!(node.power.seen, Some(PowerSeen::On));
    assert_sound(&server.cloud, server.node, "deaf").await;
}

#[tokio::test]
async fn a_hard_reboot_that_does_not_come_up_again_is_not_called_running() {
    let deaf = Arc::new(AtomicBool::new(false));
    let server = Server::on(hard_of_hearing(&deaf, &[PowerAction::On]).await).await;
    deaf.store(true, Ordering::Relaxed);
    server.done(Command::HardReboot).await;
    assert_eq!((server.word().await, server.is_on()), ("Error", false));
    assert!(server.instance().await.fault.is_some());
    deaf.store(false, Ordering::Relaxed);
    server.done(Command::HardReboot).await;
    assert_eq!((server.word().await, server.is_on()), ("Active", true));
}

#[tokio::test]
async fn an_instance_is_deleted_while_its_server_is_being_switched() {
    let deaf = Arc::new(AtomicBool::new(false));
    let server = Server::on(hard_of_hearing(&deaf, &[PowerAction::SoftOff]).await).await;
    deaf.store(true, Ordering::Relaxed);
    server.command(Command::Stop).await.unwrap();
    server.cloud.run_until_killed().await;
    let deleted = command::delete(&server.cloud.cx, &member(), server.id).await;
    deleted.unwrap();
    server.cloud.drain().await;
    let node = server.node().await;
    assert_eq!(
        (node.provision.state, node.instance_id, node.maintenance),
        (ProvisionState::Available, None, false)
    );
    assert_sound(&server.cloud, server.node, "deleted").await;
}

/// A cloud whose servers take these changes of power and do not do them, while they are deaf.
async fn hard_of_hearing(deaf: &Arc<AtomicBool>, to: &'static [PowerAction]) -> Cloud {
    let deaf = deaf.clone();
    Cloud::of(Settings::default(), |machines| {
        Arc::new(move |id| {
            let Machine { inside, .. } = machines.machine(&id.to_string());
            let bmc = DeafBmc {
                machine: machines.get(&id.to_string()),
                deaf: deaf.clone(),
                to,
            };
            Machine {
                bmc: Arc::new(bmc),
                inside,
            }
        })
    })
    .await
}

struct DeafBmc {
    machine: Arc<SimMachine>,
    deaf: Arc<AtomicBool>,
    to: &'static [PowerAction],
}

#[async_trait]
impl Bmc for DeafBmc {
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
        self.machine.power().await
    }

    async fn set_power(&self, action: PowerAction) -> Result<(), BmcError> {
        if self.deaf.load(Ordering::Relaxed) && self.to.contains(&action) {
            return Ok(());
        }
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

    async fn close(&self) {}
}
