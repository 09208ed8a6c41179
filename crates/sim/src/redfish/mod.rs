//! A Redfish service (DMTF DSP0266) of simulated servers: thousands of them on one port of one process.
//!
//! ```mermaid
//! flowchart LR
//!     http["answer: HTTP, login, ETag, Allow"] --> find["find: path to resource"]
//!     find --> fixed["root, sessions, accounts, update, tasks, events, registries"]
//!     find --> node["systems, boot, bios, parts, logs, media, managers, chassis"]
//!     node --> shape["shape + shapes.toml: what vendors do otherwise"]
//!     node --> machine["SimMachine: the server"]
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `answer`, `tls` | a request to its answer: login, faults, conditions, headers |
//! | `resource`, `refusal`, `schema` | what a resource is, how one is refused, its type and `$metadata` |
//! | `find` | which resource lies at a path |
//! | `root`, `sessions`, `accounts`, `registries` | the service itself |
//! | `systems`, `boot`, `bios`, `parts`, `logs` | `ComputerSystem` and what hangs on it |
//! | `managers`, `media`, `chassis` | `Manager`, `VirtualMedia`, `Chassis` with its sensors |
//! | `update`, `tasks`, `events`, `event_stream` | firmware, what takes time, and who wants to be told |
//! | `node`, `faults`, `shape` | one server, what is broken about it, and whose BMC it has |
//!
//! No time passes by itself. A task goes on when it is asked for ([`RedfishService::with_task_polls`]), and sessions end by
//! a clock that can be given ([`RedfishService::with_clock`]). What is not done is refused.

mod accounts;
mod answer;
mod bios;
mod boot;
mod chassis;
mod event_stream;
mod events;
mod faults;
mod find;
mod logs;
mod managers;
mod media;
mod node;
mod parts;
mod refusal;
mod registries;
mod resource;
mod root;
mod schema;
mod sessions;
mod shape;
mod systems;
mod tasks;
mod tls;
mod update;

pub use faults::{Fault, On};
pub use node::RedfishNode;
pub use shape::{NoSuchShape, Shape};
pub use tls::SelfSigned;
pub(crate) use update::version_in;

use crate::SimMachine;
use accounts::Accounts;
use axum::Router;
use axum::body::Bytes;
use events::Subscriptions;
use jiff::Timestamp;
use rustls::ServerConfig;
use sessions::Sessions;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tasks::Tasks;
use tokio::net::TcpListener;

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all parts of the service share.
pub(crate) struct Service {
    nodes: RwLock<Nodes>,
    accounts: Mutex<Accounts>,
    sessions: Mutex<Sessions>,
    tasks: Mutex<Tasks>,
    subscriptions: Mutex<Subscriptions>,
    /// Held from the comparison of `If-Match` until the change is made.
    writes: Mutex<()>,
    clock: RwLock<Clock>,
    task_polls: AtomicU32,
}

/// The servers, by id, and by each path that is theirs (`Systems/1`).
#[derive(Default)]
struct Nodes {
    by_id: BTreeMap<String, Arc<RedfishNode>>,
    by_path: HashMap<String, Arc<RedfishNode>>,
    /// How many have each shape.
    shapes: BTreeMap<Shape, usize>,
}

impl Nodes {
    fn remove(&mut self, id: &str) {
        let Some(node) = self.by_id.remove(id) else {
            return;
        };
        for path in node.paths() {
            self.by_path.remove(&path);
        }
        if let Some(count) = self.shapes.get_mut(&node.shape) {
            *count -= 1;
        }
        self.shapes.retain(|_, count| *count > 0);
    }

    fn add(&mut self, node: &Arc<RedfishNode>) {
        self.remove(&node.id);
        self.by_id.insert(node.id.clone(), Arc::clone(node));
        for path in node.paths() {
            self.by_path.insert(path, Arc::clone(node));
        }
        *self.shapes.entry(node.shape).or_default() += 1;
    }
}

/// A lock whose holder cannot have left half a change behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    fn now(&self) -> Timestamp {
        let clock = Arc::clone(&self.clock.read().unwrap_or_else(PoisonError::into_inner));
        clock()
    }

    /// The node that this path is of: `Systems`, `Managers` or `Chassis`, and the name there.
    fn node_at(&self, kind: &str, name: &str) -> Option<Arc<RedfishNode>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.by_path.get(&format!("{kind}/{name}")).cloned()
    }

    fn node(&self, id: &str) -> Option<Arc<RedfishNode>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.by_id.get(id).cloned()
    }

    /// Each shape that a node has.
    fn shapes(&self) -> Vec<Shape> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.shapes.keys().copied().collect()
    }

    fn nodes(&self) -> Vec<Arc<RedfishNode>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.by_id.values().cloned().collect()
    }
}

/// A Redfish service and its servers. Clones are the same service.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use corten_sim::redfish::{RedfishService, Shape};
/// use corten_sim::SimMachines;
///
/// let machines = SimMachines::default();
/// let service = RedfishService::new("admin", "password");
/// for id in ["1", "2"] {
///     service.add(id, machines.get(id), Shape::named("dell")?);
/// }
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// service.serve(listener).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedfishService(Arc<Service>);

impl RedfishService {
    /// A service without servers, and with this one account, an administrator's.
    pub fn new(username: &str, password: &str) -> Self {
        Self(Arc::new(Service {
            nodes: RwLock::default(),
            accounts: Mutex::new(Accounts::with_administrator(username, password)),
            sessions: Mutex::default(),
            tasks: Mutex::default(),
            subscriptions: Mutex::default(),
            writes: Mutex::default(),
            clock: RwLock::new(Arc::new(Timestamp::now)),
            task_polls: AtomicU32::new(4),
        }))
    }

    /// By this clock sessions end and entries are dated, in place of the machine's.
    pub fn with_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let place = &self.0.clock;
        *place.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(clock);
        self
    }

    /// After how many looks at it a task is done; 4 if not set, and at least 1.
    pub fn with_task_polls(self, polls: u32) -> Self {
        self.0.task_polls.store(polls.max(1), Ordering::Relaxed);
        self
    }

    /// Shows a server under this id, with a BMC of this shape. One of the same id is replaced.
    pub fn add(&self, id: &str, machine: Arc<SimMachine>, shape: Shape) -> Arc<RedfishNode> {
        let node = Arc::new(RedfishNode::new(id, machine, shape));
        let nodes = &self.0.nodes;
        let mut nodes = nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.add(&node);
        node
    }

    /// The server with this id.
    pub fn node(&self, id: &str) -> Option<Arc<RedfishNode>> {
        self.0.node(id)
    }

    /// Takes a server away; its paths are then nobody's.
    pub fn remove(&self, id: &str) {
        let nodes = &self.0.nodes;
        let mut nodes = nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.remove(id);
    }

    /// How many sessions are open by the clock.
    pub fn sessions_open(&self) -> usize {
        locked(&self.0.sessions).open(self.0.now())
    }

    /// Ends each session, as a restart of a BMC does.
    pub fn end_sessions(&self) {
        locked(&self.0.sessions).end_all();
    }

    /// How many listen to events on a connection of theirs.
    pub fn streams_open(&self) -> usize {
        locked(&self.0.subscriptions).streams().count()
    }

    /// Writes this to each stream of events as it is, an event or not.
    pub fn write_to_streams(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        for stream in locked(&self.0.subscriptions).streams() {
            let _ = stream.send(Ok(bytes.clone()));
        }
    }

    /// Cuts each stream of events, as a restart of a BMC does.
    pub fn cut_streams(&self) {
        for stream in locked(&self.0.subscriptions).streams() {
            let _ = stream.send(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        }
    }

    /// The service for an HTTP server of the caller's, at the root of its paths.
    pub fn router(&self) -> Router {
        Router::new()
            .fallback(answer::answer)
            .with_state(Arc::clone(&self.0))
    }

    /// Answers on this listener until it fails.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, self.router()).await
    }

    /// As [`Self::serve`], over TLS.
    pub async fn serve_tls(
        &self,
        listener: TcpListener,
        config: Arc<ServerConfig>,
    ) -> io::Result<()> {
        let listener = tls::TlsListener::new(listener, config)?;
        axum::serve(listener, self.router()).await
    }
}
