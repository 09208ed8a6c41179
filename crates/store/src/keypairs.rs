//! Key pairs: the public halves that instances are given. The private half is never kept (K73, K131).

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::UserId;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What kind of public key this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    Ssh,
    X509,
}

impl KeyKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::X509 => "x509",
        }
    }
}

/// A named public key of a user. It never changes (K132).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    pub user_id: UserId,
    /// Unique among the user's.
    pub name: String,
    pub number: i64,
    pub kind: KeyKind,
    pub public_key: String,
    pub fingerprint: String,
    /// Who made it, which can be an administrator on the user's behalf.
    pub created_by: UserId,
    pub created_at: Timestamp,
}

impl KeyPair {
    pub fn key(user: &UserId, name: &str) -> String {
        format!("{user}/{name}")
    }
}

impl Record for KeyPair {
    const TABLE: &'static str = "key_pairs";
    const COLUMNS: &'static [&'static str] = &["user_id", "name"];

    fn id(&self) -> String {
        Self::key(&self.user_id, &self.name)
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.user_id).into(), self.name.as_str().into()]
    }
}

fn of_user(user: &UserId) -> Query<KeyPair> {
    Query::new()
        .equals("user_id", user)
        .order_by("name", Direction::Ascending)
}

/// A user's key pairs by name, after `marker`.
pub async fn page(
    tx: &mut Tx,
    user: &UserId,
    marker: Option<&KeyPair>,
    limit: i64,
) -> Result<Vec<KeyPair>> {
    let query = of_user(user).limit(limit);
    match marker {
        Some(marker) => query.after(marker).all(tx).await,
        None => query.all(tx).await,
    }
}

pub async fn count(tx: &mut Tx, user: &UserId) -> Result<i64> {
    of_user(user).count(tx).await
}
