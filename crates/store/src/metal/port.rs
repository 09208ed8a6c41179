//! Ports: the network cards of a node, and what is attached to each.

use super::{Object, Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::{NodeId, NodePortId, PortGroupId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodePort {
    pub id: NodePortId,
    pub node_id: NodeId,
    /// The MAC address, in lower case with colons.
    pub address: String,
    pub port_group_id: Option<PortGroupId>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub vendor: Option<String>,
    pub category: Option<String>,
    /// The switch and the port of it at the other end.
    pub local_link_connection: Object,
    pub pxe_enabled: bool,
    pub physical_network: Option<String>,
    pub is_smartnic: bool,
    /// What the service itself keeps: the attached VIF under `tenant_vif_port_id`.
    pub internal_info: Object,
    /// The node's, for lists.
    pub shard: Option<String>,
    #[serde(flatten)]
    pub standard: Standard,
}

impl Record for NodePort {
    const TABLE: &'static str = "metal_ports";
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "port_group_id",
        "address",
        "name",
        "shard",
        "created_at",
        "updated_at",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.node_id).into(),
            super::text(self.port_group_id),
            self.address.as_str().into(),
            super::text(self.name.as_ref()),
            super::text(self.shard.as_ref()),
            self.standard.created_at.into(),
            self.standard.updated(),
        ]
    }
}

resource!(NodePort, "Port", Some("name"));

/// The ports of a node, in the order they were made.
pub async fn of_node(tx: &mut Tx, node: NodeId) -> Result<Vec<NodePort>> {
    Query::new()
        .equals("node_id", &node)
        .order_by("created_at", Direction::Ascending)
        .all(tx)
        .await
}
