//! SQLite in this process: a statement is a call of some microseconds, made in the task that asks.
//!
//! A driver with a thread per connection (sqlx's) hands each statement to that thread and its answer back; those two
//! wake-ups cost ten times what the statement does. What can take long, a flush to the disk, is not done here but by
//! [`crate::batch`] in a thread for such work.

use crate::error::{Error, Result};
use crate::sql::{Row, SqlError, Value};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many statements a connection keeps prepared.
const PREPARED: usize = 256;
/// How many transactions read at the same time.
const READERS: usize = 4;
/// How long a reader waits for a connection before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file that `sqlite:PATH` names.
pub fn path_of(url: &str) -> PathBuf {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    PathBuf::from(rest.split('?').next().unwrap_or(rest))
}

/// One connection.
pub struct Connection(rusqlite::Connection);

impl Connection {
    pub fn open(path: &Path) -> std::result::Result<Self, SqlError> {
        // One task at a time uses a connection, so SQLite need not lock it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA busy_timeout = 30000; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192;",
        )?;
        Ok(Self(connection))
    }

    /// From now on a statement that another process holds up fails at once with [`SqlError::is_busy`].
    pub fn never_wait(&self) -> std::result::Result<(), SqlError> {
        Ok(self.0.busy_timeout(Duration::ZERO)?)
    }

    /// Begins, ends or undoes a transaction.
    pub fn control(&self, text: &str) -> std::result::Result<(), SqlError> {
        Ok(self.0.prepare_cached(text)?.raw_execute().map(|_| ())?)
    }

    fn prepare(
        &self,
        text: &str,
        values: &[Value],
    ) -> std::result::Result<CachedStatement<'_>, SqlError> {
        let mut statement = self.0.prepare_cached(text)?;
        for index in 1..=statement.parameter_count() {
            // SQLite numbers `$n` by where it stands in the text, we by its name.
            let name = statement.parameter_name(index).unwrap_or_default();
            let number = name.trim_start_matches('$').parse::<usize>();
            let value = number
                .ok()
                .and_then(|number| values.get(number.checked_sub(1)?));
            match value {
                Some(Value::Text(text)) => statement.raw_bind_parameter(index, text)?,
                Some(Value::Int(number)) => statement.raw_bind_parameter(index, number)?,
                None => return Err(rusqlite::Error::InvalidParameterName(name.to_owned()).into()),
            }
        }
        Ok(statement)
    }

    /// Runs a statement that answers no rows, and says how many it changed.
    pub fn execute(&self, text: &str, values: &[Value]) -> std::result::Result<u64, SqlError> {
        let mut statement = self.prepare(text, values)?;
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
        drop(rows);
        drop(statement);
        Ok(self.0.changes())
    }

    /// Runs a statement to its end and answers its rows.
    pub fn fetch(&self, text: &str, values: &[Value]) -> std::result::Result<Vec<Row>, SqlError> {
        let mut statement = self.prepare(text, values)?;
        let names = statement.column_names();
        let columns: Arc<[String]> = names.into_iter().map(str::to_owned).collect();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..columns.len())
                .map(|index| value(row.get_ref(index)?, &columns[index]))
                .collect::<std::result::Result<_, _>>()?;
            found.push(Row::Sqlite {
                columns: columns.clone(),
                values,
            });
        }
        Ok(found)
    }
}

fn value(found: ValueRef<'_>, column: &str) -> std::result::Result<Value, SqlError> {
    match found {
        ValueRef::Null => Ok(Value::Text(None)),
        ValueRef::Integer(number) => Ok(Value::Int(Some(number))),
        ValueRef::Text(text) => match str::from_utf8(text) {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => Err(SqlError::NoColumn(column.to_owned())),
        },
        // There are only texts and whole numbers in our tables.
        ValueRef::Real(_) | ValueRef::Blob(_) => Err(SqlError::NoColumn(column.to_owned())),
    }
}

/// The connections that read.
pub struct Readers {
    path: PathBuf,
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

/// A transaction that reads one snapshot; it ends when it is dropped.
pub struct Reading {
    connection: Option<Connection>,
    readers: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Readers {
    pub fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            path,
            free: Mutex::default(),
            permits: Arc::new(Semaphore::new(READERS)),
        })
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn begin(self: &Arc<Self>) -> Result<Reading> {
        let failed = |source| Error::Database {
            doing: "beginning a transaction",
            source,
        };
        let permit = tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned()).await;
        let permit = permit
            .map_err(|_| Error::ReadersBusy {
                secs: PATIENCE.as_secs(),
            })?
            .map_err(|_| failed(SqlError::Closed))?;
        let kept = self.free().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let connection = Connection::open(&self.path).map_err(failed)?;
                connection
                    .control("PRAGMA query_only = ON")
                    .map_err(failed)?;
                connection
            }
        };
        connection.control("BEGIN").map_err(failed)?;
        Ok(Reading {
            connection: Some(connection),
            readers: self.clone(),
            _permit: permit,
        })
    }

    /// Waits for those that read and closes their connections.
    pub async fn close(&self) {
        let all = self.permits.acquire_many(READERS as u32).await;
        self.free().clear();
        self.permits.close();
        drop(all);
    }
}

impl Reading {
    pub fn connection(&mut self) -> &mut Connection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("a reader gives its connection back only when it is dropped"),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // A connection that cannot even end a transaction is not used again.
            match connection.control("ROLLBACK") {
                Ok(()) => self.readers.free().push(connection),
                Err(error) => tracing::warn!(%error, "a reader's connection is given up"),
            }
        }
    }
}
