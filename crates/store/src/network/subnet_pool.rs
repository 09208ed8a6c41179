//! Subnet pools: prefixes that subnets are cut from.

use super::{Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::network::subnet::Subnet;
use crate::record::{Query, Record, Value};
use corten_model::ids::{AddressScopeId, SubnetPoolId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPool {
    pub id: SubnetPoolId,
    #[serde(flatten)]
    pub standard: Standard,
    pub shared: bool,
    pub is_default: bool,
    pub prefixes: Vec<IpNet>,
    pub min_prefix_len: u8,
    pub max_prefix_len: u8,
    pub default_prefix_len: u8,
    /// Addresses (IPv4) or /64s (IPv6) that one project may take from it.
    pub default_quota: Option<i64>,
    pub address_scope_id: Option<AddressScopeId>,
}

impl SubnetPool {
    pub fn ip_version(&self) -> u8 {
        match self.prefixes.first() {
            Some(IpNet::V6(_)) => 6,
            _ => 4,
        }
    }
}

impl Record for SubnetPool {
    const TABLE: &'static str = "subnet_pools";
    const COLUMNS: &'static [&'static str] = &["project_id", "name", "address_scope_id"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.standard.project_id).into(),
            self.standard.name.as_str().into(),
            self.address_scope_id.map(|id| id.to_string()).into(),
        ]
    }
}

resource!(SubnetPool, "Subnet pool", "SubnetPoolNotFound");

/// The subnets that were cut from a pool.
pub async fn subnets_of(tx: &mut Tx, pool: SubnetPoolId) -> Result<Vec<Subnet>> {
    Query::new().equals("subnet_pool_id", &pool).all(tx).await
}
