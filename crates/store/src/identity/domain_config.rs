//! The configuration of a domain: groups of options.

use crate::record::{Record, Value};
use corten_model::ids::DomainId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Group to option to value.
pub type Options = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainConfig {
    pub domain_id: DomainId,
    pub options: Options,
}

impl Record for DomainConfig {
    const TABLE: &'static str = "domain_configs";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        self.domain_id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}
