//! Aggregates: named sets of hosts with metadata. One that names an availability zone puts its hosts there.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::AggregateUuid;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The metadata key that holds an aggregate's availability zone.
pub const AVAILABILITY_ZONE: &str = "availability_zone";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    pub uuid: AggregateUuid,
    /// The id that the compute API uses in its paths.
    pub number: i64,
    pub name: String,
    /// Host names in the order they were added.
    pub hosts: Vec<String>,
    /// The availability zone is among these, under [`AVAILABILITY_ZONE`].
    pub metadata: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

impl Aggregate {
    pub fn availability_zone(&self) -> Option<&str> {
        self.metadata.get(AVAILABILITY_ZONE).map(String::as_str)
    }
}

impl Record for Aggregate {
    const TABLE: &'static str = "aggregates";
    const COLUMNS: &'static [&'static str] = &["number", "name"];

    fn id(&self) -> String {
        self.uuid.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![self.number.into(), self.name.as_str().into()]
    }
}

/// Every aggregate, oldest first.
pub async fn all(tx: &mut Tx) -> Result<Vec<Aggregate>> {
    Query::new()
        .order_by("number", Direction::Ascending)
        .all(tx)
        .await
}

pub async fn by_number(tx: &mut Tx, number: i64) -> Result<Option<Aggregate>> {
    Query::new().equals("number", number).first(tx).await
}

/// The availability zone of each host that an aggregate puts into one.
pub async fn zones(tx: &mut Tx) -> Result<BTreeMap<String, String>> {
    let mut zones = BTreeMap::new();
    for aggregate in all(tx).await? {
        if let Some(zone) = aggregate.availability_zone() {
            zones.extend(
                aggregate
                    .hosts
                    .iter()
                    .map(|host| (host.clone(), zone.to_owned())),
            );
        }
    }
    Ok(zones)
}
