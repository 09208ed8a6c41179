//! What a host must have of networks, read whole from the rows each time, so there is nothing to undo.

use super::gateway_host;
use super::plan::domain_of;
use super::port::{mac_of, service_port, subnets_of};
use crate::context::Context;
use corten_model::ids::NetworkId;
use corten_network::chassis::{HostSide, NetworkService};
use corten_store::network::network::{Network, Segment};
use corten_store::network::port::Port;
use corten_store::network::subnet::{self, Subnet};
use corten_store::{Failure, Query, Tx, record};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// What the host of this name must have.
pub async fn of(tx: &mut Tx, cx: &Context, host: &str) -> Result<HostSide, Failure> {
    let ports: Vec<Port> = Query::new().equals("host", host).all(tx).await?;
    let networks: BTreeSet<NetworkId> = ports.iter().map(|port| port.network_id).collect();
    let mut services = BTreeMap::new();
    for network in networks.iter().copied() {
        if let Some(port) = service_port(tx, network).await? {
            let subnets = subnets_of(tx, &port).await?;
            let service = NetworkService {
                port: port.id,
                mac: mac_of(&port)?,
                addresses: held(&port, &subnets),
                domain: domain(tx, cx, network).await?,
            };
            services.insert(network, service);
        }
    }
    let goes_out = gateway_host::names(tx, cx)
        .await?
        .iter()
        .any(|name| name == host);
    let mut external = if goes_out {
        external(tx).await?
    } else {
        BTreeMap::new()
    };
    for network in &networks {
        let network: Option<Network> = record::get(tx, *network).await?;
        let reached = network
            .as_ref()
            .and_then(|network| network.segment.physical_network());
        if let Some(physical_network) = reached {
            external.entry(physical_network.to_owned()).or_default();
        }
    }
    Ok(HostSide {
        ports: ports.iter().map(|port| port.id).collect(),
        services,
        external,
    })
}

async fn domain(tx: &mut Tx, cx: &Context, network: NetworkId) -> Result<String, Failure> {
    let network: Option<Network> = record::get(tx, network).await?;
    let domain = network.map(|network| domain_of(cx, &network).to_ascii_lowercase());
    Ok(domain.unwrap_or_default())
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
        let Some(physical_network) = network.segment.physical_network() else {
            continue;
        };
        let gateways = found.entry(physical_network.to_owned()).or_default();
        // A VLAN's gateway is the operator's router.
        if matches!(network.segment, Segment::Vlan { .. }) {
            continue;
        }
        for subnet in subnet::of_network(tx, network.id).await? {
            let gateway = subnet.gateway;
            gateways.extend(gateway.and_then(|ip| IpNet::new(ip, subnet.cidr.prefix_len()).ok()));
        }
    }
    Ok(found)
}

/// Whether a guest of this host is on the network, so that the host may ask for its metadata.
pub async fn has_guest_on(tx: &mut Tx, host: &str, network: NetworkId) -> Result<bool, Failure> {
    let ports = Query::<Port>::new()
        .equals("host", host)
        .equals("network_id", &network);
    Ok(ports.count(tx).await? > 0)
}
