//! Orders to a ramdisk that calls for ever and never comes to their end: each is given up after its time, by itself, with a
//! sentence that a person understands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use async_trait::async_trait;
use corten_bmc::{BmcError, Inside, Machine, Order, Progress, Task};
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_operations::Settings;
use corten_operations::metal::agent::{self, Beat};
use corten_operations::metal::{Ident, machine};
use corten_sim::SimMachine;
use corten_store::metal::node::Node;
use corten_store::metal::order_span::{self, OrderSpan};
use corten_store::record;
use harness::Cloud;
use harness::metal::{after, ask, assert_sound, node_of};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use NodeVerb::{Inspect, Manage, Provide};

const MINUTE: u64 = 60;

/// How the ramdisks erase.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    AtOnce,
    /// At work for ever.
    Hangs,
    /// The same, and each time more is done.
    Moves,
    /// Nobody is there.
    Silent,
}

#[derive(Clone)]
struct Hands(Arc<Mutex<(Way, u64)>>);

impl Hands {
    fn go(&self, way: Way) {
        self.0.lock().unwrap().0 = way;
    }

    fn look(&self) -> Option<Result<Progress, BmcError>> {
        let mut state = self.0.lock().unwrap();
        let (way, done) = &mut *state;
        match way {
            Way::AtOnce => None,
            Way::Silent => Some(Err(BmcError::Unreachable {
                bmc: "the ramdisk".to_owned(),
                reason: "no route to host".to_owned(),
            })),
            Way::Moves => {
                *done += 1;
                Some(Ok(Progress::Running { done: Some(*done) }))
            }
            Way::Hangs => {
                let done = (*done > 0).then_some(*done);
                Some(Ok(Progress::Running { done }))
            }
        }
    }
}

struct Ramdisk(Arc<SimMachine>, Hands);

#[async_trait]
impl Inside for Ramdisk {
    async fn work(&self, order: &Order) -> Result<Progress, BmcError> {
        let erases = matches!(order.task, Task::Erase);
        match self.1.look().filter(|_| erases) {
            Some(told) => told,
            None => self.0.work(order).await,
        }
    }
}

/// One server with two disks of 480 GiB: overwritten at 20 MiB/s they take not quite seven hours.
struct Server {
    cloud: Cloud,
    hands: Hands,
    id: NodeId,
}

impl Server {
    async fn new() -> Self {
        let hands = Hands(Arc::new(Mutex::new((Way::AtOnce, 0))));
        let ours = hands.clone();
        let cloud = Cloud::of(Settings::default(), |machines| {
            Arc::new(move |id| {
                let machine = machines.get(&id.to_string());
                Machine {
                    bmc: machine.clone(),
                    inside: Some(Arc::new(Ramdisk(machine, ours.clone()))),
                }
            })
        })
        .await;
        let id = after(&cloud, true, &[Manage, Inspect]).await;
        Self { cloud, hands, id }
    }

    async fn node(&self) -> Node {
        node_of(&self.cloud, self.id).await
    }

    /// A boot's ramdisk calls, and is given what waits for it.
    async fn arrives(&self) {
        self.cloud
            .step_until(async || self.node().await.provision.state == ProvisionState::CleanWait)
            .await;
        assert!(self.cloud.ramdisks.call().await);
        self.cloud.run_until_killed().await;
    }

    async fn erases(&self, way: Way) {
        ask(&self.cloud, self.id, Provide).await;
        self.hands.go(way);
        self.arrives().await;
    }

    /// So much time passes, at the end of which the ramdisk calls if it is there.
    async fn pass(&self, minutes: u64) -> ProvisionState {
        self.cloud
            .clock
            .advance(Duration::from_secs(minutes * MINUTE));
        if self.hands.0.lock().unwrap().0 != Way::Silent {
            self.calls().await;
        }
        self.cloud.run_until_killed().await;
        self.node().await.provision.state
    }

    async fn calls(&self) {
        let node = self.node().await;
        let token = machine::secret(&self.cloud.cx, &node, agent::TOKEN).unwrap();
        let beat = Beat {
            url: "https://192.0.2.7:9999".to_owned(),
            certificate: Some("a certificate".to_owned()),
            version: None,
            token,
        };
        agent::heartbeat(&self.cloud.cx, &Ident::id(self.id), beat)
            .await
            .unwrap();
    }

    async fn failed_for(&self, parts: &[&str]) {
        let why = self.node().await.last_error.unwrap();
        for part in parts {
            assert!(why.contains(part), "no '{part}' in: {why}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_calls_for_ever_and_never_ends_its_work_is_given_up() {
    let server = Server::new().await;
    server.erases(Way::Hangs).await;
    for half_hours in 1..16 {
        let state = server.pass(30).await;
        assert_eq!(
            state,
            ProvisionState::CleanWait,
            "after {half_hours} × 30 min"
        );
    }
    assert_eq!(server.pass(30).await, ProvisionState::CleanFailed);
    server
        .failed_for(&[
            "the order 'erase' at 2026-01-01T",
            "not done after 8 h 0 min",
            "told of no progress",
            "may take 7 h 49 min",
            "console",
        ])
        .await;
    assert_sound(&server.cloud, server.id, "given up").await;

    // Whoever looked at it and took it out of quarantine has it wiped after all.
    let mut node = server.node().await;
    assert!(node.maintenance);
    (node.maintenance, node.fault) = (false, None);
    let mut tx = server.cloud.cx.store.write().await.unwrap();
    record::update(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
    server.hands.go(Way::AtOnce);
    for verb in [Manage, Provide] {
        ask(&server.cloud, server.id, verb).await;
        server.cloud.drain().await;
    }
    assert_eq!(
        server.node().await.provision.state,
        ProvisionState::Available
    );
    assert_sound(&server.cloud, server.id, "wiped at last").await;
}

#[tokio::test]
async fn an_order_that_makes_progress_is_not_given_up_until_it_stands_still() {
    let server = Server::new().await;
    server.erases(Way::Moves).await;
    for _ in 0..60 {
        assert_eq!(server.pass(9).await, ProvisionState::CleanWait);
    }
    server.hands.go(Way::Hangs);
    assert_eq!(server.pass(9).await, ProvisionState::CleanWait);
    assert_eq!(server.pass(9).await, ProvisionState::CleanFailed);
    server
        .failed_for(&["not done after 9 h 18 min", "last seen to go on 18 min ago"])
        .await;
}

#[tokio::test]
async fn what_the_same_took_before_tells_how_long_it_may_take() {
    let server = Server::new().await;
    for _ in 0..3 {
        server.erases(Way::Hangs).await;
        server.hands.go(Way::AtOnce);
        server.pass(20).await;
        server.cloud.drain().await;
        let state = server.node().await.provision.state;
        assert_eq!(state, ProvisionState::Available);
        ask(&server.cloud, server.id, Manage).await;
        server.cloud.drain().await;
    }
    server.erases(Way::Hangs).await;
    assert_eq!(server.pass(39).await, ProvisionState::CleanWait);
    assert_eq!(server.pass(2).await, ProvisionState::CleanFailed);
    server.failed_for(&["may take 40 min"]).await;
}

#[tokio::test]
async fn after_another_boot_the_order_has_all_its_time_again() {
    let server = Server::new().await;
    server.erases(Way::Hangs).await;
    for _ in 0..7 {
        assert_eq!(server.pass(60).await, ProvisionState::CleanWait);
    }
    // Gone for longer than a ramdisk may be silent: the server is booted again.
    server.hands.go(Way::Silent);
    server.pass(6).await;
    server.hands.go(Way::Hangs);
    server.arrives().await;
    assert_eq!(server.pass(60).await, ProvisionState::CleanWait);
}

/// A server that is wiped each day for years leaves no more rows than that.
#[tokio::test]
async fn the_last_orders_of_a_kind_are_kept_and_the_oldest_go() {
    let server = Server::new().await;
    let now = server.cloud.cx.now();
    let mut tx = server.cloud.cx.store.write().await.unwrap();
    for number in 0..60 {
        let at = now.plus(Duration::from_secs(number * MINUTE));
        let span = OrderSpan {
            mark: format!("wipe {number}"),
            node_id: server.id,
            kind: "erase".to_owned(),
            measure: 0,
            given_at: at,
            done: None,
            moved_at: at,
            ended_at: None,
        };
        order_span::keep(&mut tx, &span).await.unwrap();
        // However often it is written.
        order_span::keep(&mut tx, &span).await.unwrap();
    }
    let kept = order_span::of_kind(&mut tx, server.id, "erase").await;
    let marks: Vec<String> = kept.unwrap().into_iter().map(|span| span.mark).collect();
    assert_eq!(marks.len(), 50);
    assert_eq!(
        (marks[0].as_str(), marks[49].as_str()),
        ("wipe 59", "wipe 10")
    );
}
