//! A resource that exists only here: a table of gadgets with one column of each kind.
#![allow(dead_code, clippy::unwrap_used)]

use corten_store::{Record, Store, Value};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gadget {
    pub id: String,
    pub name: String,
    pub owner: Option<String>,
    pub size: i64,
    pub weight: Option<i64>,
    /// Without a column of its own.
    pub note: String,
}

impl Record for Gadget {
    const TABLE: &'static str = "gadgets";
    const COLUMNS: &'static [&'static str] = &["name", "owner", "size", "weight"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.name.as_str().into(),
            self.owner.clone().into(),
            self.size.into(),
            self.weight.into(),
        ]
    }
}

impl Gadget {
    pub fn new(id: &str, name: &str, size: i64) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            owner: None,
            size,
            weight: None,
            note: "Grüße\n\"quoted\" 'and' $1 \u{0}".to_owned(),
        }
    }
}

/// Makes the table. Names are unique per owner.
pub async fn make_table(store: &Store) {
    let mut tx = store.write().await.unwrap();
    for sql in [
        "CREATE TABLE gadgets (id TEXT PRIMARY KEY, generation BIGINT NOT NULL, body TEXT NOT NULL, \
         name TEXT NOT NULL, owner TEXT, size BIGINT NOT NULL, weight BIGINT)",
        "CREATE UNIQUE INDEX gadgets_name ON gadgets (owner, name)",
        "CREATE TABLE parts (id TEXT PRIMARY KEY, gadget_id TEXT NOT NULL REFERENCES gadgets (id))",
    ] {
        corten_store::sql::query(sql)
            .execute(tx.conn())
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

/// Adds gadgets in a transaction of their own.
pub async fn add(store: &Store, gadgets: &[Gadget]) {
    let mut tx = store.write().await.unwrap();
    for gadget in gadgets {
        corten_store::record::insert(&mut tx, gadget).await.unwrap();
    }
    tx.commit().await.unwrap();
}
