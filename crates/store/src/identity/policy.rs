//! Policies that other services deposit at Keystone; identity itself does not read them.

use super::Extra;
use crate::record::{Record, Value};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyBlob {
    pub id: String,
    /// `type` in the API: the MIME type of the blob.
    pub kind: String,
    pub blob: serde_json::Value,
    pub extra: Extra,
}

impl Record for PolicyBlob {
    const TABLE: &'static str = "policies";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}
