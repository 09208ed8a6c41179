//! The rows of the tables that a client watches, kept current by the server's updates
//! (`update2` of ovsdb-server(7), "Monitor_Cond").

use super::Value;
use super::schema::Schema;
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// The tables and columns that a client watches.
#[derive(Debug, Clone, Copy)]
pub struct Monitored(pub &'static [(&'static str, &'static [&'static str])]);

impl Monitored {
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
        self.0.iter().copied()
    }

    /// The parameter of `monitor_cond` that asks for them.
    pub(super) fn request(&self) -> Json {
        let tables = self.tables();
        let tables =
            tables.map(|(table, columns)| (table.to_owned(), json!([{"columns": columns}])));
        Json::Object(tables.collect::<Map<_, _>>())
    }
}

/// Every watched column of one row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row(BTreeMap<&'static str, Value>);

impl Row {
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.0.get(column)
    }

    pub fn text(&self, column: &str) -> Option<&str> {
        self.get(column)?.as_text()
    }

    /// What a map of texts has under a key.
    pub fn at(&self, column: &str, key: &str) -> Option<&str> {
        self.get(column)?.at(key)
    }

    pub fn set(&mut self, column: &'static str, value: Value) {
        self.0.insert(column, value);
    }

    pub fn columns(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(column, value)| (*column, value))
    }
}

impl FromIterator<(&'static str, Value)> for Row {
    fn from_iter<T: IntoIterator<Item = (&'static str, Value)>>(columns: T) -> Self {
        Self(columns.into_iter().collect())
    }
}

pub type Table = HashMap<Uuid, Row>;

/// What happened to a replica.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The client connected: the replica was filled anew, and anything may have changed.
    Loaded,
    /// The connection is lost. The replica keeps what it had.
    Lost,
    /// Rows changed.
    Changed(Vec<RowChange>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    pub table: &'static str,
    pub uuid: Uuid,
    /// None for a new row.
    pub before: Option<Row>,
    /// None for a row that is gone.
    pub after: Option<Row>,
}

/// The watched rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replica {
    tables: BTreeMap<&'static str, Table>,
}

impl Replica {
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (Uuid, &Row)> {
        let rows = self.tables.get(table).into_iter().flatten();
        rows.map(|(uuid, row)| (*uuid, row))
    }

    pub fn row(&self, table: &str, uuid: Uuid) -> Option<&Row> {
        self.tables.get(table)?.get(&uuid)
    }

    /// The row of a table that has exactly one, such as `NB_Global`.
    pub fn only(&self, table: &str) -> Option<(Uuid, &Row)> {
        self.rows(table).next()
    }

    pub fn is_empty(&self) -> bool {
        self.tables.values().all(HashMap::is_empty)
    }

    pub fn put(&mut self, table: &'static str, uuid: Uuid, row: Row) -> Option<Row> {
        self.tables.entry(table).or_default().insert(uuid, row)
    }

    pub fn remove(&mut self, table: &str, uuid: Uuid) -> Option<Row> {
        self.tables.get_mut(table)?.remove(&uuid)
    }

    /// Takes an update of the server in. None if it makes no sense; the replica must then be filled anew.
    pub(super) fn update(&mut self, schema: &Schema, update: Json) -> Option<Vec<RowChange>> {
        let Json::Object(tables) = update else {
            return None;
        };
        let mut changes = Vec::new();
        for (name, rows) in tables {
            let (table, columns) = schema.tables.get_key_value(name.as_str())?;
            let Json::Object(rows) = rows else {
                return None;
            };
            let content = self.tables.entry(*table).or_default();
            for (uuid, change) in rows {
                let uuid = Uuid::parse_str(&uuid).ok()?;
                let before = content.remove(&uuid);
                let after = changed(columns, before.as_ref(), change)?;
                if let Some(row) = &after {
                    content.insert(uuid, row.clone());
                }
                changes.push(RowChange {
                    table,
                    uuid,
                    before,
                    after,
                });
            }
        }
        Some(changes)
    }
}

type Columns = BTreeMap<&'static str, super::schema::Column>;

/// The row after a `<row-update2>`.
fn changed(columns: &Columns, before: Option<&Row>, change: Json) -> Option<Option<Row>> {
    let Json::Object(change) = change else {
        return None;
    };
    let (kind, told) = change.into_iter().next()?;
    match kind.as_str() {
        "initial" | "insert" => {
            let defaults = columns.iter();
            let mut row: Row = defaults
                .map(|(name, column)| (*name, column.default.clone()))
                .collect();
            for (name, value) in read(columns, told)? {
                row.set(name, fit(&columns[name].default, value));
            }
            Some(Some(row))
        }
        "modify" => {
            let mut row = before?.clone();
            for (name, value) in read(columns, told)? {
                let column = &columns[name];
                let value = fit(&column.default, value);
                let value = match (column.composite, row.get(name)) {
                    (true, Some(old)) => differ(old, value)?,
                    _ => value,
                };
                row.set(name, value);
            }
            Some(Some(row))
        }
        "delete" => Some(None),
        _ => None,
    }
}

fn read(columns: &Columns, told: Json) -> Option<Vec<(&'static str, Value)>> {
    let Json::Object(told) = told else {
        return None;
    };
    let told = told.into_iter().map(|(name, json)| {
        let (name, column) = columns.get_key_value(name.as_str())?;
        let mut value = Value::from_json(json)?;
        // JSON has one kind of number: 2.0 may come as 2.
        if let (Some(super::Atom::Real(_)), Some(whole)) =
            (column.default.only(), value.as_integer())
        {
            #[allow(clippy::cast_precision_loss)]
            let real = whole as f64;
            value = Value::one(real);
        }
        Some((*name, value))
    });
    told.collect()
}

/// An empty map may be told as an empty set.
fn fit(default: &Value, value: Value) -> Value {
    match (default, &value) {
        (Value::Map(_), Value::Set(atoms)) if atoms.is_empty() => Value::empty_map(),
        _ => value,
    }
}

/// Applies a difference: of sets, what is in exactly one of both; of maps, pairs that are new, changed, or (told as
/// they were) gone.
fn differ(old: &Value, difference: Value) -> Option<Value> {
    match (old, difference) {
        (Value::Set(old), Value::Set(difference)) => Some(Value::Set(
            old.symmetric_difference(&difference).cloned().collect(),
        )),
        (Value::Map(old), Value::Map(difference)) => {
            let mut pairs = old.clone();
            for (key, value) in difference {
                if pairs.get(&key) == Some(&value) {
                    pairs.remove(&key);
                } else {
                    pairs.insert(key, value);
                }
            }
            Some(Value::Map(pairs))
        }
        _ => None,
    }
}
