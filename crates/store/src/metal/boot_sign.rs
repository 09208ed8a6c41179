//! The early signs of a server's boots: what was seen of it before its ramdisk worked, and after.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::{BootSignId, NodeId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One line of a boot timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BootSign {
    pub id: BootSignId,
    pub node_id: NodeId,
    pub at: Timestamp,
    /// `power on`, `dhcp`, `fetched`, `agent called`, `written`, …
    pub event: String,
    /// For people.
    pub detail: String,
}

impl Record for BootSign {
    const TABLE: &'static str = "metal_boot_signs";
    const COLUMNS: &'static [&'static str] = &["node_id", "at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.node_id).into(), self.at.into()]
    }
}

/// The signs of a node since a moment, oldest first.
pub async fn of_node(tx: &mut Tx, node: NodeId, since: Timestamp) -> Result<Vec<BootSign>> {
    Query::new()
        .equals("node_id", &node)
        .at_least("at", since)
        .order_by("at", Direction::Ascending)
        .all(tx)
        .await
}

/// Removes the signs of a node up to a moment.
pub async fn forget(tx: &mut Tx, node: NodeId, until: Timestamp) -> Result<u64> {
    Query::<BootSign>::new()
        .equals("node_id", &node)
        .at_most("at", until)
        .delete(tx)
        .await
}
