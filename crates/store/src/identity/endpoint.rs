//! Endpoints of the catalog: where a service is, for whom, in which region.

use super::Extra;
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    pub id: String,
    pub service_id: String,
    /// `public`, `internal` or `admin`.
    pub interface: String,
    pub region_id: Option<String>,
    pub url: String,
    pub enabled: bool,
    pub extra: Extra,
}

impl Record for Endpoint {
    const TABLE: &'static str = "endpoints";
    const COLUMNS: &'static [&'static str] = &["service_id", "interface", "region_id"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.service_id.as_str().into(),
            self.interface.as_str().into(),
            self.region_id.clone().into(),
        ]
    }
}

pub async fn of_service(tx: &mut Tx, service_id: &str) -> Result<Vec<Endpoint>> {
    Query::new().equals("service_id", service_id).all(tx).await
}

pub async fn all(tx: &mut Tx) -> Result<Vec<Endpoint>> {
    Query::new().all(tx).await
}
