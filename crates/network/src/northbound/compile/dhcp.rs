//! What guests are told by DHCP: a row for each subnet, and one for each port that is told something else.

use super::super::desired::Desired;
use super::super::names;
use super::super::schema::{DHCP_OPTIONS, SWITCH_PORT};
use super::{braced, family, quoted};
use crate::ovsdb::Value;
use crate::plan::{Family, Ipv6Mode, Mac, NetworkPlan, PortKind, PortPlan, SubnetPlan, Unit};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

const LEASE_SECS: u32 = 86_400;
const METADATA_ROUTE: &str = "169.254.169.254/32";

type Options = BTreeMap<String, String>;

pub fn compile(plan: &NetworkPlan, desired: &mut Desired) {
    let unit = Unit::Network(plan.id);
    let told: Vec<(&SubnetPlan, Options)> = plan
        .subnets
        .iter()
        .filter_map(|subnet| Some((subnet, options(plan, subnet)?)))
        .collect();
    for (subnet, options) in &told {
        put(
            desired,
            unit,
            names::dhcp_key(subnet.id, None),
            subnet,
            options,
        );
    }
    for port in &plan.ports {
        if !matches!(port.kind, PortKind::Guest | PortKind::Sub { .. }) {
            continue;
        }
        for (wanted, column) in [
            (Family::V4, "dhcpv4_options"),
            (Family::V6, "dhcpv6_options"),
        ] {
            let Some((subnet, options)) = first(&told, port, wanted) else {
                continue;
            };
            let overrides = port.dhcp_options.iter();
            let overrides: Options = overrides
                .filter(|option| option.family == wanted)
                .map(|option| (option.name.clone(), option.value.clone()))
                .collect();
            let mut key = names::dhcp_key(subnet.id, None);
            if !overrides.is_empty() {
                key = names::dhcp_key(subnet.id, Some(port.id));
                let mut options = options.clone();
                options.extend(overrides);
                put(desired, unit, key.clone(), subnet, &options);
            }
            let row = desired.row(SWITCH_PORT, unit, names::port_key(port.id));
            row.refer(column, key);
        }
    }
}

/// The first of the port's subnets that tells guests of this family anything: OVN tells a port of one.
fn first<'a>(
    told: &'a [(&'a SubnetPlan, Options)],
    port: &PortPlan,
    wanted: Family,
) -> Option<&'a (&'a SubnetPlan, Options)> {
    let mut addresses = port.addresses.iter();
    addresses.find_map(|(id, address)| {
        let of_port = |subnet: &SubnetPlan| subnet.id == *id && family(*address) == wanted;
        told.iter().find(|(subnet, _)| of_port(subnet))
    })
}

fn put(desired: &mut Desired, unit: Unit, key: String, subnet: &SubnetPlan, options: &Options) {
    let row = desired.row(DHCP_OPTIONS, unit, key);
    row.text("cidr", subnet.cidr.to_string());
    row.set(
        "options",
        Value::map(
            options
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        ),
    );
}

fn options(network: &NetworkPlan, subnet: &SubnetPlan) -> Option<Options> {
    if !subnet.dhcp {
        return None;
    }
    match subnet.cidr {
        IpNet::V4(_) => Some(options_v4(network, subnet)),
        IpNet::V6(_) => options_v6(network, subnet),
    }
}

fn options_v4(network: &NetworkPlan, subnet: &SubnetPlan) -> Options {
    let server = subnet.service_address.or(subnet.gateway);
    let server = server.unwrap_or_else(|| subnet.cidr.hosts().next().unwrap_or(subnet.cidr.addr()));
    let mut options = Options::from([
        ("server_id".to_owned(), server.to_string()),
        ("server_mac".to_owned(), server_mac(network).to_string()),
        ("lease_time".to_owned(), LEASE_SECS.to_string()),
        ("mtu".to_owned(), network.mtu.to_string()),
    ]);
    let mut add = |name: &str, value: String| options.insert(name.to_owned(), value);
    if let Some(gateway) = subnet.gateway {
        add("router", gateway.to_string());
    }
    let servers = name_servers(subnet);
    if !servers.is_empty() {
        add("dns_server", braced(servers));
    }
    if let Some(domain) = &subnet.domain {
        add("domain_name", quoted(domain));
    }
    let routes = routes(subnet);
    if !routes.is_empty() {
        add("classless_static_route", braced(routes));
    }
    options
}

/// Option 121. Guests that are told it do not heed the router option (RFC 3442), so the default route is repeated.
fn routes(subnet: &SubnetPlan) -> Vec<String> {
    let metadata = subnet
        .service_address
        .map(|address| format!("{METADATA_ROUTE},{address}"));
    let others = subnet
        .host_routes
        .iter()
        .map(|(to, via)| format!("{to},{via}"));
    let mut routes: Vec<_> = metadata.into_iter().chain(others).collect();
    if let (Some(gateway), false) = (subnet.gateway, routes.is_empty()) {
        routes.push(format!("0.0.0.0/0,{gateway}"));
    }
    routes
}

/// Of IPv6, addresses come from the router's announcements, by DHCPv6, or from both; see `router`.
fn options_v6(network: &NetworkPlan, subnet: &SubnetPlan) -> Option<Options> {
    let mut options = Options::from([("server_id".to_owned(), server_mac(network).to_string())]);
    match subnet.ipv6 {
        None | Some(Ipv6Mode::Slaac) => return None,
        Some(Ipv6Mode::Stateless) => {
            options.insert("dhcpv6_stateless".to_owned(), "true".to_owned());
        }
        Some(Ipv6Mode::Stateful) => {}
    }
    let servers = name_servers(subnet);
    if !servers.is_empty() {
        options.insert("dns_server".to_owned(), braced(servers));
    }
    if let Some(domain) = &subnet.domain {
        options.insert("domain_search".to_owned(), quoted(domain));
    }
    Some(options)
}

fn name_servers(subnet: &SubnetPlan) -> Vec<IpAddr> {
    if subnet.dns_servers.is_empty() {
        return subnet.service_address.into_iter().collect();
    }
    subnet.dns_servers.clone()
}

/// OVN answers with this MAC; without a service port it is one that follows from the network's id.
fn server_mac(network: &NetworkPlan) -> Mac {
    let service = network
        .ports
        .iter()
        .find(|port| port.kind == PortKind::Service);
    let [a, b, c, d, ..] = *network.id.0.as_bytes();
    service.map_or(Mac([0x0e, 0x01, a, b, c, d]), |port| port.mac)
}
