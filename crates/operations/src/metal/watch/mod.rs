//! The watch over nodes: reads their power and sensors, writes down what changed behind the cloud's back, and puts a
//! node whose BMC is silent into maintenance until it answers again.
//!
//! ```text
//!  round: nodes that nothing works on ─▶ a turn (64 at a time) ─▶ reading ─▶ metrics
//!                                                                    └─▶ row, if it says otherwise (judged under its lock)
//! ```
//!
//! Nothing here is an operation: a reading that is lost is taken again a minute later.

mod gauges;
mod health;
mod reading;

pub use health::POWER_FAILURE;

use super::conductor::Assignment;
use super::node;
use crate::context::Context;
use corten_bmc::Sensors;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::ProvisionState;
use corten_model::time::Timestamp;
use corten_store::metal::node::Node;
use corten_store::{Failure, Query};
use health::Followed;
use reading::Due;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// What the sensors of each node showed last. It is gone with the process.
#[derive(Default)]
pub struct Readings(Mutex<HashMap<NodeId, Shown>>);

/// One reading of all sensors of a node.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What they showed.
    pub sensors: Sensors,
    /// When that was.
    pub at: Timestamp,
}

impl Readings {
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the sensors of a node showed last.
    pub fn of(&self, id: NodeId) -> Option<Shown> {
        self.lock().get(&id).cloned()
    }

    fn keep(&self, id: NodeId, shown: Shown) {
        self.lock().insert(id, shown);
    }

    fn retain(&self, present: &HashSet<NodeId>) {
        self.lock().retain(|id, _| present.contains(id));
    }
}

/// Watches the nodes of this conductor until the process ends.
pub async fn watch(cx: Arc<Context>, conductor: String) {
    let settings = &cx.settings.metal;
    let periods = [settings.power_every_secs, settings.sensors_every_secs];
    let Some(period) = periods.into_iter().filter(|secs| *secs > 0).min() else {
        return;
    };
    let watch = Arc::new(Watch::new(cx, Some(conductor)));
    let mut rounds = tokio::time::interval(Duration::from_secs(period));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        match watch.round().await {
            // A BMC that hangs holds nobody up: what it is asked in this round goes on beside the next one.
            Ok(mut readings) => readings.detach_all(),
            Err(error) => {
                tracing::error!(error = %crate::error_text(&error), "cannot see which nodes are to be watched");
            }
        }
    }
}

/// One process's watch.
pub struct Watch {
    cx: Arc<Context>,
    /// Only nodes of this conductor are read; `None`: all of them.
    conductor: Option<String>,
    turns: Semaphore,
    followed: Mutex<HashMap<NodeId, Followed>>,
}

impl Watch {
    /// A watch that has read nothing yet.
    pub fn new(cx: Arc<Context>, conductor: Option<String>) -> Self {
        let turns = Semaphore::new(cx.settings.metal.watch_connections.max(1));
        Self {
            cx,
            conductor,
            turns,
            followed: Mutex::default(),
        }
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<NodeId, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read every node that is due. The set ends when all of them are read and what was seen is written.
    pub async fn round(self: &Arc<Self>) -> Result<JoinSet<()>, Failure> {
        let now = self.cx.now();
        let mut tx = self.cx.store.read().await?;
        let nodes = watched(&mut tx).await?;
        let busy = node::running(&mut tx).await?;
        drop(tx);
        let conductors = Assignment::read(&self.cx).await?;
        let present: HashSet<NodeId> = nodes.iter().map(|node| node.id).collect();
        self.followed().retain(|id, _| present.contains(id));
        self.cx.metal.readings.retain(&present);
        let mut readings = JoinSet::new();
        for node in nodes {
            let elsewhere = self
                .conductor
                .as_deref()
                .zip(conductors.of(node.id))
                .is_some_and(|(own, other)| own != other);
            if elsewhere || busy.contains(&node.id.to_string()) {
                continue;
            }
            if let Some(due) = self.begin(&node, now) {
                readings.spawn(self.clone().read(node, due));
            }
        }
        Ok(readings)
    }

    /// What is due of a node, which counts as being read from now on.
    fn begin(&self, node: &Node, now: Timestamp) -> Option<Due> {
        let settings = &self.cx.settings.metal;
        self.followed()
            .entry(node.id)
            .or_default()
            .begin(node, settings, now)
    }

    async fn read(self: Arc<Self>, node: Node, due: Due) {
        let _being_read = BeingRead {
            watch: &self,
            id: node.id,
        };
        if let Err(error) = self.read_and_write(&node, due).await {
            tracing::error!(node = %node.id, error = %crate::error_text(&error), "cannot write down what the BMC of a node shows");
        }
    }

    async fn read_and_write(&self, node: &Node, due: Due) -> Result<(), Failure> {
        // The turns are never closed.
        let Ok(turn) = self.turns.acquire().await else {
            return Ok(());
        };
        // The turn may have come late.
        if reading::is_busy(&mut self.cx.store.read().await?, node.id).await? {
            return Ok(());
        }
        let reading = reading::take(&self.cx, node, due).await;
        drop(turn);
        gauges::reachable(node.id, reading.power.is_ok());
        if let Some(sensors) = reading.sensors {
            gauges::sensors(node.id, &sensors);
            let at = self.cx.now();
            self.cx.metal.readings.keep(node.id, Shown { sensors, at });
        }
        let finding = {
            let mut followed = self.followed();
            let followed = followed.entry(node.id).or_default();
            followed.judge(node, reading.power, self.cx.now())
        };
        gauges::power(node.id, finding.power().or(node.power.seen));
        reading::write(&self.cx, node, &finding).await
    }
}

/// A node counts as being read as long as this is kept, however the reading ends.
struct BeingRead<'a> {
    watch: &'a Watch,
    id: NodeId,
}

impl Drop for BeingRead<'_> {
    fn drop(&mut self) {
        if let Some(followed) = self.watch.followed().get_mut(&self.id) {
            followed.being_read = false;
        }
    }
}

/// The nodes whose BMCs have once answered: those that are new are left to who enrols them.
async fn watched(tx: &mut corten_store::Tx) -> Result<Vec<Node>, Failure> {
    let unknown = [ProvisionState::Enroll, ProvisionState::Verifying];
    let query = unknown.into_iter().fold(Query::new(), |query, state| {
        query.differs("provision_state", state.as_str())
    });
    Ok(query.all(tx).await?)
}
