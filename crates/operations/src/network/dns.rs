//! Names of ports in DNS: what a port is called, and what OVN answers for it inside its network.
//!
//! A guest's port has the name that it was given, or one made from its address, in the domain of its network. Nothing
//! outside publishes these names: what would need such a service (`dns_domain` of a port, names of floating IPs,
//! `dns_publish_fixed_ip`) is refused.

use super::plan::{clouds_domain, domain_of};
use crate::context::Context;
use corten_model::ids::NetworkId;
use corten_store::network::network::Network;
use corten_store::network::port::{self, Port};
use corten_store::{Failure, Query, record};
use serde::{Deserialize, Serialize};
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

/// What a network knows of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It is none of the network's, or one that may be published outside.
    Elsewhere,
    /// It is in the cloud's own domain, and nothing has it.
    Nothing,
    Addresses(Vec<IpAddr>),
}

/// Finds a name, in lower case and without a final dot, in the domain of a network. A domain of the network's own may
/// have names outside, too; the cloud's has none.
pub async fn find(cx: &Context, network: NetworkId, name: &str) -> Result<Found, Failure> {
    let mut tx = cx.store.read().await?;
    let Some(network) = record::get::<Network>(&mut tx, network).await? else {
        return Ok(Found::Elsewhere);
    };
    let domain = domain_of(cx, &network).to_ascii_lowercase();
    if domain.is_empty() || !name.ends_with(&domain) {
        return Ok(Found::Elsewhere);
    }
    let ports = port::of_network(&mut tx, network.id).await?;
    let all = ports.iter().flat_map(|port| assignments(&domain, port));
    let named = all.filter(|one| one.fqdn.eq_ignore_ascii_case(name));
    let addresses: Vec<_> = named.map(|one| one.address).collect();
    let below = name.strip_suffix(domain.as_str()).unwrap_or_default();
    let is_clouds = domain.eq_ignore_ascii_case(clouds_domain(cx));
    Ok(if !addresses.is_empty() {
        Found::Addresses(addresses)
    } else if is_clouds && (below.is_empty() || below.ends_with('.')) {
        Found::Nothing
    } else {
        Found::Elsewhere
    })
}
