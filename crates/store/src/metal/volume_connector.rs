//! Volume connectors: under which name a node asks a storage system for its volumes.

use super::{Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::{NodeId, VolumeConnectorId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeConnector {
    pub id: VolumeConnectorId,
    pub node_id: NodeId,
    /// `iqn`, `ip`, `mac`, `wwnn`, `wwpn`, `port` or `portgroup`.
    pub kind: String,
    pub connector_id: String,
    #[serde(flatten)]
    pub standard: Standard,
}

impl Record for VolumeConnector {
    const TABLE: &'static str = "metal_volume_connectors";
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "kind",
        "connector_id",
        "created_at",
        "updated_at",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.node_id).into(),
            self.kind.as_str().into(),
            self.connector_id.as_str().into(),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(VolumeConnector, "Volume connector", None);
