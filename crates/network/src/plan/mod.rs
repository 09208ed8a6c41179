//! What the fabric must hold, as plain data in the cloud's own words: networks, routers, security groups.
//!
//! A plan is whole: it says everything about its [`Unit`], and what it does not say is not there. Plans refer to each
//! other by id, in any order: a port may name a security group whose plan comes later.

mod network;
mod port;
mod router;
mod security;
mod unit;

pub use corten_model::mac::{InvalidMac, Mac};
pub use network::{Ipv6Mode, NetworkPlan, Provider, SubnetPlan};
pub use port::{AllowedPair, Bandwidth, DhcpOverride, PortKind, PortPlan};
pub use router::{
    Floating, Forward, ForwardProtocol, RouterGateway, RouterInterface, RouterPlan, Snat,
};
pub use security::{
    AddressGroupPlan, Direction, Family, Ports, Protocol, Remote, Rule, SecurityGroupPlan,
};
pub use unit::{InvalidUnit, Unit};

use serde::{Deserialize, Serialize};

/// All that the fabric must hold of one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Plan {
    Network(NetworkPlan),
    Router(RouterPlan),
    SecurityGroup(SecurityGroupPlan),
    AddressGroup(AddressGroupPlan),
}

impl Plan {
    pub fn unit(&self) -> Unit {
        match self {
            Self::Network(plan) => Unit::Network(plan.id),
            Self::Router(plan) => Unit::Router(plan.id),
            Self::SecurityGroup(plan) => Unit::SecurityGroup(plan.id),
            Self::AddressGroup(plan) => Unit::AddressGroup(plan.id),
        }
    }
}

/// One thing to make true. Both may be repeated: what is there already is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few at a time, and callers would box each plan"
)]
pub enum Change {
    Set(Plan),
    Remove(Unit),
}

impl Change {
    pub fn unit(&self) -> Unit {
        match self {
            Self::Set(plan) => plan.unit(),
            Self::Remove(unit) => *unit,
        }
    }
}
