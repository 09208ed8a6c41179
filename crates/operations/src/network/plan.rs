//! From rows to what the fabric must hold: a unit's rows are read whole, and made into its plan.

use super::dns;
use super::gateway_host;
use super::port::mac_of;
use super::security_group_rule::protocol_number;
use crate::context::Context;
use corten_model::ids::{AddressGroupId, NetworkId, QosPolicyId, RouterId, SecurityGroupId};
use corten_network::plan::{
    AddressGroupPlan, AllowedPair, Bandwidth, Change, DhcpOverride, Direction, Family, Floating,
    Forward, ForwardProtocol, Ipv6Mode, NetworkPlan, Plan, PortKind, PortPlan, Protocol, Provider,
    Remote, RouterGateway, RouterInterface, RouterPlan, Rule, SecurityGroupPlan, Snat, SubnetPlan,
    Unit,
};
use corten_store::network::network::{Network, Segment};
use corten_store::network::port::{self, Port};
use corten_store::network::qos_policy::QosPolicy;
use corten_store::network::router::{self, Router};
use corten_store::network::security_group::{self as group, SecurityGroup};
use corten_store::network::subnet::{self, Subnet};
use corten_store::network::trunk::Trunk;
use corten_store::network::{address_group::AddressGroup, floating_ip, port_forwarding};
use corten_store::{Failure, Query, Tx, record};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the fabric must be told of a unit: its plan, or that it is gone.
pub async fn change(tx: &mut Tx, cx: &Context, unit: Unit) -> Result<Change, Failure> {
    let plan = match unit {
        Unit::Network(id) => network(tx, cx, id).await?.map(Plan::Network),
        Unit::Router(id) => router(tx, cx, id).await?.map(Plan::Router),
        Unit::SecurityGroup(id) => security_group(tx, id).await?.map(Plan::SecurityGroup),
        Unit::AddressGroup(id) => address_group(tx, id).await?.map(Plan::AddressGroup),
    };
    Ok(plan.map_or(Change::Remove(unit), Change::Set))
}

/// Everything there is.
pub async fn all(tx: &mut Tx, cx: &Context) -> Result<Vec<Plan>, Failure> {
    let mut units: Vec<Unit> = Vec::new();
    let networks: Vec<Network> = Query::new().all(tx).await?;
    units.extend(networks.iter().map(|network| Unit::Network(network.id)));
    let routers: Vec<Router> = Query::new().all(tx).await?;
    units.extend(routers.iter().map(|router| Unit::Router(router.id)));
    let groups: Vec<SecurityGroup> = Query::new().all(tx).await?;
    units.extend(groups.iter().map(|group| Unit::SecurityGroup(group.id)));
    let addresses: Vec<AddressGroup> = Query::new().all(tx).await?;
    units.extend(addresses.iter().map(|group| Unit::AddressGroup(group.id)));
    let mut plans = Vec::new();
    for unit in units {
        if let Change::Set(plan) = change(tx, cx, unit).await? {
            plans.push(plan);
        }
    }
    Ok(plans)
}

async fn network(tx: &mut Tx, cx: &Context, id: NetworkId) -> Result<Option<NetworkPlan>, Failure> {
    let Some(network) = record::get::<Network>(tx, id).await? else {
        return Ok(None);
    };
    let subnets = subnet::of_network(tx, id).await?;
    let rows = port::of_network(tx, id).await?;
    let service = rows
        .iter()
        .find(|port| port.device_owner == super::network::SERVICE_OWNER)
        .cloned();
    let parents = parents(tx).await?;
    let mut ports = Vec::new();
    for row in rows {
        // A floating IP's own port only holds its address; routers answer for it.
        if row.device_owner != floating_ip::OWNER {
            ports.push(port_plan(tx, cx, &network, &parents, row).await?);
        }
    }
    let domain = domain_of(cx, &network);
    Ok(Some(NetworkPlan {
        id,
        name: network.standard.name.clone(),
        mtu: network.mtu,
        enabled: network.enabled,
        provider: provider(&network.segment),
        subnets: subnets
            .into_iter()
            .map(|subnet| subnet_plan(subnet, service.as_ref(), &domain))
            .collect(),
        ports,
    }))
}

fn provider(segment: &Segment) -> Option<Provider> {
    match segment {
        Segment::Geneve { .. } => None,
        Segment::Flat { physical_network } => Some(Provider {
            physical_network: physical_network.clone(),
            vlan: None,
        }),
        Segment::Vlan {
            physical_network,
            id,
        } => Some(Provider {
            physical_network: physical_network.clone(),
            vlan: Some(*id),
        }),
    }
}

/// The domain of a network's guests, without a final dot.
pub(crate) fn domain_of(cx: &Context, network: &Network) -> String {
    let own = network.dns_domain.trim_end_matches('.');
    let domain = if own.is_empty() {
        clouds_domain(cx)
    } else {
        own
    };
    domain.to_owned()
}

/// The domain of guests on networks without one of their own, without a final dot.
pub(crate) fn clouds_domain(cx: &Context) -> &str {
    cx.settings.network.dns_domain.trim_end_matches('.')
}

fn subnet_plan(subnet: Subnet, service: Option<&Port>, domain: &str) -> SubnetPlan {
    let service_address = service.and_then(|port| {
        let held = port
            .addresses
            .iter()
            .find(|fixed| fixed.subnet_id == subnet.id);
        held.map(|fixed| fixed.ip_address)
    });
    SubnetPlan {
        id: subnet.id,
        cidr: subnet.cidr,
        gateway: subnet.gateway,
        dhcp: subnet.dhcp,
        ipv6: ipv6_mode(&subnet),
        dns_servers: subnet.dns_servers,
        host_routes: subnet
            .host_routes
            .iter()
            .map(|route| (route.destination, route.nexthop))
            .collect(),
        service_address,
        domain: Some(domain.to_owned()).filter(|domain| !domain.is_empty()),
    }
}

fn ipv6_mode(subnet: &Subnet) -> Option<Ipv6Mode> {
    let mode = subnet.ipv6_address_mode.or(subnet.ipv6_ra_mode)?;
    Some(match mode {
        subnet::Ipv6Mode::Slaac => Ipv6Mode::Slaac,
        subnet::Ipv6Mode::Dhcpv6Stateless => Ipv6Mode::Stateless,
        subnet::Ipv6Mode::Dhcpv6Stateful => Ipv6Mode::Stateful,
    })
}

/// The first name server of an IPv6 subnet that has a mode.
fn announced_dns(subnet: &Subnet) -> Option<std::net::Ipv6Addr> {
    ipv6_mode(subnet)?;
    subnet.dns_servers.iter().find_map(|server| match server {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    })
}

/// Which ports are sub-ports of which: by the sub-port's id, its parent and its VLAN tag.
type Parents = BTreeMap<corten_model::ids::PortId, (corten_model::ids::PortId, u16)>;

async fn parents(tx: &mut Tx) -> Result<Parents, Failure> {
    let trunks: Vec<Trunk> = Query::new().all(tx).await?;
    let pairs = trunks
        .iter()
        .filter(|trunk| trunk.enabled)
        .flat_map(|trunk| {
            let sub_ports = trunk.sub_ports.iter();
            sub_ports.map(|sub| (sub.port_id, (trunk.port_id, sub.vlan)))
        });
    Ok(pairs.collect())
}

async fn port_plan(
    tx: &mut Tx,
    cx: &Context,
    network: &Network,
    parents: &Parents,
    row: Port,
) -> Result<PortPlan, Failure> {
    let kind = match row.device_owner.as_str() {
        router::INTERFACE | router::GATEWAY => match row.device_id.parse() {
            Ok(router) => PortKind::Router {
                router,
                gateway: row.device_owner == router::GATEWAY,
            },
            Err(_) => PortKind::Guest,
        },
        super::network::SERVICE_OWNER => PortKind::Service,
        _ => match parents.get(&row.id) {
            Some((parent, vlan)) => PortKind::Sub {
                parent: *parent,
                vlan: *vlan,
            },
            None => PortKind::Guest,
        },
    };
    let mac = mac_of(&row)?;
    let host = Some(row.binding.host.clone()).filter(|host| !host.is_empty());
    let is_guest = matches!(kind, PortKind::Guest | PortKind::Sub { .. });
    let qos = row
        .qos_policy_id
        .or(network.qos_policy_id.filter(|_| is_guest));
    Ok(PortPlan {
        id: row.id,
        mac,
        addresses: row
            .addresses
            .iter()
            .map(|fixed| (fixed.subnet_id, fixed.ip_address))
            .collect(),
        enabled: row.enabled,
        guarded: row.port_security,
        allowed_pairs: row.allowed_pairs.iter().map(allowed_pair).collect(),
        security_groups: row.security_groups.iter().copied().collect(),
        host: host.filter(|_| is_guest),
        dhcp_options: row
            .dhcp_options
            .iter()
            .map(|option| DhcpOverride {
                family: if option.ip_version == 6 {
                    Family::V6
                } else {
                    Family::V4
                },
                name: option.name.clone(),
                value: option.value.clone(),
            })
            .collect(),
        dns_names: dns_names(cx, network, &row),
        bandwidth: bandwidth(tx, qos).await?,
        unknown_addresses: is_guest && !row.port_security,
        kind,
    })
}

fn allowed_pair(pair: &port::AllowedPair) -> AllowedPair {
    AllowedPair {
        mac: pair.mac_address.as_ref().and_then(|mac| mac.parse().ok()),
        addresses: pair.ip_address,
    }
}

/// A guest is known by its name inside its network.
fn dns_names(cx: &Context, network: &Network, row: &Port) -> Vec<(String, IpAddr)> {
    dns::assignments(&domain_of(cx, network), row)
        .into_iter()
        .map(|name| (name.fqdn.to_ascii_lowercase(), name.address))
        .collect()
}

async fn bandwidth(tx: &mut Tx, policy: Option<QosPolicyId>) -> Result<Vec<Bandwidth>, Failure> {
    let Some(id) = policy else {
        return Ok(Vec::new());
    };
    let policy: Option<QosPolicy> = record::get(tx, id).await?;
    let limits = policy
        .map(|policy| policy.bandwidth_limits)
        .unwrap_or_default();
    Ok(limits
        .iter()
        .map(|limit| Bandwidth {
            direction: direction(limit.direction),
            max_kbps: limit.max_kbps,
            max_burst_kbps: limit.max_burst_kbps,
        })
        .collect())
}

fn direction(direction: group::Direction) -> Direction {
    match direction {
        group::Direction::Ingress => Direction::Ingress,
        group::Direction::Egress => Direction::Egress,
    }
}

async fn router(tx: &mut Tx, cx: &Context, id: RouterId) -> Result<Option<RouterPlan>, Failure> {
    let Some(router) = record::get::<Router>(tx, id).await? else {
        return Ok(None);
    };
    let ports = port::of_device(tx, &id.to_string()).await?;
    let mut interfaces = Vec::new();
    let mut inside: Vec<IpNet> = Vec::new();
    for port in ports
        .iter()
        .filter(|port| port.device_owner == router::INTERFACE && !port.addresses.is_empty())
    {
        let subnets = super::port::subnets_of(tx, port).await?;
        let network: Option<Network> = record::get(tx, port.network_id).await?;
        inside.extend(subnets.iter().map(|subnet| subnet.cidr));
        interfaces.push(RouterInterface {
            port: port.id,
            mac: mac_of(port)?,
            addresses: with_prefixes(port, &subnets),
            ipv6: subnets.iter().find_map(ipv6_mode),
            announced_dns: subnets.iter().find_map(announced_dns),
            mtu: network.map_or(cx.settings.network.mtu, |network| network.mtu),
        });
    }
    let gateway = match &router.gateway {
        None => None,
        Some(gateway) => {
            // The fabric takes no router's port without an address.
            let has_address = |port: &&Port| !port.addresses.is_empty();
            let port = ports
                .iter()
                .find(|port| port.id == gateway.port_id)
                .filter(has_address);
            match port {
                None => None,
                Some(port) => Some(router_gateway(tx, cx, port).await?),
            }
        }
    };
    let has_snat = router.gateway.as_ref().is_some_and(|gateway| gateway.snat);
    let snat = gateway
        .iter()
        .filter(|_| has_snat)
        .flat_map(|gateway| translated(gateway, &inside))
        .collect();
    let (floating, forwards) = translations(tx, id).await?;
    Ok(Some(RouterPlan {
        id,
        name: router.standard.name,
        enabled: router.enabled,
        interfaces,
        gateway,
        snat,
        floating,
        forwards,
        routes: router
            .routes
            .iter()
            .map(|route| (route.destination, route.nexthop))
            .collect(),
    }))
}

fn with_prefixes(port: &Port, subnets: &[Subnet]) -> Vec<IpNet> {
    let with_prefix = |fixed: &port::FixedIp| {
        let subnet = subnets.iter().find(|subnet| subnet.id == fixed.subnet_id)?;
        IpNet::new(fixed.ip_address, subnet.cidr.prefix_len()).ok()
    };
    port.addresses.iter().filter_map(with_prefix).collect()
}

async fn router_gateway(tx: &mut Tx, cx: &Context, port: &Port) -> Result<RouterGateway, Failure> {
    let subnets = super::port::subnets_of(tx, port).await?;
    let network: Option<Network> = record::get(tx, port.network_id).await?;
    Ok(RouterGateway {
        port: port.id,
        mac: mac_of(port)?,
        addresses: with_prefixes(port, &subnets),
        next_hops: next_hops(&subnets),
        chassis: gateway_host::names(tx, cx).await?,
        mtu: network.map_or(cx.settings.network.physical_mtu, |network| network.mtu),
    })
}

/// The gateways of the external subnets: one of each family, of the oldest subnet.
fn next_hops(subnets: &[Subnet]) -> Vec<IpAddr> {
    let gateways = || subnets.iter().filter_map(|subnet| subnet.gateway);
    let first = |is_ipv4| gateways().find(|gateway| gateway.is_ipv4() == is_ipv4);
    [true, false].into_iter().filter_map(first).collect()
}

/// What goes out under the router's own address: every inside range of IPv4. IPv6 is routed as it is.
fn translated(gateway: &RouterGateway, inside: &[IpNet]) -> Vec<Snat> {
    let own = gateway
        .addresses
        .iter()
        .map(IpNet::addr)
        .find(IpAddr::is_ipv4);
    let ranges = inside.iter().filter(|range| range.addr().is_ipv4());
    own.iter()
        .flat_map(|external| {
            ranges.clone().map(|internal| Snat {
                external: *external,
                internal: *internal,
            })
        })
        .collect()
}

async fn translations(tx: &mut Tx, id: RouterId) -> Result<(Vec<Floating>, Vec<Forward>), Failure> {
    let mut floating = Vec::new();
    for row in floating_ip::of_router(tx, id).await? {
        floating.extend(row.target.map(|target| Floating {
            external: row.address,
            internal: target.address,
            port: None,
        }));
    }
    let mut forwards = Vec::new();
    for row in port_forwarding::of_router(tx, id).await? {
        let outside: Option<floating_ip::FloatingIp> = record::get(tx, row.floating_ip_id).await?;
        let protocol = match row.protocol.as_str() {
            "udp" => ForwardProtocol::Udp,
            "sctp" => ForwardProtocol::Sctp,
            _ => ForwardProtocol::Tcp,
        };
        forwards.extend(outside.map(|outside| Forward {
            external: outside.address,
            external_port: row.external_port,
            protocol,
            internal: row.internal_address,
            internal_port: row.internal_port,
        }));
    }
    Ok((floating, forwards))
}

async fn security_group(
    tx: &mut Tx,
    id: SecurityGroupId,
) -> Result<Option<SecurityGroupPlan>, Failure> {
    let Some(row) = record::get::<SecurityGroup>(tx, id).await? else {
        return Ok(None);
    };
    let rules = group::rules_of(tx, id).await?;
    Ok(Some(SecurityGroupPlan {
        id,
        stateful: row.stateful,
        rules: rules.into_iter().map(rule_plan).collect(),
    }))
}

fn rule_plan(row: group::Rule) -> Rule {
    let number = row.protocol.as_deref().and_then(protocol_number);
    let is_ipv4 = row.ethertype == group::Ethertype::IPv4;
    let ports = row.port_min.zip(row.port_max);
    let byte = |value: u16| u8::try_from(value).ok();
    let icmp = row
        .port_min
        .and_then(byte)
        .map(|kind| (kind, row.port_max.and_then(byte)));
    let protocol = number.map(|number| match number {
        6 => Protocol::Tcp(ports),
        17 => Protocol::Udp(ports),
        132 => Protocol::Sctp(ports),
        // Neutron takes `icmp` for both families.
        1 | 58 => Protocol::Icmp(icmp),
        other => Protocol::Number(other),
    });
    Rule {
        id: row.id,
        direction: direction(row.direction),
        family: if is_ipv4 { Family::V4 } else { Family::V6 },
        protocol,
        remote: match row.remote {
            group::Remote::Anyone => Remote::Anyone,
            group::Remote::Prefix(prefix) => Remote::Prefix(prefix),
            group::Remote::Group(id) => Remote::Group(id),
            group::Remote::AddressGroup(id) => Remote::AddressGroup(id),
        },
    }
}

async fn address_group(
    tx: &mut Tx,
    id: AddressGroupId,
) -> Result<Option<AddressGroupPlan>, Failure> {
    let row = record::get::<AddressGroup>(tx, id).await?;
    Ok(row.map(|row| AddressGroupPlan {
        id,
        addresses: row.addresses,
    }))
}
