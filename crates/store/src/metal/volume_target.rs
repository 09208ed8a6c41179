//! Volume targets: the volumes of a storage system that a node has as disks.

use super::{Object, Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::{NodeId, VolumeTargetId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeTarget {
    pub id: VolumeTargetId,
    pub node_id: NodeId,
    /// `iscsi`, `fibre_channel`, …
    pub volume_type: String,
    pub volume_id: String,
    /// 0 is the disk that is booted from.
    pub boot_index: i64,
    pub properties: Object,
    #[serde(flatten)]
    pub standard: Standard,
}

impl Record for VolumeTarget {
    const TABLE: &'static str = "metal_volume_targets";
    const COLUMNS: &'static [&'static str] = &["node_id", "boot_index", "created_at", "updated_at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.node_id).into(),
            self.boot_index.into(),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(VolumeTarget, "Volume target", None);
