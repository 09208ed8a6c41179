//! Trusts: one user lends another some roles on a project.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{ProjectId, RoleId, UserId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    pub id: String,
    pub trustor_user_id: UserId,
    pub trustee_user_id: UserId,
    pub project_id: Option<ProjectId>,
    /// Tokens name the trustor as their user.
    pub impersonation: bool,
    pub role_ids: Vec<RoleId>,
    pub expires_at: Option<Timestamp>,
    pub remaining_uses: Option<i64>,
    /// May be lent on, this many times.
    pub redelegation_count: i64,
    pub redelegated_trust_id: Option<String>,
    pub deleted_at: Option<Timestamp>,
}

impl Record for Trust {
    const TABLE: &'static str = "trusts";
    const COLUMNS: &'static [&'static str] = &["trustor_user_id", "trustee_user_id", "project_id"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.trustor_user_id).into(),
            (&self.trustee_user_id).into(),
            self.project_id.as_ref().map(ToString::to_string).into(),
        ]
    }
}

pub async fn of_trustor(tx: &mut Tx, user: &UserId) -> Result<Vec<Trust>> {
    Query::new().equals("trustor_user_id", user).all(tx).await
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Trust>> {
    Query::new().all(tx).await
}
