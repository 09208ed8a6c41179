//! The provisioning network of a node, and the addresses of its cards there.

use crate::context::Context;
use crate::metal::network_data;
use crate::settings::ProvisioningNetwork;
use corten_model::mac::Mac;
use corten_model::refusal::Refusal;
use corten_netboot::Lease;
use corten_store::metal::discovery::{self, Discovery};
use corten_store::metal::lease::{self, MetalLease};
use corten_store::metal::node::Node;
use corten_store::metal::port::{self, NodePort};
use corten_store::{Failure, Query, Tx, record};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

/// How long a server may use its address before it asks again.
const LEASE: Duration = Duration::from_secs(3600);

/// The network of a node's conductor group.
pub fn of_node<'a>(cx: &'a Context, node: &Node) -> Result<&'a ProvisioningNetwork, Refusal> {
    let networks = &cx.settings.provisioning.networks;
    let mut fitting = networks
        .iter()
        .filter(|network| network.conductor_group == node.conductor_group);
    // The settings have one network for each group at most.
    fitting.next().ok_or_else(|| {
        let known: Vec<_> = networks
            .iter()
            .map(|network| format!("'{}'", network.conductor_group))
            .collect();
        Refusal::conflict(format!(
            "Node {} is of the conductor group '{}', which has no provisioning network to boot it on (groups with one: {}). Add a \
             [[provisioning.networks]] to the settings.",
            node.id,
            node.conductor_group,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ))
    })
}

/// Where a node's ramdisk calls.
pub fn home(cx: &Context, network: &ProvisioningNetwork) -> String {
    let port = cx.settings.provisioning.agent_port;
    format!("https://{}:{port}", network.address.addr())
}

/// Gives each card that a node may boot on its address, if it has none yet. A card with `pxe_enabled` unset gets none, and a node
/// whose `network_data` says its address neither.
pub async fn lease_all(
    tx: &mut Tx,
    network: &ProvisioningNetwork,
    node: &Node,
) -> Result<Vec<MetalLease>, Failure> {
    let mut cards = port::of_node(tx, node.id).await?;
    // A card that was discovered is nobody's no more.
    let macs = cards.iter().map(|card| card.address.as_str());
    Query::<Discovery>::new()
        .any_of("id", macs)
        .delete(tx)
        .await?;
    cards.retain(|card| card.pxe_enabled && node.network_data.is_empty());
    let mut leases = lease::of_node(tx, node.id).await?;
    for stale in leases.extract_if(.., |lease| {
        lease.network != network.name || !cards.iter().any(|card| card.address == lease.mac)
    }) {
        record::delete::<MetalLease>(tx, stale.mac).await?;
    }
    let mut taken: Option<BTreeSet<Ipv4Addr>> = None;
    for card in cards {
        if leases.iter().any(|lease| lease.mac == card.address) {
            continue;
        }
        let taken = match &mut taken {
            Some(taken) => taken,
            None => taken.insert(taken_on(tx, network).await?),
        };
        let address = free(network, taken).ok_or_else(|| {
            Refusal::conflict(format!(
                "The provisioning network {} has no free address from {} to {}: widen the range, or remove nodes.",
                network.name, network.first, network.last
            ))
        })?;
        taken.insert(address);
        let lease = MetalLease {
            mac: card.address,
            node_id: node.id,
            network: network.name.clone(),
            address,
        };
        record::insert(tx, &lease).await?;
        leases.push(lease);
    }
    Ok(leases)
}

/// Whether DHCP answers the card of a lease: not one that its node does not boot on.
pub async fn answers(tx: &mut Tx, lease: &MetalLease) -> Result<bool, Failure> {
    let card: Option<NodePort> = Query::new()
        .equals("address", lease.mac.as_str())
        .first(tx)
        .await?;
    Ok(card.is_none_or(|card| card.pxe_enabled))
}

/// The card that a node boots on, and its address there: as its `network_data` says, or by the lease of the first card that is
/// meant for it.
pub async fn boot_card(
    tx: &mut Tx,
    network: &ProvisioningNetwork,
    node: &Node,
) -> Result<Option<(Mac, Lease)>, Failure> {
    let cards = port::of_node(tx, node.id).await?;
    if let Some(fixed) = network_data::of_node(node)? {
        let mac = fixed.mac.to_string();
        let known = cards.iter().any(|card| card.address == mac);
        return Ok(known.then(|| (fixed.mac, fixed.lease())));
    }
    let leases = lease::of_node(tx, node.id).await?;
    let mut meant = cards.iter().filter(|card| card.pxe_enabled);
    Ok(meant.find_map(|card| {
        let lease = leases.iter().find(|lease| lease.mac == card.address)?;
        Some((
            card.address.parse().ok()?,
            told(network, lease.address, None),
        ))
    }))
}

/// Gives a node's cards their addresses, and refuses to boot one that would have none.
pub async fn prepare(
    tx: &mut Tx,
    network: &ProvisioningNetwork,
    node: &Node,
) -> Result<(), Failure> {
    let fixed = network_data::of_node(node)?;
    if let Some(fixed) = &fixed {
        network_data::check_site(node, fixed, network)?;
    }
    lease_all(tx, network, node).await?;
    if boot_card(tx, network, node).await?.is_some() {
        return Ok(());
    }
    let cards = port::of_node(tx, node.id).await?;
    let addresses: Vec<_> = cards.iter().map(|card| card.address.as_str()).collect();
    let addresses = addresses.join(", ");
    Err(Refusal::conflict(match fixed {
        _ if cards.is_empty() => format!(
            "Node {} has no port, so no network card to boot on is known: add the MAC address of its boot card with \
             `openstack baremetal port create`, or inspect it.",
            node.id
        ),
        Some(fixed) => format!(
            "The network_data of node {} is about the card {}, and its ports are {addresses}: name one of these in \
             ethernet_mac_address, or add a port with that address.",
            node.id, fixed.mac
        ),
        None => format!(
            "No port of node {} has pxe_enabled set ({addresses}), so it has no network card to boot on: set it on the port of its \
             boot card with `openstack baremetal port set --pxe-enabled`.",
            node.id
        ),
    })
    .into())
}

/// The addresses of a network that somebody has, for one transaction at a time.
pub(in crate::metal) async fn taken_on(
    tx: &mut Tx,
    network: &ProvisioningNetwork,
) -> Result<BTreeSet<Ipv4Addr>, Failure> {
    lease::serialize(tx, &network.name).await?;
    let leases = lease::of_network(tx, &network.name).await?;
    let discoveries = discovery::of_network(tx, &network.name).await?;
    let leased = leases.into_iter().map(|lease| lease.address);
    let lent = discoveries.into_iter().map(|boot| boot.address);
    Ok(leased.chain(lent).chain([network.address.addr()]).collect())
}

pub(in crate::metal) fn free(
    network: &ProvisioningNetwork,
    taken: &BTreeSet<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let range = network.first.to_bits()..=network.last.to_bits();
    range
        .map(Ipv4Addr::from_bits)
        .find(|address| !taken.contains(address))
}

/// What a card is told of its address, by DHCP or in its image.
pub fn told(network: &ProvisioningNetwork, address: Ipv4Addr, hostname: Option<String>) -> Lease {
    let net = Ipv4Net::new(address, network.address.prefix_len());
    Lease {
        // The length is that of an address that was read.
        address: net.unwrap_or(network.address),
        gateway: network.gateway,
        name_servers: network.name_servers.clone(),
        mtu: network.mtu,
        hostname,
        duration: LEASE,
    }
}
