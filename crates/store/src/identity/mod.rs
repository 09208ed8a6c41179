//! Identity's rows (Keystone v3), and the counter that tells every replica that one of them changed.

pub mod access_rule;
pub mod application_credential;
pub mod assignment;
pub mod consumer;
pub mod credential;
pub mod domain_config;
pub mod endpoint;
pub mod endpoint_filter;
pub mod group;
pub mod limit;
pub mod policy;
pub mod project;
pub mod region;
pub mod registered_limit;
pub mod revocation;
pub mod role;
pub mod service;
pub mod trust;
pub mod user;

use crate::db::Tx;
use crate::error::{Error, Result};
use crate::sql;

/// Attributes that Keystone keeps for its callers without knowing what they mean (`email` of a user, say).
pub type Extra = serde_json::Map<String, serde_json::Value>;

/// The form of a name that uniqueness and lookups compare: without regard to case.
pub fn name_key(name: &str) -> String {
    name.to_lowercase()
}

/// How many changes identity has seen. Two equal numbers mean that nothing changed between them.
pub async fn generation(tx: &mut Tx) -> Result<i64> {
    let row = sql::query("SELECT generation FROM identity_generation WHERE id = 'identity'")
        .fetch_one(tx.conn())
        .await
        .map_err(|source| Error::Database {
            doing: "reading identity's generation",
            source,
        })?;
    row.try_get("generation").map_err(|source| Error::Database {
        doing: "reading identity's generation",
        source,
    })
}

/// Counts a change, so that what other replicas remember is read again.
pub async fn bump_generation(tx: &mut Tx) -> Result<()> {
    sql::query("UPDATE identity_generation SET generation = generation + 1 WHERE id = 'identity'")
        .execute(tx.conn())
        .await
        .map_err(|source| Error::Database {
            doing: "raising identity's generation",
            source,
        })?;
    Ok(())
}
