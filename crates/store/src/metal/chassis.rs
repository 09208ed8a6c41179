//! Chassis: racks and other things that hold nodes.

use super::{Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::ChassisId;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chassis {
    pub id: ChassisId,
    pub description: Option<String>,
    #[serde(flatten)]
    pub standard: Standard,
}

impl Record for Chassis {
    const TABLE: &'static str = "metal_chassis";
    const COLUMNS: &'static [&'static str] = &["description", "created_at", "updated_at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            super::text(self.description.as_ref()),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(Chassis, "Chassis", None);
