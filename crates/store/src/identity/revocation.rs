//! Tokens that were revoked one by one, kept until they would have expired.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value, get};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub audit_id: String,
    pub revoked_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Record for Revocation {
    const TABLE: &'static str = "token_revocations";
    const COLUMNS: &'static [&'static str] = &["expires_at"];

    fn id(&self) -> String {
        self.audit_id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![self.expires_at.into()]
    }
}

/// Whether the token with this audit id was revoked.
pub async fn is_revoked(tx: &mut Tx, audit_id: &str) -> Result<bool> {
    Ok(get::<Revocation>(tx, audit_id).await?.is_some())
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Revocation>> {
    Query::new().all(tx).await
}

/// Forgets the revocations of tokens that have expired since.
pub async fn purge(tx: &mut Tx, now: Timestamp) -> Result<u64> {
    Query::<Revocation>::new()
        .at_most("expires_at", now)
        .delete(tx)
        .await
}
