//! The addresses and security groups of instances, as lists of servers show them: a fixed number of queries, however
//! many instances there are.

use crate::context::Context;
use corten_model::ids::{InstanceId, NetworkId, PortId, SecurityGroupId};
use corten_model::lifecycle::InstanceClass;
use corten_store::instances::Instance;
use corten_store::metal::lease::MetalLease;
use corten_store::metal::node::Node;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::network::Network;
use corten_store::network::port::Port;
use corten_store::network::security_group::SecurityGroup;
use corten_store::{Failure, Query, Tx};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// An address of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub address: IpAddr,
    pub mac_address: String,
    /// It leads to the fixed address shown before it.
    pub is_floating: bool,
}

/// What an instance is known by in its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wiring {
    /// By the networks' names, in the order of the cards.
    pub networks: Vec<(String, Vec<Shown>)>,
    /// The names of the groups of its ports.
    pub security_groups: BTreeSet<String>,
}

impl Wiring {
    pub fn all(&self) -> impl Iterator<Item = &Shown> {
        self.networks.iter().flat_map(|(_, shown)| shown)
    }
}

/// The wiring of each of these instances that has any.
pub async fn of(
    cx: &Context,
    instances: &[Instance],
) -> Result<HashMap<InstanceId, Wiring>, Failure> {
    let metal: Vec<InstanceId> = instances
        .iter()
        .filter(|one| one.class == InstanceClass::Metal)
        .map(|one| one.id)
        .collect();
    let wired = instances.iter().any(|one| !one.intent.nics.is_empty());
    if !wired && metal.is_empty() {
        return Ok(HashMap::new());
    }
    let mut tx = cx.store.read().await?;
    let mut found = if wired {
        read(&mut tx, instances).await?
    } else {
        HashMap::new()
    };
    if !metal.is_empty() {
        found.extend(of_servers(&mut tx, &metal).await?);
    }
    Ok(found)
}

/// Whole servers are on the networks of their conductor groups, each with the lease of each of its cards.
async fn of_servers(
    tx: &mut Tx,
    instances: &[InstanceId],
) -> Result<HashMap<InstanceId, Wiring>, Failure> {
    let ids = instances.iter().map(ToString::to_string);
    let nodes: Vec<Node> = Query::new().any_of("instance_id", ids).all(tx).await?;
    let ids = nodes.iter().map(|node| node.id.to_string());
    let leases: Vec<MetalLease> = Query::new().any_of("node_id", ids).all(tx).await?;
    let mut found: HashMap<InstanceId, Wiring> = HashMap::new();
    for lease in leases {
        let node = nodes.iter().find(|node| node.id == lease.node_id);
        let Some(instance) = node.and_then(|node| node.instance_id) else {
            continue;
        };
        let shown = Shown {
            address: IpAddr::V4(lease.address),
            mac_address: lease.mac,
            is_floating: false,
        };
        let networks = &mut found.entry(instance).or_default().networks;
        match networks.iter_mut().find(|(name, _)| *name == lease.network) {
            Some((_, known)) => known.push(shown),
            None => networks.push((lease.network, vec![shown])),
        }
    }
    Ok(found)
}

/// What the ports of a page of instances refer to.
struct Rows {
    ports: HashMap<PortId, Port>,
    networks: HashMap<NetworkId, String>,
    groups: HashMap<SecurityGroupId, String>,
    /// By the port and the address that each leads to.
    floating: HashMap<(PortId, IpAddr), Vec<IpAddr>>,
}

pub(super) async fn read(
    tx: &mut Tx,
    instances: &[Instance],
) -> Result<HashMap<InstanceId, Wiring>, Failure> {
    let rows = Rows::read(tx, instances).await?;
    let wirings = instances
        .iter()
        .filter(|instance| !instance.intent.nics.is_empty())
        .map(|instance| (instance.id, rows.wiring(instance)));
    Ok(wirings.collect())
}

impl Rows {
    async fn read(tx: &mut Tx, instances: &[Instance]) -> Result<Self, Failure> {
        let nics = instances.iter().flat_map(|one| &one.intent.nics);
        let ids: BTreeSet<String> = nics.map(|nic| nic.port_id.to_string()).collect();
        let ports: Vec<Port> = Query::new()
            .any_of("id", ids.iter().cloned())
            .all(tx)
            .await?;
        let networks: BTreeSet<String> = ports
            .iter()
            .map(|port| port.network_id.to_string())
            .collect();
        let networks: Vec<Network> = Query::new().any_of("id", networks).all(tx).await?;
        let groups: BTreeSet<String> = ports
            .iter()
            .flat_map(|port| &port.security_groups)
            .map(ToString::to_string)
            .collect();
        let groups: Vec<SecurityGroup> = Query::new().any_of("id", groups).all(tx).await?;
        let leading: Vec<FloatingIp> = Query::new().any_of("port_id", ids).all(tx).await?;
        let mut floating: HashMap<_, Vec<_>> = HashMap::new();
        for row in leading {
            if let Some(target) = row.target {
                let leads_to = (target.port_id, target.address);
                floating.entry(leads_to).or_default().push(row.address);
            }
        }
        let name = |standard: corten_store::network::Standard| standard.name;
        Ok(Self {
            ports: ports.into_iter().map(|port| (port.id, port)).collect(),
            networks: networks
                .into_iter()
                .map(|network| (network.id, name(network.standard)))
                .collect(),
            groups: groups
                .into_iter()
                .map(|group| (group.id, name(group.standard)))
                .collect(),
            floating,
        })
    }

    fn wiring(&self, instance: &Instance) -> Wiring {
        let mut wiring = Wiring::default();
        let owner = instance.id.to_string();
        for nic in &instance.intent.nics {
            let Some(port) = self.ports.get(&nic.port_id) else {
                continue;
            };
            if port.device_id != owner {
                continue;
            }
            let groups = port.security_groups.iter();
            let names = groups.filter_map(|id| self.groups.get(id)).cloned();
            wiring.security_groups.extend(names);
            let name = self.networks.get(&port.network_id);
            let name = name.cloned().unwrap_or_default();
            let shown = self.addresses(port);
            match wiring.networks.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.extend(shown),
                None if shown.is_empty() => {}
                None => wiring.networks.push((name, shown)),
            }
        }
        wiring
    }

    fn addresses(&self, port: &Port) -> Vec<Shown> {
        let mut shown = Vec::new();
        let mut add = |address, is_floating| {
            shown.push(Shown {
                address,
                mac_address: port.mac_address.clone(),
                is_floating,
            });
        };
        for fixed in &port.addresses {
            add(fixed.ip_address, false);
            let leading = self.floating.get(&(port.id, fixed.ip_address));
            for floating in leading.into_iter().flatten() {
                add(*floating, true);
            }
        }
        shown
    }
}
