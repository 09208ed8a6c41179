//! Credentials that Keystone keeps for users: EC2 access keys, certificates. The blob is sealed at rest.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{ProjectId, UserId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    pub id: String,
    pub user_id: UserId,
    pub project_id: Option<ProjectId>,
    /// `type` in the API: `ec2`, `cert`, …
    pub kind: String,
    /// Encrypted with the credential key.
    pub sealed_blob: String,
}

impl Record for Credential {
    const TABLE: &'static str = "credentials";
    const COLUMNS: &'static [&'static str] = &["user_id", "project_id", "kind"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.user_id).into(),
            self.project_id.as_ref().map(ToString::to_string).into(),
            self.kind.as_str().into(),
        ]
    }
}

/// A user's credentials, of one kind or of all.
pub async fn of_user(tx: &mut Tx, user: &UserId, kind: Option<&str>) -> Result<Vec<Credential>> {
    let query = Query::new().equals("user_id", user);
    match kind {
        Some(kind) => query.equals("kind", kind).all(tx).await,
        None => query.all(tx).await,
    }
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Credential>> {
    Query::new().all(tx).await
}

/// Removes those of a project that goes away.
pub async fn forget_project(tx: &mut Tx, project: &ProjectId) -> Result<u64> {
    Query::<Credential>::new()
        .equals("project_id", project)
        .delete(tx)
        .await
}
