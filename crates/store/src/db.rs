//! Opening a database and handing out transactions.
//!
//! SQLite allows one writer at a time, so its writers queue for one connection ([`crate::batch`]); readers have their own
//! connections and see a snapshot (WAL). PostgreSQL takes all from one pool. A reader never waits for a writer.

use crate::batch::{Turn, Writer};
use crate::collision;
use crate::error::{Error, Result};
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Executor, Transaction};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// The differences between the engines, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Starts a transaction that only reads, on one snapshot.
    fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Ends a sub-select that claims rows: rows that another worker is claiming are passed over, not waited for.
    /// SQLite has one writer, so nothing can be locked by another.
    pub fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }
}

/// Told to workers when an operation became runnable: the place whose workers should look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeUp {
    pub place: String,
}

/// A database with Corten's schema. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dialect: Dialect,
    readers: AnyPool,
    writers: Writers,
    wake_ups: broadcast::Sender<WakeUp>,
    url: String,
}

/// Where transactions that write come from.
enum Writers {
    Pool(AnyPool),
    One(Writer),
}

/// The channel name of PostgreSQL's LISTEN and NOTIFY.
const WAKE_CHANNEL: &str = "corten_wake";

impl Store {
    /// Opens `sqlite:PATH` (made if absent) or `postgres://…`, and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let dialect = if url.starts_with("postgres") {
            Dialect::Postgres
        } else {
            Dialect::Sqlite
        };
        let opening = |source| Error::Database {
            doing: "opening the database",
            source,
        };
        let (pool, writers, readers) = match dialect {
            Dialect::Postgres => {
                let pool = pool_options(dialect, 16)
                    .connect(url)
                    .await
                    .map_err(opening)?;
                (pool.clone(), Writers::Pool(pool.clone()), pool)
            }
            Dialect::Sqlite => {
                let url = if url.contains('?') {
                    url.to_owned()
                } else {
                    format!("{url}?mode=rwc")
                };
                let pool = pool_options(dialect, 1)
                    .connect(&url)
                    .await
                    .map_err(opening)?;
                let readers = pool_options(dialect, 4)
                    .connect(&url)
                    .await
                    .map_err(opening)?;
                (pool.clone(), Writers::One(Writer::new(pool)), readers)
            }
        };
        sqlx::migrate!("./migrations")
            .run(&pool)
            .await
            .map_err(Error::Migration)?;
        let (wake_ups, _) = broadcast::channel(1024);
        let store = Self {
            inner: Arc::new(Inner {
                dialect,
                readers,
                writers,
                wake_ups,
                url: url.to_owned(),
            }),
        };
        if dialect == Dialect::Postgres {
            store.listen().await?;
        }
        Ok(store)
    }

    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// A transaction that only reads, on one snapshot. Dropping it ends it.
    pub async fn read(&self) -> Result<Tx> {
        let begin = self.inner.dialect.begin_read();
        let inner = begin_in(&self.inner.readers, begin).await?;
        Ok(self.tx(Inside::Alone(inner)))
    }

    /// A transaction that writes. It must be committed; dropping it undoes it.
    pub async fn write(&self) -> Result<Tx> {
        Ok(self.tx(match &self.inner.writers {
            Writers::Pool(pool) => Inside::Alone(begin_in(pool, "BEGIN").await?),
            Writers::One(writer) => Inside::Batch(writer.begin().await?),
        }))
    }

    fn tx(&self, inner: Inside) -> Tx {
        Tx {
            inner,
            store: self.clone(),
            wake_ups: Vec::new(),
            spoiled: false,
        }
    }

    /// Hears of operations that became runnable, from this process and, on PostgreSQL, from every other. A listener
    /// that falls behind gets an error from `recv` and should simply look at the table.
    pub fn wake_ups(&self) -> broadcast::Receiver<WakeUp> {
        self.inner.wake_ups.subscribe()
    }

    /// Closes all connections; SQLite then merges its write-ahead log.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        match &self.inner.writers {
            Writers::Pool(pool) => pool.close().await,
            Writers::One(writer) => writer.close().await,
        }
    }

    async fn listen(&self) -> Result<()> {
        let listening = |source| Error::Database {
            doing: "listening for wake-ups",
            source,
        };
        let mut listener = sqlx::postgres::PgListener::connect(&self.inner.url)
            .await
            .map_err(listening)?;
        listener.listen(WAKE_CHANNEL).await.map_err(listening)?;
        let wake_ups = self.inner.wake_ups.clone();
        tokio::spawn(async move {
            // The listener reconnects by itself; an error means it will try again on the next call.
            loop {
                match listener.recv().await {
                    Ok(notification) => {
                        let _ = wake_ups.send(WakeUp {
                            place: notification.payload().to_owned(),
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "wake-up listener lost its connection");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
        Ok(())
    }
}

fn pool_options(dialect: Dialect, connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(dialect == Dialect::Postgres)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if dialect == Dialect::Sqlite {
                    connection
                        .execute(
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                             PRAGMA busy_timeout = 30000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192;",
                        )
                        .await?;
                }
                Ok(())
            })
        })
}

async fn begin_in(pool: &AnyPool, statement: &'static str) -> Result<Transaction<'static, Any>> {
    let begun = pool.begin_with(statement).await;
    begun.map_err(|source| Error::Database {
        doing: "beginning a transaction",
        source,
    })
}

/// What carries a transaction.
enum Inside {
    /// A transaction of the database.
    Alone(Transaction<'static, Any>),
    /// A turn in SQLite's present batch.
    Batch(Turn),
}

/// One transaction.
pub struct Tx {
    inner: Inside,
    store: Store,
    wake_ups: Vec<WakeUp>,
    /// A write failed, so this transaction must not be committed.
    spoiled: bool,
}

impl Tx {
    /// The connection, for a query.
    pub fn conn(&mut self) -> &mut AnyConnection {
        match &mut self.inner {
            Inside::Alone(transaction) => transaction,
            Inside::Batch(turn) => turn.connection(),
        }
    }

    pub fn dialect(&self) -> Dialect {
        self.store.inner.dialect
    }

    /// Tells the workers of `place` to look for work once this transaction is committed.
    pub fn wake(&mut self, place: impl Into<String>) {
        let wake_up = WakeUp {
            place: place.into(),
        };
        if !self.wake_ups.contains(&wake_up) {
            self.wake_ups.push(wake_up);
        }
    }

    /// Notes that a write failed: PostgreSQL has given the transaction up, and would answer a commit by undoing it in
    /// silence. On SQLite it ends in the same way, so that both engines do the same.
    pub(crate) fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// Makes everything of this transaction durable, then wakes the workers it has work for.
    pub async fn commit(mut self) -> Result<()> {
        let doing = "committing";
        if self.spoiled {
            return Err(Error::Spoiled);
        }
        if self.dialect() == Dialect::Postgres {
            for wake_up in std::mem::take(&mut self.wake_ups) {
                sqlx::query("SELECT pg_notify($1, $2)")
                    .bind(WAKE_CHANNEL)
                    .bind(wake_up.place)
                    .execute(self.conn())
                    .await
                    .map_err(|source| Error::Database { doing, source })?;
            }
        }
        match self.inner {
            Inside::Alone(transaction) => {
                let committed = transaction.commit().await;
                committed.map_err(|source| Error::Database { doing, source })?;
            }
            Inside::Batch(turn) => turn.commit().await?,
        }
        collision::note_commit();
        for wake_up in self.wake_ups {
            // No listener is no error: nobody works here.
            let _ = self.store.inner.wake_ups.send(wake_up);
        }
        Ok(())
    }
}
