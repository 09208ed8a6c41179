//! A resource kept as a row: an id, the columns that queries and constraints need, and the whole value as JSON.
//!
//! The columns are projections of the value and are written by the same statement, so they cannot disagree with it.
//! `generation` counts the writes of a row. [`lock`] raises it, which also takes the row's lock on PostgreSQL: a
//! function that reads, decides and writes uses `lock`, then [`update`], and no concurrent change is lost.

use crate::db::Tx;
use crate::error::{Error, Result, classify};
use crate::sql::{self, Row, SqlError, Statement};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::marker::PhantomData;

pub use crate::sql::Value;

/// A value that can stand in a row of its own table.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    const TABLE: &'static str;
    /// The columns beside `id`, `generation` and `body`. Those that lists sort by must be NOT NULL.
    const COLUMNS: &'static [&'static str];

    fn id(&self) -> String;
    /// The values of [`Self::COLUMNS`], in that order.
    fn columns(&self) -> Vec<Value>;
}

macro_rules! value_from_ids {
    ($($id:ident)*) => {$(
        impl From<&corten_model::ids::$id> for Value {
            fn from(id: &corten_model::ids::$id) -> Self {
                Self::Text(Some(id.to_string()))
            }
        }
    )*};
}

value_from_ids! {
    InstanceId ImageId VolumeId NodeId HostId OperationId ServerGroupId AggregateUuid
    ProjectId UserId DomainId GroupId RoleId FlavorId
    NetworkId SubnetId SubnetPoolId AddressScopeId PortId TrunkId RouterId FloatingIpId PortForwardingId
    SecurityGroupId SecurityGroupRuleId AddressGroupId QosPolicyId QosRuleId RbacPolicyId
    ChassisId NodePortId PortGroupId NodeAllocationId DeployTemplateId RunbookId InspectionRuleId VolumeConnectorId VolumeTargetId WipeId
}

fn decode<T: Record>(row: &Row) -> Result<T> {
    let body: &str = row.try_get("body").map_err(|source| Error::Database {
        doing: "reading a body",
        source,
    })?;
    serde_json::from_str(body).map_err(|source| Error::Unreadable {
        table: T::TABLE,
        id: row.try_get("id").unwrap_or_default(),
        source,
    })
}

fn encode<T: Record>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| Error::Unwritable {
        table: T::TABLE,
        source,
    })
}

/// Adds a row; [`Error::Exists`] if its id or a unique column is taken. After that the transaction can go on, because
/// a conflict is not an error of the database here.
pub async fn insert<T: Record>(tx: &mut Tx, value: &T) -> Result<()> {
    let mut sql = format!("INSERT INTO {} (id, generation, body", T::TABLE);
    for column in T::COLUMNS {
        let _ = write!(sql, ", {column}");
    }
    sql.push_str(") VALUES ($1, 1, $2");
    for index in 0..T::COLUMNS.len() {
        let _ = write!(sql, ", ${}", index + 3);
    }
    sql.push_str(") ON CONFLICT DO NOTHING");
    let mut query = sql::query(sql).bind(value.id()).bind(encode(value)?);
    for column in value.columns() {
        query = query.bind(column);
    }
    let outcome = query.execute(tx.conn()).await;
    match spoiling(tx, outcome, T::TABLE, "inserting a row")?.rows_affected() {
        0 => Err(Error::Exists { table: T::TABLE }),
        _ => Ok(()),
    }
}

/// What became of a write; a failure forbids the transaction's commit.
pub(crate) fn spoiling<O>(
    tx: &mut Tx,
    outcome: std::result::Result<O, SqlError>,
    table: &'static str,
    doing: &'static str,
) -> Result<O> {
    outcome
        .map_err(classify(table, doing))
        .inspect_err(|_| tx.spoil())
}

/// The row with this id, for reading.
pub async fn get<T: Record>(tx: &mut Tx, id: impl ToString) -> Result<Option<T>> {
    let sql = format!("SELECT id, body FROM {} WHERE id = $1", T::TABLE);
    let row = sql::query(sql)
        .bind(id.to_string())
        .fetch_optional(tx.conn())
        .await
        .map_err(classify(T::TABLE, "reading a row"))?;
    row.as_ref().map(decode).transpose()
}

/// The row with this id, to be changed in this transaction: nobody else can change it meanwhile.
pub async fn lock<T: Record>(tx: &mut Tx, id: impl ToString) -> Result<Option<T>> {
    let sql = format!(
        "UPDATE {} SET generation = generation + 1 WHERE id = $1 RETURNING id, body",
        T::TABLE
    );
    let row = sql::query(sql)
        .bind(id.to_string())
        .fetch_optional(tx.conn())
        .await
        .map_err(classify(T::TABLE, "locking a row"))?;
    row.as_ref().map(decode).transpose()
}

/// Writes a row that exists. False if it is gone.
pub async fn update<T: Record>(tx: &mut Tx, value: &T) -> Result<bool> {
    let mut sql = format!(
        "UPDATE {} SET generation = generation + 1, body = $2",
        T::TABLE
    );
    for (index, column) in T::COLUMNS.iter().enumerate() {
        let _ = write!(sql, ", {column} = ${}", index + 3);
    }
    sql.push_str(" WHERE id = $1");
    let mut query = sql::query(sql).bind(value.id()).bind(encode(value)?);
    for column in value.columns() {
        query = query.bind(column);
    }
    let outcome = query.execute(tx.conn()).await;
    let done = spoiling(tx, outcome, T::TABLE, "updating a row")?;
    Ok(done.rows_affected() > 0)
}

/// Removes a row. False if it was gone.
pub async fn delete<T: Record>(tx: &mut Tx, id: impl ToString) -> Result<bool> {
    let sql = format!("DELETE FROM {} WHERE id = $1", T::TABLE);
    let outcome = sql::query(sql)
        .bind(id.to_string())
        .execute(tx.conn())
        .await;
    let done = spoiling(tx, outcome, T::TABLE, "deleting a row")?;
    Ok(done.rows_affected() > 0)
}

/// Which way a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// A list of rows: filters, order and a page.
///
/// Column names come from the code, never from a request; values are always bound.
pub struct Query<T> {
    conditions: Vec<String>,
    values: Vec<Value>,
    order: Vec<(&'static str, Direction)>,
    limit: Option<i64>,
    record: PhantomData<T>,
}

impl<T: Record> Default for Query<T> {
    fn default() -> Self {
        Self {
            conditions: Vec::new(),
            values: Vec::new(),
            order: Vec::new(),
            limit: None,
            record: PhantomData,
        }
    }
}

impl<T: Record> Query<T> {
    pub fn new() -> Self {
        Self::default()
    }

    fn place(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn compare(mut self, column: &'static str, operator: &str, value: impl Into<Value>) -> Self {
        let place = self.place(value.into());
        self.conditions.push(format!("{column} {operator} {place}"));
        self
    }

    pub fn equals(self, column: &'static str, value: impl Into<Value>) -> Self {
        self.compare(column, "=", value)
    }

    pub fn differs(self, column: &'static str, value: impl Into<Value>) -> Self {
        self.compare(column, "<>", value)
    }

    pub fn at_least(self, column: &'static str, value: impl Into<Value>) -> Self {
        self.compare(column, ">=", value)
    }

    pub fn at_most(self, column: &'static str, value: impl Into<Value>) -> Self {
        self.compare(column, "<=", value)
    }

    pub fn is_null(mut self, column: &'static str) -> Self {
        self.conditions.push(format!("{column} IS NULL"));
        self
    }

    pub fn not_null(mut self, column: &'static str) -> Self {
        self.conditions.push(format!("{column} IS NOT NULL"));
        self
    }

    /// The column holds one of these; with none given, nothing matches.
    pub fn any_of<V: Into<Value>>(
        mut self,
        column: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let places: Vec<_> = values
            .into_iter()
            .map(|value| self.place(value.into()))
            .collect();
        self.conditions.push(if places.is_empty() {
            "1 = 0".to_owned()
        } else {
            format!("{column} IN ({})", places.join(", "))
        });
        self
    }

    /// One of two columns holds the value: `project_id` or `visibility`, say.
    pub fn either(
        mut self,
        (left, left_value): (&'static str, impl Into<Value>),
        (right, right_value): (&'static str, impl Into<Value>),
    ) -> Self {
        let left_place = self.place(left_value.into());
        let right_place = self.place(right_value.into());
        self.conditions.push(format!(
            "({left} = {left_place} OR {right} = {right_place})"
        ));
        self
    }

    /// The column holds the value, or the row is one of these.
    pub fn equals_or_is(
        mut self,
        column: &'static str,
        value: impl Into<Value>,
        ids: impl IntoIterator<Item = String>,
    ) -> Self {
        let place = self.place(value.into());
        let ids: Vec<_> = ids.into_iter().map(|id| self.place(id.into())).collect();
        self.conditions.push(if ids.is_empty() {
            format!("{column} = {place}")
        } else {
            format!("({column} = {place} OR id IN ({}))", ids.join(", "))
        });
        self
    }

    /// Sorts by this column, after those named before it. The id is always the last key, so that a page has an end.
    pub fn order_by(mut self, column: &'static str, direction: Direction) -> Self {
        self.order.push((column, direction));
        self
    }

    /// Only the rows that come after this one in the order given so far.
    pub fn after(mut self, marker: &T) -> Self {
        let keys = self.sort_keys();
        let columns = marker.columns();
        let value_of = |column: &str| match T::COLUMNS.iter().position(|name| *name == column) {
            Some(index) => columns[index].clone(),
            None => Value::from(marker.id()),
        };
        // (a > x) OR (a = x AND b > y) OR …
        let mut alternatives = Vec::new();
        for (index, (column, direction)) in keys.iter().enumerate() {
            let mut parts = Vec::new();
            for (earlier, _) in &keys[..index] {
                let place = self.place(value_of(earlier));
                parts.push(format!("{earlier} = {place}"));
            }
            let operator = if *direction == Direction::Ascending {
                ">"
            } else {
                "<"
            };
            let place = self.place(value_of(column));
            parts.push(format!("{column} {operator} {place}"));
            alternatives.push(format!("({})", parts.join(" AND ")));
        }
        self.conditions
            .push(format!("({})", alternatives.join(" OR ")));
        self
    }

    pub fn limit(mut self, rows: i64) -> Self {
        self.limit = Some(rows);
        self
    }

    fn sort_keys(&self) -> Vec<(&'static str, Direction)> {
        let mut keys = self.order.clone();
        if !keys.iter().any(|(column, _)| *column == "id") {
            let direction = keys
                .last()
                .map_or(Direction::Ascending, |(_, direction)| *direction);
            keys.push(("id", direction));
        }
        keys
    }

    fn conditions_sql(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.conditions.join(" AND "))
        }
    }

    pub async fn all(self, tx: &mut Tx) -> Result<Vec<T>> {
        let mut sql = format!(
            "SELECT id, body FROM {}{} ORDER BY ",
            T::TABLE,
            self.conditions_sql()
        );
        let keys: Vec<_> = self
            .sort_keys()
            .into_iter()
            .map(|(column, direction)| match direction {
                Direction::Ascending => column.to_owned(),
                Direction::Descending => format!("{column} DESC"),
            })
            .collect();
        sql.push_str(&keys.join(", "));
        if let Some(limit) = self.limit {
            let _ = write!(sql, " LIMIT {limit}");
        }
        let query = self
            .values
            .into_iter()
            .fold(sql::query(sql), Statement::bind);
        let rows = query
            .fetch_all(tx.conn())
            .await
            .map_err(classify(T::TABLE, "listing rows"))?;
        rows.iter().map(decode).collect()
    }

    pub async fn first(self, tx: &mut Tx) -> Result<Option<T>> {
        Ok(self.limit(1).all(tx).await?.into_iter().next())
    }

    pub async fn count(self, tx: &mut Tx) -> Result<i64> {
        let sql = format!(
            "SELECT COUNT(*) AS n FROM {}{}",
            T::TABLE,
            self.conditions_sql()
        );
        let query = self
            .values
            .into_iter()
            .fold(sql::query(sql), Statement::bind);
        let row = query
            .fetch_one(tx.conn())
            .await
            .map_err(classify(T::TABLE, "counting rows"))?;
        row.try_get("n").map_err(|source| Error::Database {
            doing: "counting rows",
            source,
        })
    }

    /// Removes the rows that match and says how many.
    pub async fn delete(self, tx: &mut Tx) -> Result<u64> {
        let sql = format!("DELETE FROM {}{}", T::TABLE, self.conditions_sql());
        let query = self
            .values
            .into_iter()
            .fold(sql::query(sql), Statement::bind);
        let outcome = query.execute(tx.conn()).await;
        let done = spoiling(tx, outcome, T::TABLE, "deleting rows")?;
        Ok(done.rows_affected())
    }
}
