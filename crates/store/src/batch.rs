//! Group commit for SQLite: transactions that queue for the one writer share one disk flush.
//!
//! A transaction is a savepoint inside a batch, which is one SQLite transaction. When it commits, its savepoint is
//! released; then it waits until its batch is durable. The batch is flushed by the first of its members that gets the
//! writer again, and since the writer is handed out in order, that is after everyone who was already queueing has had
//! their turn. Alone, a transaction flushes at once. Nobody is told of a commit that is not on disk.

use crate::error::{Error, Result};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

/// How long a transaction queues for the writer before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// The one writer of a SQLite database.
#[derive(Clone)]
pub struct Writer {
    state: Arc<Mutex<State>>,
    /// How many are queueing for the writer.
    queueing: Arc<AtomicUsize>,
}

struct State {
    pool: AnyPool,
    connection: Option<PoolConnection<Any>>,
    /// The batch that is open, told when it ends.
    batch: Option<watch::Sender<Option<Ending>>>,
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

fn trouble(doing: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |source| Error::Database { doing, source }
}

/// Runs to its end even if the caller stops waiting: a half-begun or half-flushed batch would hold up everyone.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::CommitLost {
            why: error.to_string(),
        }),
    }
}

impl Writer {
    pub fn new(pool: AnyPool) -> Self {
        let state = State {
            pool,
            connection: None,
            batch: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            queueing: Arc::default(),
        }
    }

    /// Waits for the writer and opens a savepoint.
    pub async fn begin(&self) -> Result<Turn> {
        to_the_end(self.clone().open_turn()).await
    }

    async fn open_turn(self) -> Result<Turn> {
        let mut guard = {
            let _queueing = InQueue::enter(&self.queueing);
            let turn = tokio::time::timeout(PATIENCE, self.state.clone().lock_owned()).await;
            turn.map_err(|_| Error::WriterBusy {
                secs: PATIENCE.as_secs(),
            })?
        };
        let failed = trouble("beginning a transaction");
        if guard.batch.is_none() {
            if guard.connection.is_none() {
                guard.connection = Some(guard.pool.acquire().await.map_err(&failed)?);
            }
            // SQLite must take its write lock at once, or another process could get between reading and writing.
            guard
                .connection()
                .execute("BEGIN IMMEDIATE")
                .await
                .map_err(&failed)?;
            guard.batch = Some(watch::channel(None).0);
        }
        guard
            .connection()
            .execute("SAVEPOINT turn")
            .await
            .map_err(&failed)?;
        Ok(Turn {
            guard: Some(guard),
            writer: self.clone(),
        })
    }

    /// Ends what is open and gives the connection back.
    pub async fn close(&self) {
        let mut state = self.state.lock().await;
        state.end().await;
        state.connection = None;
        state.pool.close().await;
    }

    /// Ends the open batch, if there still is one.
    async fn flush(&self) {
        self.state.lock().await.end().await;
    }
}

impl State {
    fn connection(&mut self) -> &mut AnyConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("the writer's connection is opened before a batch and kept"),
        }
    }

    /// Makes the batch durable and tells its members.
    async fn end(&mut self) {
        let Some(members) = self.batch.take() else {
            return;
        };
        let ending = match self.connection().execute("COMMIT").await {
            Ok(_) => Ending::Durable,
            Err(error) => {
                // The connection may be in any state: the next batch gets a new one.
                self.connection = None;
                Ending::Lost(error.to_string())
            }
        };
        members.send_replace(Some(ending));
    }

    /// Undoes the present turn; the batch's earlier turns stay.
    async fn undo(&mut self) {
        let undone = self
            .connection()
            .execute("ROLLBACK TO turn; RELEASE turn")
            .await;
        let Err(error) = undone else { return };
        // SQLite rolled everything back by itself (a full disk, say): all turns of the batch are lost.
        self.connection = None;
        if let Some(members) = self.batch.take() {
            members.send_replace(Some(Ending::Lost(error.to_string())));
        }
    }
}

impl Turn {
    pub fn connection(&mut self) -> &mut AnyConnection {
        match &mut self.guard {
            Some(guard) => guard.connection(),
            None => unreachable!("a turn gives the writer back only at its end"),
        }
    }

    /// Returns when what this turn wrote is on disk.
    pub async fn commit(self) -> Result<()> {
        to_the_end(self.release()).await
    }

    async fn release(mut self) -> Result<()> {
        let Some(mut guard) = self.guard.take() else {
            return Ok(());
        };
        let failed = trouble("committing");
        if let Err(error) = guard.connection().execute("RELEASE turn").await {
            guard.undo().await;
            return Err(failed(error));
        }
        let Some(mut ended) = guard.batch.as_ref().map(watch::Sender::subscribe) else {
            return Ok(());
        };
        if self.writer.queueing.load(Ordering::SeqCst) == 0 {
            guard.end().await;
        }
        drop(guard);
        let told = async {
            let _ = ended.wait_for(Option::is_some).await;
        };
        tokio::select! {
            biased;
            () = told => {}
            mut state = self.writer.state.lock() => state.end().await,
        }
        let ending = ended.borrow().clone();
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
    /// A turn that was not committed is undone, by a task of its own, as undoing has to wait.
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let writer = self.writer.clone();
            tokio::spawn(async move {
                guard.undo().await;
                drop(guard);
                writer.flush().await;
            });
        }
    }
}
