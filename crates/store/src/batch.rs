//! Group commit for SQLite: transactions that queue for the one writer share one disk flush.
//!
//! A transaction is a savepoint inside a batch, which is one SQLite transaction. When it commits, its savepoint is
//! released; then it waits until its batch is durable. The batch is flushed when nobody queues for the writer, or else
//! after everyone who was already queueing has had their turn: the writer is handed out in order, and the first member
//! that found a queue queues once more for the flush. Alone, a transaction flushes at once. Nobody is told of a commit
//! that is not on disk.

use crate::error::{Error, Result};
use crate::sql::SqlError;
use crate::sqlite::Connection;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::Instant;

/// How long a transaction queues for the writer before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is tried again while another process writes.
const RETRY: Duration = Duration::from_millis(5);

/// The one writer of a SQLite database.
#[derive(Clone)]
pub struct Writer {
    state: Arc<Mutex<State>>,
    /// How many are queueing for the writer.
    queueing: Arc<AtomicUsize>,
}

struct State {
    path: PathBuf,
    connection: Option<Connection>,
    batch: Option<Batch>,
    closed: bool,
}

/// The transactions that are flushed together.
struct Batch {
    /// Told when it ends.
    members: watch::Sender<Option<Ending>>,
    /// A task queues for the writer to flush it.
    has_flusher: bool,
}

/// How a batch ended.
#[derive(Debug, Clone)]
enum Ending {
    Durable,
    Lost(String),
}

/// A transaction that holds the writer.
pub struct Turn {
    guard: Option<OwnedMutexGuard<State>>,
    writer: Writer,
}

/// Counts itself as queueing for as long as it lives.
struct InQueue<'a>(&'a AtomicUsize);

impl<'a> InQueue<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn trouble(doing: &'static str) -> impl Fn(SqlError) -> Error {
    move |source| Error::Database { doing, source }
}

impl Writer {
    pub fn new(path: PathBuf) -> Self {
        let state = State {
            path,
            connection: None,
            batch: None,
            closed: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            queueing: Arc::default(),
        }
    }

    /// Waits for the writer and opens a savepoint.
    pub async fn begin(&self) -> Result<Turn> {
        let busy = || Error::WriterBusy {
            secs: PATIENCE.as_secs(),
        };
        let deadline = Instant::now() + PATIENCE;
        let mut guard = {
            let _queueing = InQueue::enter(&self.queueing);
            let turn = tokio::time::timeout_at(deadline, self.state.clone().lock_owned()).await;
            turn.map_err(|_| busy())?
        };
        loop {
            match guard.open_turn() {
                Ok(()) => break,
                Err(error) if error.is_busy() && Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) if error.is_busy() => return Err(busy()),
                Err(error) => return Err(trouble("beginning a transaction")(error)),
            }
        }
        Ok(Turn {
            guard: Some(guard),
            writer: self.clone(),
        })
    }

    /// Ends what is open and gives the connection back.
    pub async fn close(&self) {
        let mut state = self.state.lock().await;
        state.end();
        state.connection = None;
        state.closed = true;
    }

    /// The end of a turn: the batch is flushed now, or when those who queue have had their turn.
    fn leave(&self, mut guard: OwnedMutexGuard<State>) {
        let Ok(runtime) = Handle::try_current() else {
            // Dropped outside of everything, at the end of the program.
            return guard.end();
        };
        let Some(batch) = &mut guard.batch else {
            return;
        };
        if self.queueing.load(Ordering::SeqCst) == 0 {
            flush(&runtime, guard);
        } else if !batch.has_flusher {
            batch.has_flusher = true;
            let state = self.state.clone();
            let blocking = runtime.clone();
            runtime.spawn(async move {
                let guard = state.lock_owned().await;
                if guard.batch.is_some() {
                    flush(&blocking, guard);
                }
            });
        }
    }
}

/// Flushes in a thread that may wait for the disk. Nothing stops it on the way, so a batch always ends.
fn flush(runtime: &Handle, mut guard: OwnedMutexGuard<State>) {
    runtime.spawn_blocking(move || guard.end());
}

impl State {
    fn open_turn(&mut self) -> std::result::Result<(), SqlError> {
        if self.closed {
            return Err(SqlError::Closed);
        }
        let connection = match &self.connection {
            Some(connection) => connection,
            None => {
                let connection = Connection::open(&self.path)?;
                connection.never_wait()?;
                self.connection.insert(connection)
            }
        };
        if self.batch.is_none() {
            // SQLite must take its write lock at once, or another process could get between reading and writing.
            connection.control("BEGIN IMMEDIATE")?;
            self.batch = Some(Batch {
                members: watch::channel(None).0,
                has_flusher: false,
            });
        }
        connection.control("SAVEPOINT turn")
    }

    fn control(&self, text: &str) -> std::result::Result<(), SqlError> {
        match &self.connection {
            Some(connection) => connection.control(text),
            None => Err(SqlError::Closed),
        }
    }

    /// Makes the batch durable and tells its members.
    fn end(&mut self) {
        let Some(batch) = self.batch.take() else {
            return;
        };
        let ending = match self.control("COMMIT") {
            Ok(()) => Ending::Durable,
            Err(error) => {
                // The connection may be in any state: the next batch gets a new one.
                self.connection = None;
                Ending::Lost(error.to_string())
            }
        };
        batch.members.send_replace(Some(ending));
    }

    /// Undoes the present turn; the batch's earlier turns stay.
    fn undo(&mut self) {
        let undone = self.control("ROLLBACK TO turn");
        let Err(error) = undone.and_then(|()| self.control("RELEASE turn")) else {
            return;
        };
        // SQLite rolled everything back by itself (a full disk, say): all turns of the batch are lost.
        self.connection = None;
        if let Some(batch) = self.batch.take() {
            batch
                .members
                .send_replace(Some(Ending::Lost(error.to_string())));
        }
    }
}

impl Turn {
    pub fn connection(&mut self) -> &mut Connection {
        let connection = self
            .guard
            .as_mut()
            .and_then(|guard| guard.connection.as_mut());
        match connection {
            Some(connection) => connection,
            None => unreachable!("a turn gives the writer back only at its end"),
        }
    }

    /// Returns when what this turn wrote is on disk.
    pub async fn commit(mut self) -> Result<()> {
        let Some(mut guard) = self.guard.take() else {
            return Ok(());
        };
        if let Err(error) = guard.control("RELEASE turn") {
            guard.undo();
            self.writer.leave(guard);
            return Err(trouble("committing")(error));
        }
        let members = guard.batch.as_ref().map(|batch| batch.members.subscribe());
        self.writer.leave(guard);
        let Some(mut ended) = members else {
            return Ok(());
        };
        let ending = match ended.wait_for(Option::is_some).await {
            Ok(ending) => ending.clone(),
            Err(_) => None,
        };
        match ending {
            Some(Ending::Durable) => Ok(()),
            Some(Ending::Lost(why)) => Err(Error::CommitLost { why }),
            None => Err(Error::CommitLost {
                why: "the writer was closed".to_owned(),
            }),
        }
    }
}

impl Drop for Turn {
    /// A turn that was not committed is undone.
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.undo();
            self.writer.leave(guard);
        }
    }
}
