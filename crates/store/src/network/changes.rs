//! What the fabric has not been told yet: the units whose rows changed, written in the transaction that changed them.
//!
//! A unit that changes again before it was told is still one row, of a higher generation. [`told`] takes away only the
//! generation that was read, so nothing that changed meanwhile is lost.

use crate::db::Tx;
use crate::error::{Error, Result, classify};
use crate::record::spoiling;
use crate::sql;

const TABLE: &str = "network_changes";
/// The row that makes writers of changes and their reader follow one another; it names no unit.
const TURN: &str = "";

/// A unit that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `network/ID`
    pub unit: String,
    pub generation: i64,
}

/// Notes that a unit changed.
pub async fn note(tx: &mut Tx, unit: &str) -> Result<()> {
    for id in [TURN, unit] {
        let outcome = sql::query(
            "INSERT INTO network_changes (id, generation) VALUES ($1, 1) \
             ON CONFLICT (id) DO UPDATE SET generation = network_changes.generation + 1",
        )
        .bind(id)
        .execute(tx.conn())
        .await;
        spoiling(tx, outcome, TABLE, "noting a change")?;
    }
    Ok(())
}

/// Everything that changed and was not told, in a fixed order.
pub async fn pending(tx: &mut Tx) -> Result<Vec<Pending>> {
    let rows = sql::query("SELECT id, generation FROM network_changes WHERE id <> $1 ORDER BY id")
        .bind(TURN)
        .fetch_all(tx.conn())
        .await
        .map_err(classify(TABLE, "reading changes"))?;
    let column = |source| Error::Database {
        doing: "reading changes",
        source,
    };
    rows.iter()
        .map(|row| {
            Ok(Pending {
                unit: row.try_get("id").map_err(column)?,
                generation: row.try_get("generation").map_err(column)?,
            })
        })
        .collect()
}

/// The generation at which a unit waits to be told, if it does.
pub async fn generation(tx: &mut Tx, unit: &str) -> Result<Option<i64>> {
    let row = sql::query("SELECT generation FROM network_changes WHERE id = $1")
        .bind(unit)
        .fetch_optional(tx.conn())
        .await
        .map_err(classify(TABLE, "reading a change"))?;
    row.map(|row| {
        row.try_get("generation").map_err(|source| Error::Database {
            doing: "reading a change",
            source,
        })
    })
    .transpose()
}

/// The fabric was told these. True if nothing else waits: on PostgreSQL a change that is being written now is waited
/// for, so whoever ends the work on this answer loses none.
pub async fn told(tx: &mut Tx, done: &[Pending]) -> Result<bool> {
    let outcome =
        sql::query("UPDATE network_changes SET generation = generation + 1 WHERE id = $1")
            .bind(TURN)
            .execute(tx.conn())
            .await;
    spoiling(tx, outcome, TABLE, "taking the turn")?;
    for change in done {
        let outcome = sql::query("DELETE FROM network_changes WHERE id = $1 AND generation = $2")
            .bind(change.unit.as_str())
            .bind(change.generation)
            .execute(tx.conn())
            .await;
        spoiling(tx, outcome, TABLE, "taking a change away")?;
    }
    Ok(pending(tx).await?.is_empty())
}
