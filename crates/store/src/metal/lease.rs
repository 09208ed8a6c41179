//! The addresses of network cards on their provisioning network.

use crate::db::Tx;
use crate::error::{Result, classify};
use crate::record::{Query, Record, Value};
use crate::sql;
use corten_model::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Which address a card has: always the same one, as long as its node is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetalLease {
    /// The MAC address, in lower case with colons.
    pub mac: String,
    pub node_id: NodeId,
    /// The provisioning network's name.
    pub network: String,
    pub address: Ipv4Addr,
}

impl Record for MetalLease {
    const TABLE: &'static str = "metal_leases";
    const COLUMNS: &'static [&'static str] = &["node_id", "network", "address"];

    fn id(&self) -> String {
        self.mac.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.node_id).into(),
            self.network.as_str().into(),
            self.address.to_string().into(),
        ]
    }
}

pub async fn of_node(tx: &mut Tx, node: NodeId) -> Result<Vec<MetalLease>> {
    Query::new().equals("node_id", &node).all(tx).await
}

/// All of one network.
pub async fn of_network(tx: &mut Tx, network: &str) -> Result<Vec<MetalLease>> {
    Query::new().equals("network", network).all(tx).await
}

/// Lets one transaction at a time decide about the addresses of a network: others wait here until it ends.
pub async fn serialize(tx: &mut Tx, network: &str) -> Result<()> {
    sql::query(
        "INSERT INTO metal_segments (id, generation) VALUES ($1, 1) \
         ON CONFLICT (id) DO UPDATE SET generation = metal_segments.generation + 1",
    )
    .bind(network.to_owned())
    .execute(tx.conn())
    .await
    .map_err(classify("metal_segments", "locking a provisioning network"))?;
    Ok(())
}
