//! What a host must have of networks: plain data, as the control plane sends it.

use crate::plan::Mac;
use corten_model::ids::{NetworkId, PortId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Beside its guests' taps: services for the networks of its guests, and the machine's own place on external networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSide {
    /// The ports of guests that are bound to the host.
    pub ports: BTreeSet<PortId>,
    /// The networks that these are on, where they have a service.
    pub services: BTreeMap<NetworkId, NetworkService>,
    /// The physical networks that it must reach, each with the gateways of its external networks, which the machine itself is
    /// where no network card leads there.
    pub external: BTreeMap<String, Vec<IpNet>>,
}

/// The port that serves a network, the same on every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkService {
    pub port: PortId,
    pub mac: Mac,
    /// With the prefix lengths of their subnets.
    pub addresses: Vec<IpNet>,
    /// What the names inside end with, in lower case; empty where there are none.
    pub domain: String,
}
