//! Network quotas of projects. Only what differs from the default is kept.

use crate::record::{Record, Value};
use corten_model::ids::ProjectId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A project's own limits by Neutron's name of the resource; -1 means none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkQuota {
    pub project_id: ProjectId,
    pub limits: BTreeMap<String, i64>,
}

impl Record for NetworkQuota {
    const TABLE: &'static str = "network_quotas";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        self.project_id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}
