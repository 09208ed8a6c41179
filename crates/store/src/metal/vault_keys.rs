//! Which key seals the secrets of nodes, and which keys are on their way out. The keys themselves are in files.

use crate::record::{Record, Value};
use serde::{Deserialize, Serialize};

/// The one row.
pub const ID: &str = "keys";

/// Keys by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultKeys {
    /// The one that seals; `None` until the first rotation: the key that the cloud began with.
    pub primary: Option<String>,
    /// Those that a rotation which has not ended takes out of use.
    pub retiring: Vec<String>,
}

impl Record for VaultKeys {
    const TABLE: &'static str = "metal_vault";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        ID.to_owned()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}
