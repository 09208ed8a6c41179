//! Orders to the ramdisks of servers: since when one is worked on, and how long those before it took.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{self, Direction, Query, Record, Value};
use corten_model::ids::NodeId;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Of each kind, so many of a node's orders are kept.
const KEPT: usize = 50;

/// One order, from the moment when a ramdisk was given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSpan {
    /// The same mark is the same work.
    pub mark: String,
    pub node_id: NodeId,
    /// `erase`, `write`, `inspect`, `burnin_cpu`, …
    pub kind: String,
    /// What makes one of its kind take longer than another: bytes, or the seconds that it is to last. 0: nothing known.
    pub measure: u64,
    pub given_at: Timestamp,
    /// How much of it was done when the ramdisk last told, in units of its own.
    pub done: Option<u64>,
    /// Since when no more of it was done.
    pub moved_at: Timestamp,
    /// When it came to its good end; `None` while it is worked on, and for one that came to none.
    pub ended_at: Option<Timestamp>,
}

impl Record for OrderSpan {
    const TABLE: &'static str = "metal_orders";
    const COLUMNS: &'static [&'static str] = &["node_id", "kind", "given_at"];

    fn id(&self) -> String {
        self.mark.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.node_id).into(),
            self.kind.as_str().into(),
            self.given_at.into(),
        ]
    }
}

/// A node's orders of this kind that are kept, the last one first.
pub async fn of_kind(tx: &mut Tx, node: NodeId, kind: &str) -> Result<Vec<OrderSpan>> {
    Query::new()
        .equals("node_id", &node)
        .equals("kind", kind)
        .order_by("given_at", Direction::Descending)
        .all(tx)
        .await
}

/// Writes how far an order is. With a new one the oldest of its kind goes.
pub async fn keep(tx: &mut Tx, span: &OrderSpan) -> Result<()> {
    if record::update(tx, span).await? {
        return Ok(());
    }
    record::insert(tx, span).await?;
    let all = of_kind(tx, span.node_id, &span.kind).await?;
    for old in all.iter().skip(KEPT) {
        record::delete::<OrderSpan>(tx, &old.mark).await?;
    }
    Ok(())
}
