//! Access rules: the requests that an application credential may make.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::UserId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    pub id: String,
    pub user_id: UserId,
    /// The catalog type of a service.
    pub service: String,
    pub method: String,
    /// `*` stands for one segment, `**` for any number, `{name}` for one segment.
    pub path: String,
}

impl Record for AccessRule {
    const TABLE: &'static str = "access_rules";
    const COLUMNS: &'static [&'static str] = &["user_id"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.user_id).into()]
    }
}

pub async fn of_user(tx: &mut Tx, user: &UserId) -> Result<Vec<AccessRule>> {
    Query::new().equals("user_id", user).all(tx).await
}

pub async fn by_ids(tx: &mut Tx, ids: &[String]) -> Result<Vec<AccessRule>> {
    Query::new()
        .any_of("id", ids.iter().map(String::as_str))
        .all(tx)
        .await
}
