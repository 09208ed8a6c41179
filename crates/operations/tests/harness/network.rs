//! The harness's network: two cards for each instance, and what may not leak of them.

use super::{Cloud, member};
use corten_iam::actor::Actor;
use corten_model::ids::{InstanceId, NetworkId, PortId, SubnetId};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_network::plan::{Plan, Unit};
use corten_operations::Context;
use corten_operations::instance::networks::{Asked, Networks};
use corten_operations::network::network::NewNetwork;
use corten_operations::network::router::NewRouter;
use corten_operations::network::router_gateway::WantedGateway;
use corten_operations::network::subnet::NewSubnet;
use corten_operations::network::{
    network, note_everything, plan, router, router_interface, subnet,
};
use corten_store::instances::Instance;
use corten_store::network::floating_ip::{FloatingIp, Target};
use corten_store::network::network::{Network, Segment};
use corten_store::network::port::{Address, Binding, FixedIp, Port};
use corten_store::network::subnet::{Range, Subnet};
use corten_store::network::{Standard, changes};
use corten_store::{Query, Tx, record};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub fn network_id() -> NetworkId {
    "22222222-2222-4222-8222-222222222222".parse().unwrap()
}

pub fn subnet_id() -> SubnetId {
    "33333333-3333-4333-8333-333333333333".parse().unwrap()
}

/// The port that is given to instances.
pub fn given_id() -> PortId {
    "44444444-4444-4444-8444-444444444444".parse().unwrap()
}

/// The port that is given to an instance that is there.
pub fn spare_id() -> PortId {
    "55555555-5555-4555-8555-555555555555".parse().unwrap()
}

const GIVEN: [&str; 2] = ["10.0.0.200", "10.0.0.201"];

/// A port of the instance's own, then one that was given, as long as no other instance has it.
pub async fn two_cards(cx: &Context) -> Networks {
    let mut tx = cx.store.read().await.unwrap();
    let port: Option<Port> = record::get(&mut tx, given_id()).await.unwrap();
    let is_free = port.is_some_and(|port| port.device_id.is_empty());
    let own = Asked {
        network_id: Some(network_id()),
        tag: Some("front".to_owned()),
        ..Asked::default()
    };
    let given = Asked {
        port_id: Some(given_id()),
        ..Asked::default()
    };
    let cards = [Some(own), is_free.then_some(given)];
    Networks::These(cards.into_iter().flatten().collect())
}

fn standard(name: &str, now: Timestamp) -> Standard {
    let project = member().project_id().unwrap().clone();
    Standard::new(project, name.to_owned(), String::new(), now)
}

/// The network, its subnet and the ports that are given.
pub async fn make(cloud: &Cloud) {
    let now = cloud.cx.now();
    let network = Network {
        id: network_id(),
        standard: standard("private", now),
        enabled: true,
        shared: false,
        external: false,
        is_default: false,
        port_security: true,
        mtu: 1442,
        dns_domain: String::new(),
        segment: Segment::Geneve { id: 1 },
        qos_policy_id: None,
        zone_hints: Vec::new(),
        vlan_transparent: false,
    };
    let range = |first: &str, last: &str| Range {
        start: first.parse().unwrap(),
        end: last.parse().unwrap(),
    };
    let subnet = Subnet {
        id: subnet_id(),
        standard: standard("private", now),
        network_id: network_id(),
        cidr: "10.0.0.0/24".parse().unwrap(),
        gateway: Some("10.0.0.1".parse().unwrap()),
        dhcp: true,
        pools: vec![range("10.0.0.10", "10.0.0.99")],
        dns_servers: vec!["10.0.0.2".parse().unwrap()],
        host_routes: Vec::new(),
        ipv6_ra_mode: None,
        ipv6_address_mode: None,
        subnet_pool_id: None,
        service_types: Vec::new(),
        dns_publish_fixed_ip: false,
    };
    let mut tx = cloud.store.write().await.unwrap();
    record::insert(&mut tx, &network).await.unwrap();
    record::insert(&mut tx, &subnet).await.unwrap();
    for (id, ip) in [given_id(), spare_id()].into_iter().zip(GIVEN) {
        add_port(&mut tx, id, ip, now).await;
    }
    tx.commit().await.unwrap();
}

async fn add_port(tx: &mut Tx, id: PortId, ip: &str, now: Timestamp) {
    let ip_address: IpAddr = ip.parse().unwrap();
    let port = Port {
        id,
        standard: standard(ip, now),
        network_id: network_id(),
        mac_address: format!("fa:16:3e:00:00:{}", &ip[ip.len() - 2..]),
        addresses: vec![FixedIp {
            subnet_id: subnet_id(),
            ip_address,
        }],
        enabled: true,
        device_id: String::new(),
        device_owner: String::new(),
        security_groups: BTreeSet::new(),
        port_security: true,
        allowed_pairs: Vec::new(),
        dhcp_options: Vec::new(),
        dns_name: String::new(),
        qos_policy_id: None,
        binding: Binding {
            vnic_type: "normal".to_owned(),
            ..Binding::default()
        },
        up: false,
    };
    let address = Address {
        subnet_id: subnet_id(),
        address: ip_address,
        port_id: id,
    };
    record::insert(tx, &port).await.unwrap();
    record::insert(tx, &address).await.unwrap();
}

/// What a broken telling left noted is told with everything else, as the watch of the fabric does from time to time.
pub async fn tell_again(cloud: &Cloud) -> bool {
    let mut tx = cloud.store.write().await.unwrap();
    if changes::pending(&mut tx).await.unwrap().is_empty() {
        return false;
    }
    note_everything(&mut tx, &cloud.cx, &Origin::system())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    true
}

/// A public IP that leads to a card of an instance, and the port that holds its address.
pub async fn add_public_ip(cloud: &Cloud, id: InstanceId, card: usize, ip: &str, ephemeral: bool) {
    let now = cloud.cx.now();
    let nic = cloud.instance(id).await.intent.nics[card].clone();
    let mut tx = cloud.store.write().await.unwrap();
    let port: Port = record::get(&mut tx, nic.port_id).await.unwrap().unwrap();
    let holder_id = PortId::random();
    add_port(&mut tx, holder_id, ip, now).await;
    let mut holder: Port = record::get(&mut tx, holder_id).await.unwrap().unwrap();
    holder.device_owner = corten_store::network::floating_ip::OWNER.to_owned();
    record::update(&mut tx, &holder).await.unwrap();
    let floating = FloatingIp {
        id: corten_model::ids::FloatingIpId::random(),
        standard: standard(ip, now),
        network_id: network_id(),
        subnet_id: subnet_id(),
        address: ip.parse().unwrap(),
        holder_id,
        target: Some(Target {
            port_id: port.id,
            address: port.addresses[0].ip_address,
            router_id: corten_model::ids::RouterId::random(),
        }),
        dns_name: String::new(),
        dns_domain: String::new(),
        qos_policy_id: None,
        ephemeral,
    };
    record::insert(&mut tx, &floating).await.unwrap();
    tx.commit().await.unwrap();
}

pub async fn public_ips(cloud: &Cloud) -> Vec<FloatingIp> {
    let mut tx = cloud.store.read().await.unwrap();
    Query::new().all(&mut tx).await.unwrap()
}

/// A card of an instance, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardEnd {
    pub own: bool,
    pub tag: Option<String>,
    pub has_address: bool,
    pub on_its_host: bool,
}

pub async fn cards(cloud: &Cloud, instance: &Instance) -> Vec<CardEnd> {
    let mut tx = cloud.store.read().await.unwrap();
    let mut ends = Vec::new();
    for nic in &instance.intent.nics {
        let port: Option<Port> = record::get(&mut tx, nic.port_id).await.unwrap();
        let port = port.filter(|port| port.device_id == instance.id.to_string());
        let host = instance.host_name.clone().unwrap_or_default();
        ends.push(CardEnd {
            own: nic.own,
            tag: nic.tag.clone(),
            has_address: port.as_ref().is_some_and(|port| !port.addresses.is_empty()),
            on_its_host: port.is_some_and(|port| port.binding.host == host),
        });
    }
    ends
}

/// Every port is somebody's, every address a port's, every tap a port's on that host; the fabric holds what the rows
/// say, and nothing waits to be told.
pub async fn assert_nothing_leaked(cloud: &Cloud, tx: &mut Tx, all: &[Instance], context: &str) {
    let ports: Vec<Port> = Query::new().all(tx).await.unwrap();
    let nics = all
        .iter()
        .filter(|instance| !instance.deleted)
        .flat_map(|instance| instance.intent.nics.iter().map(move |nic| (nic, instance)));
    let plugged: BTreeMap<PortId, &Instance> = nics
        .map(|(nic, instance)| (nic.port_id, instance))
        .collect();
    for port in &ports {
        if port.device_owner.starts_with("network:") {
            continue;
        }
        let holds = [given_id(), spare_id()].contains(&port.id);
        let owner = plugged
            .get(&port.id)
            .filter(|owner| port.device_id == owner.id.to_string());
        assert!(holds || owner.is_some(), "{context}: port {port:?} is left");
        let host = owner.and_then(|owner| owner.host_name.clone());
        assert_eq!(
            port.binding.host,
            host.unwrap_or_default(),
            "{context}: {port:?}"
        );
        if owner.is_none() {
            assert_eq!(port.device_id, "", "{context}: {port:?} is held by nobody");
        }
    }
    let held: BTreeSet<(PortId, IpAddr)> = ports
        .iter()
        .flat_map(|port| {
            port.addresses
                .iter()
                .map(|fixed| (port.id, fixed.ip_address))
        })
        .collect();
    assert_public_ips_are_held(tx, &plugged, &ports, context).await;
    let addresses: Vec<Address> = Query::new().all(tx).await.unwrap();
    let rows: BTreeSet<_> = addresses
        .iter()
        .map(|row| (row.port_id, row.address))
        .collect();
    assert_eq!(rows, held, "{context}: addresses and ports differ");
    assert_eq!(
        changes::pending(tx).await.unwrap(),
        [],
        "{context}: a change was not told"
    );
    let wanted: BTreeMap<Unit, Plan> = plan::all(tx, &cloud.cx)
        .await
        .unwrap()
        .into_iter()
        .map(|plan| (plan.unit(), plan))
        .collect();
    let told = cloud.fabric.plans();
    let of_network =
        |plans: &BTreeMap<Unit, Plan>| plans.get(&Unit::Network(network_id())).cloned();
    if of_network(&told).is_some() {
        assert_eq!(
            of_network(&told),
            of_network(&wanted),
            "{context}: the fabric was told otherwise"
        );
    }
    for (host, sim) in &cloud.hosts {
        for tap in sim.leaks().nics {
            let owner = plugged.get(&tap);
            let on = owner.and_then(|owner| owner.host_id);
            assert_eq!(on, Some(*host), "{context}: the tap of {tap} is left");
        }
    }
}

/// Every ephemeral public IP leads to an instance, and every address that is held is a public IP's.
async fn assert_public_ips_are_held(
    tx: &mut Tx,
    plugged: &BTreeMap<PortId, &Instance>,
    ports: &[Port],
    context: &str,
) {
    let rows: Vec<FloatingIp> = Query::new().all(tx).await.unwrap();
    for row in rows.iter().filter(|row| row.ephemeral) {
        let led = row
            .target
            .is_some_and(|to| plugged.contains_key(&to.port_id));
        assert!(led, "{context}: {row:?} is left");
    }
    let owner = corten_store::network::floating_ip::OWNER;
    let holders = ports.iter().filter(|port| port.device_owner == owner);
    let holders: BTreeSet<_> = holders.map(|port| port.id).collect();
    let held: BTreeSet<_> = rows.iter().map(|row| row.holder_id).collect();
    assert_eq!(
        holders, held,
        "{context}: public IPs and their ports differ"
    );
}

/// An administrator of the project.
pub fn own_admin() -> Actor {
    let roles = ["admin", "member", "reader"].map(str::to_owned).into();
    Actor { roles, ..member() }
}

/// An external network of 13 addresses, and a router that joins the harness's network to it.
pub async fn lead_outside(cloud: &Cloud) -> NetworkId {
    let (cx, admin) = (&cloud.cx, own_admin());
    let new = NewNetwork {
        enabled: true,
        external: true,
        ..NewNetwork::default()
    };
    let made = network::create(cx, &admin, vec![new]).await.unwrap();
    let outside = made[0].network.id;
    let range = NewSubnet {
        project_id: None,
        network_id: outside,
        name: String::new(),
        description: String::new(),
        ip_version: 4,
        cidr: Some("203.0.113.0/28".parse().unwrap()),
        subnet_pool_id: None,
        use_default_pool: false,
        prefix_len: None,
        gateway: None,
        dhcp: false,
        pools: None,
        dns_servers: Vec::new(),
        host_routes: Vec::new(),
        ipv6_ra_mode: None,
        ipv6_address_mode: None,
        service_types: Vec::new(),
        dns_publish_fixed_ip: false,
        tags: BTreeSet::new(),
    };
    subnet::create(cx, &admin, vec![range]).await.unwrap();
    let new = NewRouter {
        enabled: true,
        gateway: Some(WantedGateway {
            network_id: outside,
            snat: None,
            addresses: None,
        }),
        ..NewRouter::default()
    };
    let made = router::create(cx, &admin, vec![new]).await.unwrap();
    let join = router_interface::Asked {
        subnet_id: Some(subnet_id()),
        port_id: None,
    };
    router_interface::add(cx, &admin, made[0].router.id, join)
        .await
        .unwrap();
    outside
}
