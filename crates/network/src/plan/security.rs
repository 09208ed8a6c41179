//! Security groups and address groups: what may pass a guarded port.

use corten_model::ids::{AddressGroupId, SecurityGroupId, SecurityGroupRuleId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A security group. Which ports are in it is said by their plans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroupPlan {
    pub id: SecurityGroupId,
    /// Whether answers to what a rule allowed are allowed too.
    pub stateful: bool,
    pub rules: Vec<Rule>,
}

/// Allows something; what no rule of a port's groups allows is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: SecurityGroupRuleId,
    pub direction: Direction,
    pub family: Family,
    /// None for all.
    pub protocol: Option<Protocol>,
    pub remote: Remote,
}

/// Seen from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Ingress,
    Egress,
}

/// Neutron's "ethertype".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp(Option<Ports>),
    Udp(Option<Ports>),
    Sctp(Option<Ports>),
    /// ICMP of the rule's own family: type and code, None for all.
    Icmp(Option<(u8, Option<u8>)>),
    /// By its number in the IP header.
    Number(u8),
}

/// First and last destination port.
pub type Ports = (u16, u16);

/// The other end: the source of what comes in, the destination of what goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remote {
    Anyone,
    Prefix(IpNet),
    /// Any address of a port in this group.
    Group(SecurityGroupId),
    AddressGroup(AddressGroupId),
}

/// A named list of prefixes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AddressGroupPlan {
    pub id: AddressGroupId,
    pub addresses: Vec<IpNet>,
}
