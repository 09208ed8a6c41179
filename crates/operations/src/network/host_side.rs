//! What a host must have of networks beside its guests' taps: services for the networks of its guests, and the machine's
//! own place on external networks. Read whole from the rows each time, so there is nothing to undo.

use super::port::{mac_of, service_port, subnets_of};
use corten_model::ids::{NetworkId, PortId};
use corten_network::plan::Mac;
use corten_store::network::network::{Network, Segment};
use corten_store::network::port::Port;
use corten_store::network::subnet::{self, Subnet};
use corten_store::{Failure, Query, Tx};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSide {
    /// The ports of guests that are bound to the host.
    pub ports: BTreeSet<PortId>,
    /// The networks that these are on, where they have a service.
    pub services: BTreeMap<NetworkId, Service>,
    /// By physical network: the gateways of its external networks, which the machine itself is.
    pub external: BTreeMap<String, Vec<IpNet>>,
}

/// The port that serves a network, the same on every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub port: PortId,
    pub mac: Mac,
    /// With the prefix lengths of their subnets.
    pub addresses: Vec<IpNet>,
}

/// What the host of this name must have.
pub async fn of(tx: &mut Tx, host: &str) -> Result<HostSide, Failure> {
    let ports: Vec<Port> = Query::new().equals("host", host).all(tx).await?;
    let networks: BTreeSet<NetworkId> = ports.iter().map(|port| port.network_id).collect();
    let mut services = BTreeMap::new();
    for network in networks {
        if let Some(port) = service_port(tx, network).await? {
            let subnets = subnets_of(tx, &port).await?;
            let service = Service {
                port: port.id,
                mac: mac_of(&port)?,
                addresses: held(&port, &subnets),
            };
            services.insert(network, service);
        }
    }
    Ok(HostSide {
        ports: ports.iter().map(|port| port.id).collect(),
        services,
        external: external(tx).await?,
    })
}

fn held(port: &Port, subnets: &[Subnet]) -> Vec<IpNet> {
    let with_prefix = |subnet: &Subnet| {
        let fixed = port
            .addresses
            .iter()
            .find(|fixed| fixed.subnet_id == subnet.id)?;
        IpNet::new(fixed.ip_address, subnet.cidr.prefix_len()).ok()
    };
    subnets.iter().filter_map(with_prefix).collect()
}

async fn external(tx: &mut Tx) -> Result<BTreeMap<String, Vec<IpNet>>, Failure> {
    let networks: Vec<Network> = Query::new().equals("external", true).all(tx).await?;
    let mut found: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    for network in networks {
        // A VLAN's gateway is the operator's router.
        let Segment::Flat { physical_network } = network.segment else {
            continue;
        };
        let gateways = found.entry(physical_network).or_default();
        for subnet in subnet::of_network(tx, network.id).await? {
            let gateway = subnet.gateway;
            gateways.extend(gateway.and_then(|ip| IpNet::new(ip, subnet.cidr.prefix_len()).ok()));
        }
    }
    Ok(found)
}
