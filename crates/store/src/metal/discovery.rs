//! Boots of servers that nobody enrolled: the address that one has meanwhile, and its one-time token.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::NodeId;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A network card that an unknown server boots on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// The MAC address, in lower case with colons.
    pub mac: String,
    /// The node that the server is offered as, or will be.
    pub node_id: NodeId,
    /// The provisioning network's name.
    pub network: String,
    pub address: Ipv4Addr,
    /// `None` once an inventory came with it.
    pub token: Option<DiscoveryToken>,
    /// When the boot began.
    pub since: Timestamp,
}

/// The one-time token of such a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryToken {
    /// In hexadecimal digits.
    pub sha256: String,
    /// The token itself, which the kernel's command line carries.
    pub sealed: String,
}

impl Record for Discovery {
    const TABLE: &'static str = "metal_discoveries";
    const COLUMNS: &'static [&'static str] = &["node_id", "network", "address", "since"];

    fn id(&self) -> String {
        self.mac.clone()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.node_id).into(),
            self.network.as_str().into(),
            self.address.to_string().into(),
            self.since.into(),
        ]
    }
}

/// All on one network, the oldest first.
pub async fn of_network(tx: &mut Tx, network: &str) -> Result<Vec<Discovery>> {
    Query::new()
        .equals("network", network)
        .order_by("since", Direction::Ascending)
        .all(tx)
        .await
}
