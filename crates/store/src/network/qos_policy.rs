//! Quality of service: how much may pass a port.

use super::network::Network;
use super::port::Port;
use super::{Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{QosPolicyId, QosRuleId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QosPolicy {
    pub id: QosPolicyId,
    #[serde(flatten)]
    pub standard: Standard,
    pub shared: bool,
    pub is_default: bool,
    pub bandwidth_limits: Vec<BandwidthLimit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandwidthLimit {
    pub id: QosRuleId,
    pub direction: super::security_group::Direction,
    pub max_kbps: u32,
    /// 0 leaves it to the fabric.
    pub max_burst_kbps: u32,
}

impl Record for QosPolicy {
    const TABLE: &'static str = "qos_policies";
    const COLUMNS: &'static [&'static str] = &["project_id", "name", "shared"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.standard.project_id).into(),
            self.standard.name.as_str().into(),
            self.shared.into(),
        ]
    }
}

resource!(QosPolicy, "QoS policy", "QosPolicyNotFound");

/// The networks whose ports follow a policy.
pub async fn networks_of(tx: &mut Tx, policy: QosPolicyId) -> Result<Vec<Network>> {
    Query::new().equals("qos_policy_id", &policy).all(tx).await
}

/// The ports that follow a policy of their own.
pub async fn ports_of(tx: &mut Tx, policy: QosPolicyId) -> Result<Vec<Port>> {
    Query::new().equals("qos_policy_id", &policy).all(tx).await
}
