//! Registered limits: the default limit of a resource of a service, for projects without one of their own.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredLimit {
    pub id: String,
    pub service_id: String,
    pub region_id: Option<String>,
    pub resource_name: String,
    pub default_limit: i64,
    pub description: Option<String>,
}

impl Record for RegisteredLimit {
    const TABLE: &'static str = "registered_limits";
    const COLUMNS: &'static [&'static str] = &["service_id", "region_id", "resource_name"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.service_id.as_str().into(),
            self.region_id.clone().unwrap_or_default().into(),
            self.resource_name.as_str().into(),
        ]
    }
}

pub async fn all(tx: &mut Tx) -> Result<Vec<RegisteredLimit>> {
    Query::new().all(tx).await
}

/// The one for this resource, if there is one.
pub async fn find(
    tx: &mut Tx,
    service_id: &str,
    region_id: Option<&str>,
    resource_name: &str,
) -> Result<Option<RegisteredLimit>> {
    Query::new()
        .equals("service_id", service_id)
        .equals("region_id", region_id.unwrap_or_default())
        .equals("resource_name", resource_name)
        .first(tx)
        .await
}
