//! A port: where something is joined to a network.

use super::{Direction, Family, Mac};
use corten_model::ids::{PortId, RouterId, SecurityGroupId, SubnetId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortPlan {
    pub id: PortId,
    pub mac: Mac,
    pub addresses: Vec<(SubnetId, IpAddr)>,
    pub kind: PortKind,
    /// A port that is not enabled carries nothing.
    pub enabled: bool,
    /// Port security: only frames with the port's own addresses (and `allowed_pairs`) pass, and only what its
    /// security groups allow.
    pub guarded: bool,
    /// Addresses that a guarded port may use besides its own.
    pub allowed_pairs: Vec<AllowedPair>,
    /// Its members are what a rule with [`Remote::Group`](super::Remote::Group) means. Membership is said here and
    /// not in the group, so that a port is put in place as a whole.
    pub security_groups: Vec<SecurityGroupId>,
    /// The chassis it must be on; anywhere else it is not wired.
    pub host: Option<String>,
    pub dhcp_options: Vec<DhcpOverride>,
    /// Names that resolve to its addresses inside the network, complete with domain and without a final dot. The
    /// first name of an address answers the reverse question.
    pub dns_names: Vec<(String, IpAddr)>,
    pub bandwidth: Vec<Bandwidth>,
    /// Whether frames to addresses that no port has are sent to it.
    pub unknown_addresses: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortKind {
    /// A NIC of an instance.
    Guest,
    /// An interface of a router or, on an external network, its gateway. It works once both plans are applied.
    Router { router: RouterId, gateway: bool },
    /// Metadata and DNS: the same MAC and addresses on every host, and reached on the guest's own host only.
    Service,
    /// Sub-port of a trunk: frames that the parent's guest tags with this VLAN.
    Sub { parent: PortId, vlan: u16 },
}

/// Neutron's "allowed address pair".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedPair {
    /// The port's own when there is none.
    pub mac: Option<Mac>,
    pub addresses: IpNet,
}

/// A DHCP option of one port, in place of its subnet's. `name` is OVN's name of the option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOverride {
    pub family: Family,
    pub name: String,
    pub value: String,
}

/// A limit on what passes a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// As security groups see it: ingress is to the guest.
    pub direction: Direction,
    pub max_kbps: u32,
    /// Kilobits beyond the rate that may pass at once; 0 leaves it to the fabric.
    pub max_burst_kbps: u32,
}
