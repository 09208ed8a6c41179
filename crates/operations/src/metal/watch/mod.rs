//! The watch over nodes: reads their power and sensors, writes down what changed behind the cloud's back, and puts a
//! node whose BMC is silent into maintenance until it answers again.
//!
//! ```text
//!  round: nodes that nothing works on ─▶ a turn (64 at a time) ─▶ reading ─▶ metrics
//!                                                           ▲        │ └─▶ row, if it says otherwise (judged under its lock)
//!                              event: a look at once ───────┘        └─▶ a stream of the BMC's events, where it has one
//! ```
//!
//! Nothing here is an operation: a reading that is lost is taken again a minute later. A node whose stream is open is read on
//! time too, though less often: events get lost.

mod follow;
mod gauges;
mod health;
mod reading;
mod streamed;

pub use health::POWER_FAILURE;

use super::conductor::Assignment;
use super::{CHANGED, node};
use crate::context::Context;
use corten_bmc::{Health, Sensors};
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::ProvisionState;
use corten_model::time::Timestamp;
use corten_store::metal::node::Node;
use corten_store::{Failure, Query, record};
use health::Followed;
use reading::{Due, Reading, Stream};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

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

    /// The worst that the sensors of a node told last.
    pub fn health(&self, id: NodeId) -> Option<Health> {
        self.lock().get(&id)?.sensors.health()
    }

    fn keep(&self, id: NodeId, shown: Shown) {
        self.lock().insert(id, shown);
    }

    fn retain(&self, present: &HashSet<NodeId>) {
        self.lock().retain(|id, _| present.contains(id));
    }
}

/// Streams of events are looked after this often at least.
const ROUND_MAX_SECS: u64 = 60;

/// Watches the nodes of this conductor until the process ends.
pub async fn watch(cx: Arc<Context>, conductor: String) {
    let settings = &cx.settings.metal;
    let periods = [settings.power_every_secs, settings.sensors_every_secs];
    let Some(period) = periods.into_iter().filter(|secs| *secs > 0).min() else {
        return;
    };
    let mut wake_ups = cx.store.wake_ups();
    let watch = Arc::new(Watch::new(cx, Some(conductor)));
    let mut rounds = tokio::time::interval(Duration::from_secs(period.min(ROUND_MAX_SECS)));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let begun = tokio::select! {
            _ = rounds.tick() => watch.round().await,
            // Of those that were missed the next round sees what they were of.
            Ok(wake_up) = wake_ups.recv() => match changed(&wake_up.place) {
                Some(id) => watch.changed(id).await,
                None => continue,
            },
            () = watch.once_more.notified() => watch.look_once_more().await,
        };
        match begun {
            // A BMC that hangs holds nobody up: what it is asked in this round goes on beside the next one.
            Ok(mut readings) => readings.detach_all(),
            Err(error) => {
                tracing::error!(error = %crate::error_text(&error), "cannot see which nodes are to be watched");
            }
        }
    }
}

/// The node whose record was changed, of the place of a wake-up.
fn changed(place: &str) -> Option<NodeId> {
    let id = place.strip_prefix(CHANGED)?;
    Uuid::parse_str(id).ok().map(NodeId)
}

/// One process's watch.
pub struct Watch {
    cx: Arc<Context>,
    /// Only nodes of this conductor are read; `None`: all of them.
    conductor: Option<String>,
    turns: Semaphore,
    /// One for each stream of events that may be open.
    places: Arc<Semaphore>,
    followed: Mutex<HashMap<NodeId, Followed>>,
    /// A reading ended of a node that is to be looked after once more.
    once_more: Notify,
}

/// A place for a stream of events that is open, or about to be.
type Place = OwnedSemaphorePermit;

/// What a reading showed.
struct Seen {
    /// It differs from what was known.
    is_new: bool,
    /// The power is not just changing, and known.
    is_settled: bool,
}

impl Watch {
    /// A watch that has read nothing yet.
    pub fn new(cx: Arc<Context>, conductor: Option<String>) -> Self {
        let turns = Semaphore::new(cx.settings.metal.watch_connections.max(1));
        let places = Arc::new(Semaphore::new(cx.settings.metal.event_streams));
        Self {
            cx,
            conductor,
            turns,
            places,
            followed: Mutex::default(),
            once_more: Notify::new(),
        }
    }

    fn followed(&self) -> MutexGuard<'_, HashMap<NodeId, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read every node that is due. The set ends when all of them are read and what was seen is written.
    pub async fn round(self: &Arc<Self>) -> Result<JoinSet<()>, Failure> {
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
            let is_busy = busy.contains(&node.id.to_string());
            if let Some((due, place)) = self.begin(&node, &conductors, is_busy) {
                readings.spawn(self.clone().read(node, due, place));
            }
        }
        gauges::streams(self.streams_open());
        Ok(readings)
    }

    /// The same for one node, whose record was changed.
    async fn changed(self: &Arc<Self>, id: NodeId) -> Result<JoinSet<()>, Failure> {
        let mut tx = self.cx.store.read().await?;
        let node = record::get::<Node>(&mut tx, id).await?;
        let is_busy = reading::is_busy(&mut tx, id).await?;
        drop(tx);
        let mut readings = JoinSet::new();
        match node.filter(is_watched) {
            Some(node) => {
                let conductors = Assignment::read(&self.cx).await?;
                if let Some((due, place)) = self.begin(&node, &conductors, is_busy) {
                    readings.spawn(self.clone().read(node, due, place));
                }
            }
            None => drop(self.followed().remove(&id)),
        }
        Ok(readings)
    }

    /// The same for those that were changed while they were being read.
    async fn look_once_more(self: &Arc<Self>) -> Result<JoinSet<()>, Failure> {
        let mut ids = Vec::new();
        for (id, followed) in self.followed().iter_mut() {
            if !followed.being_read && std::mem::take(&mut followed.once_more) {
                ids.push(*id);
            }
        }
        for id in ids {
            self.changed(id).await?.detach_all();
        }
        Ok(JoinSet::new())
    }

    /// What is due of a node, which counts as being read from now on, with the place for a stream that is to be opened.
    fn begin(
        &self,
        node: &Node,
        conductors: &Assignment,
        is_busy: bool,
    ) -> Option<(Due, Option<Place>)> {
        let own = self.conductor.as_deref();
        let elsewhere = own
            .zip(conductors.of(node.id))
            .is_some_and(|(own, other)| own != other);
        let mut all = self.followed();
        if elsewhere {
            all.remove(&node.id);
            return None;
        }
        let followed = all.entry(node.id).or_default();
        followed.keep_in_step(node);
        followed.once_more |= followed.being_read;
        if is_busy {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let settings = &self.cx.settings.metal;
        let due = followed.begin(node, settings, place.is_some(), self.cx.now())?;
        Some((due, place.filter(|_| due.stream)))
    }

    /// Whether no node is being read.
    pub fn is_idle(&self) -> bool {
        !self.followed().values().any(|followed| followed.being_read)
    }

    fn streams_open(&self) -> usize {
        let most = self.cx.settings.metal.event_streams;
        most.saturating_sub(self.places.available_permits())
    }

    async fn read(self: Arc<Self>, node: Node, due: Due, place: Option<Place>) {
        let being_read = BeingRead {
            watch: &self,
            id: node.id,
        };
        let read = self.read_and_write(&node, due).await;
        drop(being_read);
        match read {
            Ok(stream) => self.settle_stream(&node, stream, place),
            Err(error) => {
                tracing::error!(node = %node.id, error = %crate::error_text(&error), "cannot write down what the BMC of a node shows");
            }
        }
    }

    async fn read_and_write(&self, node: &Node, due: Due) -> Result<Stream, Failure> {
        // The turns are never closed.
        let Ok(turn) = self.turns.acquire().await else {
            return Ok(Stream::NotWished);
        };
        // The turn may have come late.
        if reading::is_busy(&mut self.cx.store.read().await?, node.id).await? {
            return Ok(Stream::NotWished);
        }
        let (reading, stream) = reading::take(&self.cx, node, due).await;
        drop(turn);
        self.keep(node, reading, true).await?;
        Ok(stream)
    }

    /// Shows and writes down what was read. `on_time`: it was due, whatever the BMC told by itself.
    async fn keep(&self, node: &Node, reading: Reading, on_time: bool) -> Result<Seen, Failure> {
        let id = node.id;
        gauges::reachable(id, reading.power.is_ok());
        let mut is_new = false;
        if let Some(sensors) = reading.sensors {
            gauges::sensors(id, &sensors);
            let before = self.cx.metal.readings.of(id);
            is_new = before.is_none_or(|before| before.sensors.health() != sensors.health());
            let at = self.cx.now();
            self.cx.metal.readings.keep(id, Shown { sensors, at });
        }
        let (finding, is_streamed, missed) = {
            let mut followed = self.followed();
            let followed = followed.entry(id).or_default();
            let finding = followed.judge(node, reading.power, self.cx.now());
            let is_changed = finding.power().is_some() && finding.power() != node.power.seen;
            is_new |= is_changed;
            let untold = on_time && is_changed && node.power.seen.is_some();
            let missed = untold && followed.streamed.missed_a_change();
            (finding, followed.streamed.is_held(), missed)
        };
        if missed {
            gauges::missed();
            tracing::warn!(node = %id, "the BMC of a node tells of events, but not of a change of power: the node is read as often as one without");
        }
        gauges::streamed(id, is_streamed);
        gauges::power(id, finding.power().or(node.power.seen));
        reading::write(&self.cx, node, &finding).await?;
        Ok(Seen {
            is_new,
            is_settled: finding.power().is_some(),
        })
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
            if followed.once_more {
                self.watch.once_more.notify_one();
            }
        }
    }
}

/// Those whose BMCs have never answered are left to who enrols them.
const UNKNOWN: [ProvisionState; 2] = [ProvisionState::Enroll, ProvisionState::Verifying];

fn is_watched(node: &Node) -> bool {
    !UNKNOWN.contains(&node.provision.state)
}

async fn watched(tx: &mut corten_store::Tx) -> Result<Vec<Node>, Failure> {
    let query = UNKNOWN.into_iter().fold(Query::new(), |query, state| {
        query.differs("provision_state", state.as_str())
    });
    Ok(query.all(tx).await?)
}
