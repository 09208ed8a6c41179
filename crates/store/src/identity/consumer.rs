//! OS-OAUTH1 consumers.

use super::Extra;
use crate::record::{Record, Value};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consumer {
    pub id: String,
    pub description: Option<String>,
    /// Told once, when it is made; kept encrypted with the credential key.
    pub sealed_secret: String,
    pub extra: Extra,
}

impl Record for Consumer {
    const TABLE: &'static str = "consumers";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}
