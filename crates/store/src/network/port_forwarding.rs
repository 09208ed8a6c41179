//! Port forwardings: one port of a floating IP that leads to one port of a guest.

use super::{Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{FloatingIpId, PortForwardingId, PortId, RouterId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForwarding {
    pub id: PortForwardingId,
    #[serde(flatten)]
    pub standard: Standard,
    pub floating_ip_id: FloatingIpId,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    pub external_port: u16,
    pub internal_port: u16,
    pub port_id: PortId,
    pub internal_address: IpAddr,
    pub router_id: RouterId,
}

impl Record for PortForwarding {
    const TABLE: &'static str = "port_forwardings";
    const COLUMNS: &'static [&'static str] = &[
        "floating_ip_id",
        "port_id",
        "router_id",
        "outside",
        "inside",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.floating_ip_id).into(),
            (&self.port_id).into(),
            (&self.router_id).into(),
            format!("{}/{}", self.protocol, self.external_port).into(),
            format!(
                "{}/{}/{}",
                self.protocol, self.internal_address, self.internal_port
            )
            .into(),
        ]
    }
}

resource!(PortForwarding, "Port forwarding", "PortForwardingNotFound");

/// Those of a floating IP, oldest first.
pub async fn of_floating_ip(tx: &mut Tx, id: FloatingIpId) -> Result<Vec<PortForwarding>> {
    of_floating_ips(tx, [id.to_string()]).await
}

/// Those of several floating IPs, oldest first.
pub async fn of_floating_ips(
    tx: &mut Tx,
    ids: impl IntoIterator<Item = String>,
) -> Result<Vec<PortForwarding>> {
    let mut found: Vec<PortForwarding> = Query::new().any_of("floating_ip_id", ids).all(tx).await?;
    found.sort_by_key(|forwarding| (forwarding.standard.created_at, forwarding.id));
    Ok(found)
}

/// Those that a router translates.
pub async fn of_router(tx: &mut Tx, id: RouterId) -> Result<Vec<PortForwarding>> {
    Query::new().equals("router_id", &id).all(tx).await
}

/// Those that lead to a port.
pub async fn of_port(tx: &mut Tx, id: PortId) -> Result<Vec<PortForwarding>> {
    Query::new().equals("port_id", &id).all(tx).await
}
