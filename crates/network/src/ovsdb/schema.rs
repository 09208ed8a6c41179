//! What a replica must know of a database's schema (RFC 7047, section 3.2).

use super::{Atom, Monitored, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The columns that are watched, by table.
#[derive(Debug, Default)]
pub struct Schema {
    pub tables: BTreeMap<&'static str, BTreeMap<&'static str, Column>>,
}

#[derive(Debug)]
pub struct Column {
    /// What a row holds that says nothing of it.
    pub default: Value,
    /// Whether it can hold more than one element: a change of it is then told as a difference.
    pub composite: bool,
}

impl Schema {
    /// Of the server's answer to `get_schema`, what is watched. The error says what the database lacks.
    pub fn read(json: &Json, monitored: &Monitored) -> Result<Self, String> {
        let mut schema = Self::default();
        for (table, columns) in monitored.tables() {
            let known = &json["tables"][table]["columns"];
            let columns = columns.iter().map(|column| {
                let kind = &known[column]["type"];
                let column_read = Column::read(kind);
                column_read
                    .map(|read| (*column, read))
                    .ok_or_else(|| format!("its schema has no column {column} in table {table}"))
            });
            schema
                .tables
                .insert(table, columns.collect::<Result<_, _>>()?);
        }
        Ok(schema)
    }
}

impl Column {
    fn read(kind: &Json) -> Option<Self> {
        let Json::Object(fields) = kind else {
            let default = Value::one(default_atom(kind.as_str()?)?);
            return Some(Self {
                default,
                composite: false,
            });
        };
        let optional = fields.get("min").and_then(Json::as_u64) == Some(0);
        let composite = match fields.get("max") {
            None => false,
            Some(Json::String(_)) => true,
            Some(max) => max.as_u64()? > 1,
        };
        let default = if fields.contains_key("value") {
            Value::empty_map()
        } else if optional {
            Value::empty_set()
        } else {
            let key = fields.get("key")?;
            Value::one(default_atom(
                key.as_str().or_else(|| key["type"].as_str())?,
            )?)
        };
        Some(Self { default, composite })
    }
}

fn default_atom(kind: &str) -> Option<Atom> {
    Some(match kind {
        "integer" => Atom::Integer(0),
        "real" => Atom::Real(0.0),
        "boolean" => Atom::Boolean(false),
        "string" => Atom::Text(String::new()),
        "uuid" => Atom::Uuid(Uuid::nil()),
        _ => return None,
    })
}
