//! A network with its subnets and ports.

use super::PortPlan;
use corten_model::ids::{NetworkId, SubnetId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One layer 2 network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkPlan {
    pub id: NetworkId,
    /// For people who look at the fabric; it names nothing.
    pub name: String,
    /// The largest IP packet, in bytes, that its ports may carry.
    pub mtu: u16,
    /// A network that is not enabled carries nothing.
    pub enabled: bool,
    /// The physical network that it is joined to; a network of tenants' own has none.
    pub provider: Option<Provider>,
    pub subnets: Vec<SubnetPlan>,
    pub ports: Vec<PortPlan>,
}

/// Where a network leaves the fabric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// The operator's name of it, which hosts map to a bridge.
    pub physical_network: String,
    /// The VLAN tag of its frames there; none for untagged frames ("flat").
    pub vlan: Option<u16>,
}

/// A range of addresses of a network, and what guests are told about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubnetPlan {
    pub id: SubnetId,
    pub cidr: IpNet,
    pub gateway: Option<IpAddr>,
    /// Whether guests are told their addresses by DHCP.
    pub dhcp: bool,
    pub dns_servers: Vec<IpAddr>,
    /// Routes that guests are told: destination and next hop.
    pub host_routes: Vec<(IpNet, IpAddr)>,
    /// How guests of an IPv6 subnet get their addresses; without it nothing is announced or leased.
    pub ipv6: Option<Ipv6Mode>,
    /// The address that the network's [`Service`](super::PortKind::Service) port has in this subnet. Guests reach the
    /// metadata service through it and, unless `dns_servers` says otherwise, resolve names there.
    pub service_address: Option<IpAddr>,
    /// The domain that guests complete names with.
    pub domain: Option<String>,
}

/// Neutron's `ipv6_address_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ipv6Mode {
    /// Addresses from router advertisements.
    Slaac,
    /// Addresses from router advertisements, everything else by DHCPv6.
    Stateless,
    /// Everything by DHCPv6.
    Stateful,
}
