//! Keeps one connection to one database up, and a replica of what is watched there.

use super::replica::{Event, Monitored, Replica};
use super::schema::Schema;
use super::session::{Message, Session};
use super::{Operation, Outcome, Remote};
use crate::error::NetworkError;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether the database can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// Connected, and the replica is current.
    Up,
    Down {
        reason: String,
    },
}

/// Is told everything that happens to the replica, in order, before a transaction that did it returns.
pub type Observer = Box<dyn FnMut(&Replica, &Event) + Send>;

/// A handle on the connection; the connection ends when the last handle is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    requests: mpsc::UnboundedSender<Request>,
}

struct Shared {
    remote: Remote,
    database: &'static str,
    replica: RwLock<Replica>,
    connection: watch::Sender<Connection>,
    changes: watch::Sender<u64>,
}

struct Request {
    params: Json,
    answer: oneshot::Sender<Result<Json, NetworkError>>,
}

impl Client {
    /// Connects in the background, again and again, to the database of this name.
    pub fn connect(remote: Remote, database: &'static str, monitored: Monitored) -> Self {
        Self::connect_observed(remote, database, monitored, Box::new(|_, _| {}))
    }

    pub fn connect_observed(
        remote: Remote,
        database: &'static str,
        monitored: Monitored,
        observer: Observer,
    ) -> Self {
        let (requests, incoming) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            remote,
            database,
            replica: RwLock::default(),
            connection: watch::Sender::new(Connection::Down {
                reason: "not connected yet".to_owned(),
            }),
            changes: watch::Sender::new(0),
        });
        let driver = Driver {
            shared: shared.clone(),
            monitored,
            observer,
            requests: incoming,
        };
        tokio::spawn(driver.run());
        Self { shared, requests }
    }

    pub fn remote(&self) -> &Remote {
        &self.shared.remote
    }

    /// Reads the replica. Nothing else can be done with it meanwhile: be short.
    pub fn read<R>(&self, look: impl FnOnce(&Replica) -> R) -> R {
        look(
            &self
                .shared
                .replica
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.subscribe()
    }

    /// Changes with every change of the replica or the connection.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Waits for the connection, and says why there is none.
    pub async fn ready(&self, limit: Duration) -> Result<(), NetworkError> {
        let mut connection = self.connection();
        let up = connection.wait_for(|state| *state == Connection::Up);
        match timeout(limit, up).await {
            Ok(Ok(_)) => Ok(()),
            _ => self.reachable(),
        }
    }

    /// Waits until something is seen in the replica; None if it is not within `limit`.
    pub async fn wait_until<R>(
        &self,
        limit: Duration,
        mut seen: impl FnMut(&Replica) -> Option<R>,
    ) -> Option<R> {
        let deadline = Instant::now() + limit;
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.read(&mut seen) {
                return Some(found);
            }
            timeout_at(deadline, changes.changed()).await.ok()?.ok()?;
        }
    }

    /// Runs operations as one transaction: all or none. When it returns, the replica holds what it did.
    pub async fn transact(&self, operations: &[Operation]) -> Result<Vec<Outcome>, NetworkError> {
        self.reachable()?;
        let operations = operations.iter().map(Operation::to_json);
        let params = [json!(self.shared.database)]
            .into_iter()
            .chain(operations)
            .collect();
        let (answer, answered) = oneshot::channel();
        // A driver that is gone has dropped `answered` too.
        let _ = self.requests.send(Request { params, answer });
        let result = match timeout(ANSWER_LIMIT, answered).await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err(self.shared.unreachable("the connection ended")),
            Err(_) => {
                return Err(NetworkError::TimedOut {
                    database: self.shared.database,
                    limit: ANSWER_LIMIT,
                });
            }
        };
        self.shared.outcomes(result)
    }

    /// Whether there is a connection; if not, why.
    pub fn reachable(&self) -> Result<(), NetworkError> {
        match &*self.shared.connection.borrow() {
            Connection::Up => Ok(()),
            Connection::Down { reason } => Err(self.shared.unreachable(reason)),
        }
    }
}

impl Shared {
    fn unreachable(&self, reason: &str) -> NetworkError {
        NetworkError::Unreachable {
            database: self.database,
            remote: self.remote.to_string(),
            reason: reason.to_owned(),
        }
    }

    fn refused(&self, error: &Json) -> NetworkError {
        NetworkError::Refused {
            database: self.database,
            error: error["error"]
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned),
            details: error["details"].as_str().map(str::to_owned),
        }
    }

    /// An operation's error stands among the results; what comes after it was not done, nor was what came before.
    fn outcomes(&self, result: Json) -> Result<Vec<Outcome>, NetworkError> {
        let not_understood = |what: String| NetworkError::NotUnderstood {
            database: self.database,
            remote: self.remote.to_string(),
            reason: what,
        };
        let Json::Array(results) = result else {
            return Err(not_understood(format!(
                "a transaction's result is {result}"
            )));
        };
        if let Some(error) = results.iter().find(|result| result.get("error").is_some()) {
            return Err(self.refused(error));
        }
        let outcomes = results.into_iter().map(|result| {
            let text = result.to_string();
            Outcome::from_json(result)
                .ok_or_else(|| not_understood(format!("an outcome is {text}")))
        });
        outcomes.collect()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The task behind the handles.
struct Driver {
    shared: Arc<Shared>,
    monitored: Monitored,
    observer: Observer,
    requests: mpsc::UnboundedReceiver<Request>,
}

type Pending = HashMap<u64, oneshot::Sender<Result<Json, NetworkError>>>;

impl Driver {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut pending = Pending::new();
            let reason = match self.open().await {
                Err(reason) => reason,
                Ok((mut session, schema)) => {
                    pause = FIRST_PAUSE;
                    match self.serve(&mut session, &schema, &mut pending).await {
                        Ok(()) => return,
                        Err(reason) => reason,
                    }
                }
            };
            self.lost(reason.to_string(), pending);
            if self.rest(pause).await.is_none() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Connects and fills the replica.
    async fn open(&mut self) -> std::io::Result<(Session, Schema)> {
        let stream = timeout(CONNECT_LIMIT, self.shared.remote.connect()).await??;
        let mut session = Session::new(stream);
        let database = self.shared.database;
        let schema = session
            .call("get_schema", &json!([database]), ANSWER_LIMIT)
            .await?;
        let schema = Schema::read(&schema, &self.monitored).map_err(std::io::Error::other)?;
        let params = json!([database, null, self.monitored.request()]);
        let content = session.call("monitor_cond", &params, ANSWER_LIMIT).await?;
        let mut replica = Replica::default();
        replica.update(&schema, content).ok_or_else(senseless)?;
        self.take(|kept| {
            *kept = replica;
            Event::Loaded
        });
        self.shared.connection.send_replace(Connection::Up);
        self.shared.changed();
        Ok((session, schema))
    }

    /// Works until the last handle is dropped (`Ok`) or the connection is lost.
    async fn serve(
        &mut self,
        session: &mut Session,
        schema: &Schema,
        pending: &mut Pending,
    ) -> std::io::Result<()> {
        loop {
            let message = tokio::select! {
                request = self.requests.recv() => {
                    let Some(request) = request else { return Ok(()) };
                    let id = session.send("transact", &request.params);
                    pending.insert(id, request.answer);
                    continue;
                }
                message = session.receive() => message?,
            };
            match message {
                Message::Answer { id, result } => {
                    let result = result.map_err(|error| self.shared.refused(&error));
                    if let Some(answer) = pending.remove(&id) {
                        // Whoever asked may have stopped waiting.
                        let _ = answer.send(result);
                    }
                }
                Message::Notification { method, mut params } if method == "update2" => {
                    let update = params.pop().unwrap_or_default();
                    self.update(schema, update)?;
                }
                Message::Notification { .. } => {}
            }
        }
    }

    fn update(&mut self, schema: &Schema, update: Json) -> std::io::Result<()> {
        let mut understood = true;
        self.take(|replica| {
            let changes = replica.update(schema, update);
            understood = changes.is_some();
            Event::Changed(changes.unwrap_or_default())
        });
        self.shared.changed();
        if understood { Ok(()) } else { Err(senseless()) }
    }

    /// Changes the replica and tells the observer.
    fn take(&mut self, change: impl FnOnce(&mut Replica) -> Event) {
        let mut replica = self
            .shared
            .replica
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let event = change(&mut replica);
        (self.observer)(&replica, &event);
    }

    fn lost(&mut self, reason: String, pending: Pending) {
        let (database, remote) = (self.shared.database, &self.shared.remote);
        let state = Connection::Down {
            reason: reason.clone(),
        };
        if self.shared.connection.send_replace(state) == Connection::Up {
            tracing::warn!(database, %remote, reason, "lost the connection");
            self.take(|_| Event::Lost);
        }
        self.shared.changed();
        for answer in pending.into_values() {
            let _ = answer.send(Err(self.shared.unreachable(&reason)));
        }
    }

    /// Refuses what is asked for during a pause. None when the last handle was dropped.
    async fn rest(&mut self, pause: Duration) -> Option<()> {
        let pause = sleep(pause);
        tokio::pin!(pause);
        loop {
            let request = tokio::select! {
                () = &mut pause => return Some(()),
                request = self.requests.recv() => request?,
            };
            let _ = request
                .answer
                .send(Err(self.shared.unreachable("it is being reconnected")));
        }
    }
}

fn senseless() -> std::io::Error {
    std::io::Error::other("an update that does not fit the schema or the rows")
}
