//! Names of ports in DNS: what a port is called, and what OVN answers for it inside its network.
//!
//! A guest's port has the name that it was given, or one made from its address, in the domain of its network. Nothing
//! outside publishes these names: what would need such a service (`dns_domain` of a port, names of floating IPs,
//! `dns_publish_fixed_ip`) is refused.

use super::plan::domain_of;
use crate::context::Context;
use corten_model::ids::NetworkId;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::{Failure, Query};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// What one address of a port is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub address: IpAddr,
    pub hostname: String,
    /// With its domain, without a final dot.
    pub fqdn: String,
}

/// What the addresses of a port are called in the domain of its network. Ports of the cloud's own have no names.
pub fn assignments(domain: &str, port: &Port) -> Vec<Assignment> {
    if port.device_owner.starts_with("network:") {
        return Vec::new();
    }
    let addresses = port.addresses.iter().map(|fixed| fixed.ip_address);
    addresses
        .map(|address| {
            let hostname = match port.dns_name.as_str() {
                "" => format!("host-{address}").replace(['.', ':'], "-"),
                name => name.to_owned(),
            };
            let fqdn = match (hostname.strip_suffix('.'), domain) {
                (Some(complete), _) => complete.to_owned(),
                (None, "") => hostname.clone(),
                (None, domain) => format!("{hostname}.{domain}"),
            };
            Assignment {
                address,
                hostname,
                fqdn,
            }
        })
        .collect()
}

/// The domains of the networks of these ports.
pub async fn domains(cx: &Context, ports: &[Port]) -> Result<HashMap<NetworkId, String>, Failure> {
    let ids: BTreeSet<_> = ports
        .iter()
        .map(|port| port.network_id.to_string())
        .collect();
    let mut tx = cx.store.read().await?;
    let networks: Vec<Network> = Query::new().any_of("id", ids).all(&mut tx).await?;
    Ok(networks
        .iter()
        .map(|network| (network.id, domain_of(cx, network)))
        .collect())
}
