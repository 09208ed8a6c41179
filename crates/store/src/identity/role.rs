//! Roles, and which role implies which.

use super::{Extra, name_key};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{DomainId, RoleId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub id: RoleId,
    /// A role of one domain only stands for the roles it implies; it never appears in a token.
    pub domain_id: Option<DomainId>,
    pub name: String,
    pub description: Option<String>,
    /// Keystone's resource option `immutable`: not to be changed or deleted until it is taken back.
    pub immutable: Option<bool>,
    pub extra: Extra,
}

impl Record for Role {
    const TABLE: &'static str = "roles";
    const COLUMNS: &'static [&'static str] = &["domain_id", "name_key"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.domain_id
                .as_ref()
                .map_or(String::new(), ToString::to_string)
                .into(),
            name_key(&self.name).into(),
        ]
    }
}

/// Who has `prior` has `implied` too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Implication {
    pub prior_id: RoleId,
    pub implied_id: RoleId,
}

impl Record for Implication {
    const TABLE: &'static str = "role_implications";
    const COLUMNS: &'static [&'static str] = &["prior_id", "implied_id"];

    fn id(&self) -> String {
        format!("{}/{}", self.prior_id, self.implied_id)
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.prior_id).into(), (&self.implied_id).into()]
    }
}

/// The role of the whole cloud with this name.
pub async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<Role>> {
    Query::new()
        .equals("domain_id", "")
        .equals("name_key", name_key(name))
        .first(tx)
        .await
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Role>> {
    Query::new().all(tx).await
}

pub async fn implications(tx: &mut Tx) -> Result<Vec<Implication>> {
    Query::new().all(tx).await
}
