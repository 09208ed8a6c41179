//! A router: networks joined at layer 3, with its way out.

use super::{Ipv6Mode, Mac};
use corten_model::ids::{PortId, RouterId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterPlan {
    pub id: RouterId,
    /// For people who look at the fabric; it names nothing.
    pub name: String,
    /// A router that is not enabled forwards nothing.
    pub enabled: bool,
    pub interfaces: Vec<RouterInterface>,
    pub gateway: Option<RouterGateway>,
    pub snat: Vec<Snat>,
    pub floating: Vec<Floating>,
    pub forwards: Vec<Forward>,
    /// Routes besides those of interfaces and gateway: destination and next hop.
    pub routes: Vec<(IpNet, IpAddr)>,
}

/// Where a router is joined to a network, whose plan has a port of the same id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterInterface {
    pub port: PortId,
    pub mac: Mac,
    /// Its own addresses, each with its subnet's prefix length.
    pub addresses: Vec<IpNet>,
    /// What is announced to guests of its IPv6 subnets.
    pub ipv6: Option<Ipv6Mode>,
    /// The DNS server that is announced with it, for guests that do not ask by DHCPv6. OVN can announce one.
    pub announced_dns: Option<Ipv6Addr>,
    /// Of the network.
    pub mtu: u16,
}

/// Where a router is joined to an external network. Its traffic passes one chassis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterGateway {
    pub port: PortId,
    pub mac: Mac,
    pub addresses: Vec<IpNet>,
    /// Where default routes lead: at most one of each family.
    pub next_hops: Vec<IpAddr>,
    /// The first that is alive carries the traffic.
    pub chassis: Vec<String>,
    /// Of the external network.
    pub mtu: u16,
}

/// Source addresses of `internal` become `external` on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snat {
    pub external: IpAddr,
    pub internal: IpNet,
}

/// A floating IP: one outside address for one inside address, both ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Floating {
    pub external: IpAddr,
    pub internal: IpAddr,
    /// With the guest's port and a MAC of its own the address is answered on the guest's host ("distributed");
    /// without, on the gateway's chassis.
    pub port: Option<(PortId, Mac)>,
}

/// One port of an outside address leads to one port of an inside address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    pub external: IpAddr,
    pub external_port: u16,
    pub protocol: ForwardProtocol,
    pub internal: IpAddr,
    pub internal_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardProtocol {
    Tcp,
    Udp,
    Sctp,
}
