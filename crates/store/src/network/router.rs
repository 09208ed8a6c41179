//! Routers: they join subnets, and lead to an external network. Their interfaces are ports.

use super::subnet::Route;
use super::{Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::{NetworkId, PortId, QosPolicyId, RouterId};
use serde::{Deserialize, Serialize};

/// Who owns a router's interface on a subnet.
pub const INTERFACE: &str = "network:router_interface";
/// Who owns a router's port on the external network.
pub const GATEWAY: &str = "network:router_gateway";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    pub id: RouterId,
    #[serde(flatten)]
    pub standard: Standard,
    pub enabled: bool,
    pub gateway: Option<Gateway>,
    pub routes: Vec<Route>,
    pub flavor_id: Option<String>,
    pub zone_hints: Vec<String>,
    pub default_route_bfd: bool,
    pub default_route_ecmp: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    pub network_id: NetworkId,
    /// Its port there, which holds the addresses.
    pub port_id: PortId,
    /// Hosts without a floating IP go out under the router's own address.
    pub snat: bool,
    pub qos_policy_id: Option<QosPolicyId>,
}

impl Record for Router {
    const TABLE: &'static str = "routers";
    const COLUMNS: &'static [&'static str] = &["project_id", "name"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.standard.project_id).into(),
            self.standard.name.as_str().into(),
        ]
    }
}

resource!(Router, "Router", "RouterNotFound");
