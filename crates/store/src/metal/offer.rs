//! Offers: nodes that nobody enrolled, made of what an unknown server told when it booted. The row is gone once somebody has
//! taken the node up.

use crate::record::{Record, Value};
use corten_model::ids::NodeId;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub node_id: NodeId,
    /// The provisioning network that the server booted on last.
    pub network: String,
    /// The server's own id, if its firmware has one that can be its own.
    pub system_uuid: Option<String>,
    /// Maker, model and serial number, if that can be its own.
    pub serial: Option<String>,
    /// When it booted last.
    pub seen_at: Timestamp,
}

impl Record for Offer {
    const TABLE: &'static str = "metal_offers";
    const COLUMNS: &'static [&'static str] = &["system_uuid", "serial"];

    fn id(&self) -> String {
        self.node_id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            super::text(self.system_uuid.as_ref()),
            super::text(self.serial.as_ref()),
        ]
    }
}
