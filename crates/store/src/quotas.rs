//! Quotas: what a project, a user in it, or a class of projects may have. Only what differs from the default is kept.

use crate::db::Tx;
use crate::error::{Error, Result, classify};
use crate::record::{Query, Record, Value};
use crate::sql;
use corten_model::ids::{ProjectId, UserId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Limits by resource name (`instances`, `cores`, `ram`, …); -1 means none.
pub type Limits = BTreeMap<String, i64>;

/// The limits of a project, or of one user in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    pub project_id: ProjectId,
    pub user_id: Option<UserId>,
    pub limits: Limits,
}

impl Quota {
    pub fn key(project: &ProjectId, user: Option<&UserId>) -> String {
        format!("{project}/{}", user.map_or("", |user| user.as_str()))
    }
}

impl Record for Quota {
    const TABLE: &'static str = "quotas";
    const COLUMNS: &'static [&'static str] = &["project_id", "user_id"];

    fn id(&self) -> String {
        Self::key(&self.project_id, self.user_id.as_ref())
    }

    fn columns(&self) -> Vec<Value> {
        let user = self.user_id.as_ref().map_or("", |user| user.as_str());
        vec![(&self.project_id).into(), user.into()]
    }
}

/// The class whose limits every project starts from.
pub const DEFAULT_CLASS: &str = "default";

/// The limits of a class. The class `default` is what every project starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaClass {
    pub name: String,
    pub limits: Limits,
}

impl Record for QuotaClass {
    const TABLE: &'static str = "quota_classes";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        self.name.clone()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}

/// Lets one transaction at a time decide about a project's quota: others wait here until it ends.
pub async fn serialize(tx: &mut Tx, project: &ProjectId) -> Result<()> {
    let empty = Quota {
        project_id: project.clone(),
        user_id: None,
        limits: Limits::new(),
    };
    sql::query(
        "INSERT INTO quotas (id, generation, body, project_id, user_id) VALUES ($1, 1, $2, $3, '') \
         ON CONFLICT (id) DO UPDATE SET generation = quotas.generation + 1",
    )
    .bind(empty.id())
    .bind(
        serde_json::to_string(&empty).map_err(|source| Error::Unwritable {
            table: Quota::TABLE,
            source,
        })?,
    )
    .bind(project.to_string())
    .execute(tx.conn())
    .await
    .map_err(classify(Quota::TABLE, "locking a project's quota"))?;
    Ok(())
}

/// Forgets what was set for a project and all its users.
pub async fn delete_project(tx: &mut Tx, project: &ProjectId) -> Result<()> {
    Query::<Quota>::new()
        .equals("project_id", project)
        .delete(tx)
        .await?;
    Ok(())
}
