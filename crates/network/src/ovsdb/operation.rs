//! What a transaction is made of (RFC 7047, section 5.2).

use super::Value;
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Columns and what they are to hold.
pub type Columns = BTreeMap<&'static str, Value>;

#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// With a `uuid`, which no row of the table may have, the row gets it; with a `name`, other operations of the
    /// transaction may refer to it by [`Atom::NamedUuid`](super::Atom::NamedUuid).
    Insert {
        table: &'static str,
        uuid: Option<Uuid>,
        name: Option<String>,
        row: Columns,
    },
    Update {
        table: &'static str,
        rows: Vec<Condition>,
        row: Columns,
    },
    Mutate {
        table: &'static str,
        rows: Vec<Condition>,
        mutations: Vec<Mutation>,
    },
    Delete {
        table: &'static str,
        rows: Vec<Condition>,
    },
    Select {
        table: &'static str,
        rows: Vec<Condition>,
        columns: Vec<&'static str>,
    },
    /// Compare and set: the transaction is refused with "timed out" unless the row is there and its columns hold this.
    Expect {
        table: &'static str,
        row: Uuid,
        columns: Columns,
    },
    /// Stands in the server's log.
    Comment(String),
}

/// Selects rows: `column function value`. No condition selects all rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition(&'static str, &'static str, Value);

/// Changes a column: `column mutator value`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mutation(pub &'static str, pub &'static str, pub Value);

impl Condition {
    /// The one row with this UUID.
    pub fn row(uuid: Uuid) -> Vec<Self> {
        vec![Self("_uuid", "==", Value::one(uuid))]
    }

    pub fn equal(column: &'static str, value: Value) -> Self {
        Self(column, "==", value)
    }

    pub fn includes(column: &'static str, value: Value) -> Self {
        Self(column, "includes", value)
    }
}

impl Mutation {
    pub fn add(column: &'static str, amount: i64) -> Self {
        Self(column, "+=", Value::one(amount))
    }

    pub fn insert(column: &'static str, value: Value) -> Self {
        Self(column, "insert", value)
    }

    /// Of a map, keys alone or keys with their values.
    pub fn delete(column: &'static str, value: Value) -> Self {
        Self(column, "delete", value)
    }
}

impl Operation {
    pub fn to_json(&self) -> Json {
        match self {
            Self::Insert {
                table,
                uuid,
                name,
                row,
            } => {
                let mut operation = json!({"op": "insert", "table": table, "row": row});
                if let (Some(uuid), Some(fields)) = (uuid, operation.as_object_mut()) {
                    fields.insert("uuid".to_owned(), json!(uuid.hyphenated().to_string()));
                }
                if let (Some(name), Some(fields)) = (name, operation.as_object_mut()) {
                    fields.insert("uuid-name".to_owned(), json!(name));
                }
                operation
            }
            Self::Update { table, rows, row } => {
                json!({"op": "update", "table": table, "where": rows, "row": row})
            }
            Self::Mutate {
                table,
                rows,
                mutations,
            } => json!({"op": "mutate", "table": table, "where": rows, "mutations": mutations}),
            Self::Delete { table, rows } => json!({"op": "delete", "table": table, "where": rows}),
            Self::Select {
                table,
                rows,
                columns,
            } => json!({"op": "select", "table": table, "where": rows, "columns": columns}),
            Self::Expect {
                table,
                row,
                columns,
            } => expect(table, *row, columns),
            Self::Comment(text) => json!({"op": "comment", "comment": text}),
        }
    }
}

/// A `wait` that waits for nothing. Without columns it asks for the row itself.
fn expect(table: &str, row: Uuid, columns: &Columns) -> Json {
    let names: Vec<_> = columns.keys().copied().chain(["_uuid"]).collect();
    let mut expected = json!(columns);
    if let Some(fields) = expected.as_object_mut() {
        fields.insert("_uuid".to_owned(), Value::one(row).to_json());
    }
    json!({
        "op": "wait", "timeout": 0, "table": table, "where": Condition::row(row),
        "columns": names, "until": "==", "rows": [expected],
    })
}

/// What one operation did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Rows that an update, mutate or delete found.
    pub count: u64,
    /// The row that an insert made.
    pub uuid: Option<Uuid>,
    /// The rows that a select found.
    pub rows: Vec<BTreeMap<String, Value>>,
}

impl Outcome {
    /// None for what is not an outcome.
    pub fn from_json(json: Json) -> Option<Self> {
        let Json::Object(mut fields) = json else {
            return None;
        };
        let uuid = match fields.remove("uuid") {
            Some(uuid) => Value::from_json(uuid)?.only()?.as_uuid(),
            None => None,
        };
        let rows = match fields.remove("rows") {
            Some(Json::Array(rows)) => rows.into_iter().map(found).collect::<Option<_>>()?,
            _ => Vec::new(),
        };
        let count = fields.get("count").and_then(Json::as_u64).unwrap_or(0);
        Some(Self { count, uuid, rows })
    }
}

fn found(row: Json) -> Option<BTreeMap<String, Value>> {
    let Json::Object(columns) = row else {
        return None;
    };
    let columns = columns.into_iter();
    columns
        .map(|(column, json)| Some((column, Value::from_json(json)?)))
        .collect()
}
