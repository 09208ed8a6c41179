//! The proof of a wipe: which disks of a node were erased, how, when and by which operation.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::{NodeId, WipeId};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wipe {
    pub id: WipeId,
    pub node_id: NodeId,
    pub at: Timestamp,
    pub disks: Vec<WipedDisk>,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WipedDisk {
    pub serial: String,
    pub size_bytes: u64,
    /// `nvme format`, `ata secure erase`, `overwrite`, `simulated`, …
    pub method: String,
    /// It can be taken out, and need not be there the next time.
    #[serde(default)]
    pub removable: bool,
}

impl Record for Wipe {
    const TABLE: &'static str = "metal_wipes";
    const COLUMNS: &'static [&'static str] = &["node_id", "at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.node_id).into(), self.at.into()]
    }
}

/// The wipes of a node, the last one first.
pub async fn of_node(tx: &mut Tx, node: NodeId) -> Result<Vec<Wipe>> {
    Query::new()
        .equals("node_id", &node)
        .order_by("at", Direction::Descending)
        .all(tx)
        .await
}
