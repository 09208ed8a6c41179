//! Networks: each a broadcast domain of its own.

use super::{Standard, resource};
use crate::record::{Record, Value};
use corten_model::ids::{NetworkId, QosPolicyId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    #[serde(flatten)]
    pub standard: Standard,
    pub enabled: bool,
    /// Everyone may plug into it.
    pub shared: bool,
    /// Routers may have it as their gateway, and floating IPs come from it.
    pub external: bool,
    /// Routers without a named gateway network take this one.
    pub is_default: bool,
    /// What its ports start with.
    pub port_security: bool,
    pub mtu: u16,
    pub dns_domain: String,
    pub segment: Segment,
    pub qos_policy_id: Option<QosPolicyId>,
    pub zone_hints: Vec<String>,
    pub vlan_transparent: bool,
}

/// How its frames travel between hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Segment {
    /// In tunnels of the fabric. The number is only shown; the fabric has its own.
    Geneve {
        id: i64,
    },
    Flat {
        physical_network: String,
    },
    Vlan {
        physical_network: String,
        id: u16,
    },
}

impl Segment {
    /// The outside that it is on; none in tunnels.
    pub fn physical_network(&self) -> Option<&str> {
        match self {
            Self::Geneve { .. } => None,
            Self::Flat { physical_network }
            | Self::Vlan {
                physical_network, ..
            } => Some(physical_network),
        }
    }

    /// What carries one network only; tunnels are not counted.
    fn key(&self) -> Option<String> {
        match self {
            Self::Geneve { .. } => None,
            Self::Flat { physical_network } => Some(format!("{physical_network}/")),
            Self::Vlan {
                physical_network,
                id,
            } => Some(format!("{physical_network}/{id}")),
        }
    }
}

impl Record for Network {
    const TABLE: &'static str = "networks";
    const COLUMNS: &'static [&'static str] = &[
        "project_id",
        "name",
        "shared",
        "external",
        "segment",
        "qos_policy_id",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.standard.project_id).into(),
            self.standard.name.as_str().into(),
            self.shared.into(),
            self.external.into(),
            self.segment.key().into(),
            self.qos_policy_id.map(|id| id.to_string()).into(),
        ]
    }
}

resource!(Network, "Network", "NetworkNotFound");
