//! Floating IPs: addresses of an external network that lead to a port, and move from one to another.

use super::{Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{FloatingIpId, NetworkId, PortId, QosPolicyId, RouterId, SubnetId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What it is called in the transition log.
pub const SUBJECT: &str = "floating_ip";
/// Its states there: it costs while it is held, wherever it leads (K144).
pub const HELD: &str = "Held";
pub const RELEASED: &str = "Released";

/// Who owns the port that holds a floating IP's address on the external network.
pub const OWNER: &str = "network:floatingip";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIp {
    pub id: FloatingIpId,
    #[serde(flatten)]
    pub standard: Standard,
    pub network_id: NetworkId,
    pub subnet_id: SubnetId,
    pub address: IpAddr,
    /// The port on the external network that holds the address.
    pub holder_id: PortId,
    pub target: Option<Target>,
    pub dns_name: String,
    pub dns_domain: String,
    pub qos_policy_id: Option<QosPolicyId>,
    /// It goes when its instance stops, is shelved or deleted (K69).
    pub ephemeral: bool,
}

/// Where a floating IP leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub port_id: PortId,
    pub address: IpAddr,
    pub router_id: RouterId,
}

impl Record for FloatingIp {
    const TABLE: &'static str = "floating_ips";
    const COLUMNS: &'static [&'static str] = &[
        "project_id",
        "network_id",
        "address",
        "port_id",
        "fixed_address",
        "router_id",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        let target = self.target.as_ref();
        vec![
            (&self.standard.project_id).into(),
            (&self.network_id).into(),
            self.address.to_string().into(),
            target.map(|target| target.port_id.to_string()).into(),
            target
                .map(|target| target.address.to_string())
                .unwrap_or_default()
                .into(),
            target.map(|target| target.router_id.to_string()).into(),
        ]
    }
}

resource!(FloatingIp, "Floating IP", "FloatingIPNotFound");

/// Those that lead to a port.
pub async fn of_port(tx: &mut Tx, port: PortId) -> Result<Vec<FloatingIp>> {
    Query::new().equals("port_id", &port).all(tx).await
}

/// Those that a router translates.
pub async fn of_router(tx: &mut Tx, router: RouterId) -> Result<Vec<FloatingIp>> {
    Query::new().equals("router_id", &router).all(tx).await
}
