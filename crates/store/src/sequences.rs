//! Small numbers that go up and are never given twice: the integer ids of older versions of the compute API.

use crate::db::Tx;
use crate::error::{Result, classify};
use crate::sql;

/// The next number of a sequence, from 1. The sequence stays locked until the transaction ends.
pub async fn next(tx: &mut Tx, sequence: &'static str) -> Result<i64> {
    let failed = |source| classify("sequences", "taking the next number")(source);
    let row = sql::query(
        "INSERT INTO sequences (name, last) VALUES ($1, 1) \
         ON CONFLICT (name) DO UPDATE SET last = sequences.last + 1 RETURNING last",
    )
    .bind(sequence)
    .fetch_one(tx.conn())
    .await
    .map_err(failed)?;
    row.try_get("last").map_err(failed)
}

/// No number of this sequence was ever given.
pub async fn is_untouched(tx: &mut Tx, sequence: &'static str) -> Result<bool> {
    let row = sql::query("SELECT last FROM sequences WHERE name = $1")
        .bind(sequence)
        .fetch_optional(tx.conn())
        .await
        .map_err(classify("sequences", "looking at a sequence"))?;
    Ok(row.is_none())
}
