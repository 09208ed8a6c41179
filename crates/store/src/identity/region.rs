//! Regions of the catalog.

use super::Extra;
use crate::record::{Record, Value};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Region {
    pub id: String,
    pub description: String,
    pub parent_region_id: Option<String>,
    pub extra: Extra,
}

impl Record for Region {
    const TABLE: &'static str = "regions";
    const COLUMNS: &'static [&'static str] = &["parent_region_id"];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![self.parent_region_id.clone().into()]
    }
}
