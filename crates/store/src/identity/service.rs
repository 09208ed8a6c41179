//! Services of the catalog.

use super::Extra;
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub id: String,
    /// `type` in the API: `compute`, `image`, …
    pub kind: String,
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub extra: Extra,
}

impl Record for Service {
    const TABLE: &'static str = "services";
    const COLUMNS: &'static [&'static str] = &["kind"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![self.kind.as_str().into()]
    }
}

pub async fn of_kind(tx: &mut Tx, kind: &str) -> Result<Vec<Service>> {
    Query::new().equals("kind", kind).all(tx).await
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Service>> {
    Query::new().all(tx).await
}
