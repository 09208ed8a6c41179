//! Limits: what one project or domain may have of a resource, in place of the registered default.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{DomainId, ProjectId};
use serde::{Deserialize, Serialize};

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitTarget {
    Project(ProjectId),
    Domain(DomainId),
}

impl LimitTarget {
    pub fn id(&self) -> &str {
        match self {
            Self::Project(id) => id.as_str(),
            Self::Domain(id) => id.as_str(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub id: String,
    pub registered_limit_id: String,
    pub target: LimitTarget,
    pub resource_limit: i64,
    pub description: Option<String>,
}

impl Record for Limit {
    const TABLE: &'static str = "limits";
    const COLUMNS: &'static [&'static str] = &["registered_limit_id", "target_id"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.registered_limit_id.as_str().into(),
            self.target.id().into(),
        ]
    }
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Limit>> {
    Query::new().all(tx).await
}

pub async fn of_registered(tx: &mut Tx, registered_limit_id: &str) -> Result<Vec<Limit>> {
    Query::new()
        .equals("registered_limit_id", registered_limit_id)
        .all(tx)
        .await
}
