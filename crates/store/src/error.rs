//! What can go wrong below the rules: the database, a row that cannot be read, a constraint.

use crate::sql::SqlError;
use corten_model::refusal::Refusal;

/// Trouble in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database refused or was lost during {doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: SqlError,
    },
    /// The transactions that were to be flushed together are not on disk; all of them are undone.
    #[error("the commit is lost, nothing of it was kept: {why}")]
    CommitLost { why: String },
    #[error("the database's writer was busy for {secs} s")]
    WriterBusy { secs: u64 },
    #[error("every connection that reads was busy for {secs} s")]
    ReadersBusy { secs: u64 },
    #[error("the schema could not be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A unique constraint: the row, its name or its key exists.
    #[error("a row with this key exists in {table}")]
    Exists { table: &'static str },
    /// Another row still points here.
    #[error("a row of another table refers to this row of {table}")]
    Referenced { table: &'static str },
    #[error("the row {id} of {table} cannot be read")]
    Unreadable {
        table: &'static str,
        id: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("column {column} of {table} holds '{value}', which is not known")]
    UnknownValue {
        table: &'static str,
        column: &'static str,
        value: String,
    },
    #[error("a value for {table} cannot be written as JSON")]
    Unwritable {
        table: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// Somebody went on after an error; nothing of the transaction is kept.
    #[error("a write of this transaction failed, so it cannot be committed")]
    Spoiled,
    /// The operation has been taken over, cancelled or finished by another worker: this one must stop.
    #[error("the lease on operation {operation} with epoch {epoch} is lost")]
    LeaseLost { operation: String, epoch: i64 },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a function that applies a rule to rows ends with: a refusal that the caller is told, or trouble.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] Error),
    /// Trouble outside the store: a host, a file, a child process.
    #[error("{doing} failed")]
    Outside {
        doing: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure {
    pub fn outside(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Outside {
            doing: doing.into(),
            source: source.into(),
        }
    }
}

/// Names the table where a constraint was violated.
pub(crate) fn classify(table: &'static str, doing: &'static str) -> impl Fn(SqlError) -> Error {
    move |source| match source {
        error if error.is_unique_violation() => Error::Exists { table },
        error if error.is_foreign_key_violation() => Error::Referenced { table },
        source => Error::Database { doing, source },
    }
}
