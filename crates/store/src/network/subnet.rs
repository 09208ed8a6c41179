//! Subnets: a range of addresses of a network, and what guests are told about it.

use super::{Standard, resource};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{NetworkId, SubnetId, SubnetPoolId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub id: SubnetId,
    #[serde(flatten)]
    pub standard: Standard,
    pub network_id: NetworkId,
    pub cidr: IpNet,
    pub gateway: Option<IpAddr>,
    pub dhcp: bool,
    /// Where addresses are taken from; first and last are included.
    pub pools: Vec<Range>,
    pub dns_servers: Vec<IpAddr>,
    pub host_routes: Vec<Route>,
    pub ipv6_ra_mode: Option<Ipv6Mode>,
    pub ipv6_address_mode: Option<Ipv6Mode>,
    pub subnet_pool_id: Option<SubnetPoolId>,
    pub service_types: Vec<String>,
    pub dns_publish_fixed_ip: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub start: IpAddr,
    pub end: IpAddr,
}

impl Range {
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.start.is_ipv4() && self.start <= address && address <= self.end
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub destination: IpNet,
    pub nexthop: IpAddr,
}

/// How guests get an IPv6 address, in Neutron's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipv6Mode {
    Slaac,
    #[serde(rename = "dhcpv6-stateful")]
    Dhcpv6Stateful,
    #[serde(rename = "dhcpv6-stateless")]
    Dhcpv6Stateless,
}

impl Ipv6Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slaac => "slaac",
            Self::Dhcpv6Stateful => "dhcpv6-stateful",
            Self::Dhcpv6Stateless => "dhcpv6-stateless",
        }
    }
}

impl Subnet {
    /// Guests make their own addresses from what the router announces, so the address follows from the MAC address.
    pub fn is_autoconfigured(&self) -> bool {
        self.cidr.addr().is_ipv6()
            && matches!(
                self.ipv6_address_mode,
                Some(Ipv6Mode::Slaac | Ipv6Mode::Dhcpv6Stateless)
            )
    }
}

impl Record for Subnet {
    const TABLE: &'static str = "subnets";
    const COLUMNS: &'static [&'static str] =
        &["project_id", "name", "network_id", "subnet_pool_id"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.standard.project_id).into(),
            self.standard.name.as_str().into(),
            (&self.network_id).into(),
            self.subnet_pool_id.map(|id| id.to_string()).into(),
        ]
    }
}

resource!(Subnet, "Subnet", "SubnetNotFound");

/// The subnets of a network, oldest first.
pub async fn of_network(tx: &mut Tx, network: NetworkId) -> Result<Vec<Subnet>> {
    let mut found: Vec<Subnet> = Query::new().equals("network_id", &network).all(tx).await?;
    found.sort_by_key(|subnet| (subnet.standard.created_at, subnet.id));
    Ok(found)
}
