//! Application credentials: a secret that acts for a user on one project, with some of the user's roles.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{ProjectId, RoleId, UserId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationCredential {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub user_id: UserId,
    pub project_id: ProjectId,
    pub role_ids: Vec<RoleId>,
    pub expires_at: Option<Timestamp>,
    /// May make further application credentials and trusts.
    pub unrestricted: bool,
    /// `None`: any request; `Some`: only those that one of these rules allows.
    pub access_rule_ids: Option<Vec<String>>,
    /// A PHC string.
    pub secret_hash: String,
}

impl Record for ApplicationCredential {
    const TABLE: &'static str = "application_credentials";
    const COLUMNS: &'static [&'static str] = &["user_id", "project_id", "name"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.user_id).into(),
            (&self.project_id).into(),
            self.name.as_str().into(),
        ]
    }
}

pub async fn of_user(tx: &mut Tx, user: &UserId) -> Result<Vec<ApplicationCredential>> {
    Query::new().equals("user_id", user).all(tx).await
}

pub async fn by_name(
    tx: &mut Tx,
    user: &UserId,
    name: &str,
) -> Result<Option<ApplicationCredential>> {
    Query::new()
        .equals("user_id", user)
        .equals("name", name)
        .first(tx)
        .await
}

/// Removes those of a user on one project, or on all.
pub async fn forget(tx: &mut Tx, user: &UserId, project: Option<&ProjectId>) -> Result<u64> {
    let query = Query::<ApplicationCredential>::new().equals("user_id", user);
    match project {
        Some(project) => query.equals("project_id", project).delete(tx).await,
        None => query.delete(tx).await,
    }
}
