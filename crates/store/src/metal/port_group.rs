//! Port groups: several ports of a node that are one link.

use super::{Object, Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::{NodeId, PortGroupId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortGroup {
    pub id: PortGroupId,
    pub node_id: NodeId,
    /// The MAC address, in lower case with colons.
    pub address: Option<String>,
    pub name: Option<String>,
    /// How its ports share the work: `active-backup`, `802.3ad`, …
    pub mode: String,
    /// Of the bond, under the names that `mode` knows.
    pub properties: Object,
    /// Its ports may also be used one by one.
    pub standalone_ports: bool,
    pub physical_network: Option<String>,
    pub category: Option<String>,
    pub internal_info: Object,
    #[serde(flatten)]
    pub standard: Standard,
}

impl Record for PortGroup {
    const TABLE: &'static str = "metal_port_groups";
    const COLUMNS: &'static [&'static str] =
        &["node_id", "address", "name", "created_at", "updated_at"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.node_id).into(),
            super::text(self.address.as_ref()),
            super::text(self.name.as_ref()),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(PortGroup, "Portgroup", Some("name"));

/// The port groups of a node, in the order they were made.
pub async fn of_node(tx: &mut Tx, node: NodeId) -> Result<Vec<PortGroup>> {
    Query::new()
        .equals("node_id", &node)
        .order_by("created_at", Direction::Ascending)
        .all(tx)
        .await
}
