//! Opening a database and handing out transactions.
//!
//! SQLite allows one writer at a time, so its writers queue for one connection ([`crate::batch`]); readers have their own
//! connections and see a snapshot (WAL). PostgreSQL takes all from one pool. A reader never waits for a writer.

use crate::batch::{Turn, Writer};
use crate::collision;
use crate::error::{Error, Result};
use crate::sql::{self, Connection, SqlError};
use crate::sqlite::{self, Readers, Reading};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, Postgres, Transaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::broadcast;

/// The differences between the engines, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
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
    engine: Engine,
    statements: AtomicU64,
    wake_ups: broadcast::Sender<WakeUp>,
    url: String,
}

/// Where transactions come from.
enum Engine {
    Sqlite {
        readers: Arc<Readers>,
        writer: Writer,
    },
    Postgres(PgPool),
}

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Starts a PostgreSQL transaction that only reads, on one snapshot.
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The channel name of PostgreSQL's LISTEN and NOTIFY.
const WAKE_CHANNEL: &str = "corten_wake";

impl Store {
    /// Opens `sqlite:PATH` (made if absent) or `postgres://…`, and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self> {
        let (dialect, engine) = if url.starts_with("postgres") {
            (Dialect::Postgres, open_postgres(url).await?)
        } else {
            (Dialect::Sqlite, open_sqlite(url).await?)
        };
        let (wake_ups, _) = broadcast::channel(1024);
        let store = Self {
            inner: Arc::new(Inner {
                dialect,
                engine,
                statements: AtomicU64::new(0),
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

    /// How many statements were run since the store was opened: what a request costs, for tests and measurements.
    pub fn statements(&self) -> u64 {
        self.inner.statements.load(Ordering::Relaxed)
    }

    /// A transaction that only reads, on one snapshot. Dropping it ends it.
    pub async fn read(&self) -> Result<Tx> {
        Ok(self.tx(match &self.inner.engine {
            Engine::Sqlite { readers, .. } => Inside::Reading(readers.begin().await?),
            Engine::Postgres(pool) => Inside::Postgres(begin_in(pool, BEGIN_READ).await?),
        }))
    }

    /// A transaction that writes. It must be committed; dropping it undoes it.
    pub async fn write(&self) -> Result<Tx> {
        Ok(self.tx(match &self.inner.engine {
            Engine::Sqlite { writer, .. } => Inside::Turn(writer.begin().await?),
            Engine::Postgres(pool) => Inside::Postgres(begin_in(pool, "BEGIN").await?),
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
        match &self.inner.engine {
            Engine::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Engine::Postgres(pool) => pool.close().await,
        }
    }

    async fn listen(&self) -> Result<()> {
        let listening = |source: sqlx::Error| Error::Database {
            doing: "listening for wake-ups",
            source: source.into(),
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

fn opening(source: sqlx::Error) -> Error {
    Error::Database {
        doing: "opening the database",
        source: source.into(),
    }
}

async fn open_postgres(url: &str) -> Result<Engine> {
    let pool = PgPoolOptions::new()
        .max_connections(16)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .connect(url)
        .await
        .map_err(opening)?;
    MIGRATIONS.run(&pool).await.map_err(Error::Migration)?;
    Ok(Engine::Postgres(pool))
}

/// Makes the file if it is absent. Migrations run over sqlx, which knows which of them a file has seen.
async fn open_sqlite(url: &str) -> Result<Engine> {
    let path = sqlite::path_of(url);
    let mut connection = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30))
        .connect()
        .await
        .map_err(opening)?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(Error::Migration)?;
    connection.close().await.map_err(opening)?;
    Ok(Engine::Sqlite {
        readers: Readers::new(path.clone()),
        writer: Writer::new(path),
    })
}

async fn begin_in(
    pool: &PgPool,
    statement: &'static str,
) -> Result<Transaction<'static, Postgres>> {
    let begun = pool.begin_with(statement).await;
    begun.map_err(|source| Error::Database {
        doing: "beginning a transaction",
        source: source.into(),
    })
}

/// What carries a transaction.
enum Inside {
    /// Reads SQLite.
    Reading(Reading),
    /// A turn in SQLite's present batch.
    Turn(Turn),
    Postgres(Transaction<'static, Postgres>),
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
    pub fn conn(&mut self) -> Connection<'_> {
        let statements = &self.store.inner.statements;
        statements.fetch_add(1, Ordering::Relaxed);
        match &mut self.inner {
            Inside::Reading(reading) => Connection::Sqlite(reading.connection()),
            Inside::Turn(turn) => Connection::Sqlite(turn.connection()),
            Inside::Postgres(transaction) => Connection::Postgres(transaction),
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
                sql::query("SELECT pg_notify($1, $2)")
                    .bind(WAKE_CHANNEL)
                    .bind(wake_up.place)
                    .execute(self.conn())
                    .await
                    .map_err(|source| Error::Database { doing, source })?;
            }
        }
        match self.inner {
            Inside::Reading(_) => {}
            Inside::Turn(turn) => turn.commit().await?,
            Inside::Postgres(transaction) => {
                let committed = transaction.commit().await.map_err(SqlError::from);
                committed.map_err(|source| Error::Database { doing, source })?;
            }
        }
        collision::note_commit();
        for wake_up in self.wake_ups {
            // No listener is no error: nobody works here.
            let _ = self.store.inner.wake_ups.send(wake_up);
        }
        Ok(())
    }
}
