//! One statement for two engines: a text with `$1`, `$2` …, the values to bind, and the rows that come back.
//!
//! SQLite is called in the task that asks ([`crate::sqlite`]), PostgreSQL is asked over sqlx's driver. The names are
//! sqlx's, so that a query reads like one of sqlx's.

use crate::sqlite;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{Postgres, Row as _};
use std::borrow::Cow;
use std::sync::Arc;

/// A column's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Option<String>),
    Int(Option<i64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

/// Truth is kept as 0 or 1.
impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Int(Some(i64::from(truth)))
    }
}

impl From<corten_model::time::Timestamp> for Value {
    fn from(moment: corten_model::time::Timestamp) -> Self {
        Self::Int(Some(moment.micros()))
    }
}

/// Trouble with one statement.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error("no row came back")]
    NoRow,
    #[error("there is no column {0}, or it has another type")]
    NoColumn(String),
    #[error("the database was closed")]
    Closed,
}

impl SqlError {
    /// Another process is writing.
    pub fn is_busy(&self) -> bool {
        let code = match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            Self::Sqlx(_) | Self::NoRow | Self::NoColumn(_) | Self::Closed => None,
        };
        code == Some(rusqlite::ErrorCode::DatabaseBusy)
    }

    pub fn is_unique_violation(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                let code = error.sqlite_error().map(|error| error.extended_code);
                code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
                    || code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
            }
            Self::Sqlx(error) => {
                let error = error.as_database_error();
                error.is_some_and(|error| error.is_unique_violation())
            }
            Self::NoRow | Self::NoColumn(_) | Self::Closed => false,
        }
    }

    /// PostgreSQL's name of the trouble (SQLSTATE).
    pub fn code(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Sqlx(error) => error.as_database_error()?.code(),
            Self::Sqlite(_) | Self::NoRow | Self::NoColumn(_) | Self::Closed => None,
        }
    }

    pub fn is_foreign_key_violation(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                let code = error.sqlite_error().map(|error| error.extended_code);
                code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
            }
            Self::Sqlx(error) => {
                let error = error.as_database_error();
                error.is_some_and(|error| error.is_foreign_key_violation())
            }
            Self::NoRow | Self::NoColumn(_) | Self::Closed => false,
        }
    }
}

type Result<T> = std::result::Result<T, SqlError>;

/// The connection of a transaction.
pub enum Connection<'c> {
    Sqlite(&'c mut sqlite::Connection),
    Postgres(&'c mut PgConnection),
}

/// A statement with what is bound to it.
#[must_use]
pub struct Statement<'q> {
    text: Cow<'q, str>,
    values: Vec<Value>,
}

/// What a write did.
#[derive(Debug)]
pub struct Done {
    rows_affected: u64,
}

impl Done {
    pub fn rows_affected(&self) -> u64 {
        self.rows_affected
    }
}

/// A statement. Its text comes from the code, never from a request.
pub fn query<'q>(text: impl Into<Cow<'q, str>>) -> Statement<'q> {
    Statement {
        text: text.into(),
        values: Vec::new(),
    }
}

impl Statement<'_> {
    /// The value of the next `$n`.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    fn for_postgres(self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        let query = sqlx::query(AssertSqlSafe(self.text.into_owned()));
        self.values
            .into_iter()
            .fold(query, |query, value| match value {
                Value::Text(text) => query.bind(text),
                Value::Int(number) => query.bind(number),
            })
    }

    pub async fn execute(self, connection: Connection<'_>) -> Result<Done> {
        let rows_affected = match connection {
            Connection::Sqlite(sqlite) => sqlite.execute(&self.text, &self.values)?,
            Connection::Postgres(postgres) => {
                let done = self.for_postgres().execute(postgres).await?;
                done.rows_affected()
            }
        };
        Ok(Done { rows_affected })
    }

    pub async fn fetch_all(self, connection: Connection<'_>) -> Result<Vec<Row>> {
        match connection {
            Connection::Sqlite(sqlite) => sqlite.fetch(&self.text, &self.values),
            Connection::Postgres(postgres) => {
                let rows = self.for_postgres().fetch_all(postgres).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// The first row.
    pub async fn fetch_optional(self, connection: Connection<'_>) -> Result<Option<Row>> {
        match connection {
            Connection::Sqlite(sqlite) => {
                let rows = sqlite.fetch(&self.text, &self.values)?;
                Ok(rows.into_iter().next())
            }
            Connection::Postgres(postgres) => {
                let row = self.for_postgres().fetch_optional(postgres).await?;
                Ok(row.map(Row::Postgres))
            }
        }
    }

    pub async fn fetch_one(self, connection: Connection<'_>) -> Result<Row> {
        let row = self.fetch_optional(connection).await?;
        row.ok_or(SqlError::NoRow)
    }
}

/// A row that came back.
pub enum Row {
    Sqlite {
        /// Shared by the rows of one answer.
        columns: Arc<[String]>,
        values: Vec<Value>,
    },
    Postgres(PgRow),
}

impl Row {
    pub fn try_get<'r, T: Column<'r>>(&'r self, name: &str) -> Result<T> {
        match self {
            Self::Sqlite { columns, values } => {
                let index = columns.iter().position(|column| column == name);
                let value = index.and_then(|index| values.get(index));
                value
                    .and_then(T::of)
                    .ok_or_else(|| SqlError::NoColumn(name.to_owned()))
            }
            Self::Postgres(row) => Ok(row.try_get(name)?),
        }
    }
}

/// What a column can be read as.
pub trait Column<'r>: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres> {
    /// `None` if the value is of another type.
    fn of(value: &'r Value) -> Option<Self>;
}

impl<'r> Column<'r> for &'r str {
    fn of(value: &'r Value) -> Option<Self> {
        match value {
            Value::Text(text) => text.as_deref(),
            Value::Int(_) => None,
        }
    }
}

impl<'r> Column<'r> for String {
    fn of(value: &'r Value) -> Option<Self> {
        <&str>::of(value).map(str::to_owned)
    }
}

impl<'r> Column<'r> for i64 {
    fn of(value: &'r Value) -> Option<Self> {
        match value {
            Value::Int(number) => *number,
            Value::Text(_) => None,
        }
    }
}

// SQLite's NULL has no type: it comes as a text that is not there.

impl<'r> Column<'r> for Option<String> {
    fn of(value: &'r Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Int(_) => None,
        }
    }
}

impl<'r> Column<'r> for Option<i64> {
    fn of(value: &'r Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(*number),
            Value::Text(None) => Some(None),
            Value::Text(Some(_)) => None,
        }
    }
}
