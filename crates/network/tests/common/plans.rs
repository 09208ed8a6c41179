//! Plans of a small cloud, to be changed by tests.

use corten_model::ids::{
    AddressGroupId, NetworkId, PortId, RouterId, SecurityGroupId, SecurityGroupRuleId, SubnetId,
};
use corten_network::plan::*;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use uuid::Uuid;

pub fn network(number: u128) -> NetworkPlan {
    let subnet = SubnetPlan {
        id: SubnetId(Uuid::from_u128(number << 32 | 0xaaaa)),
        cidr: format!("{}/24", address(number, 0)).parse().unwrap(),
        gateway: Some(address(number, 1)),
        dhcp: true,
        dns_servers: Vec::new(),
        host_routes: Vec::new(),
        ipv6: None,
        service_address: Some(address(number, 2)),
        domain: Some("lab.example".to_owned()),
    };
    let mut service = port(number, 2);
    service.kind = PortKind::Service;
    service.guarded = false;
    NetworkPlan {
        id: NetworkId(Uuid::from_u128(number << 32)),
        name: format!("network {number}"),
        mtu: 1442,
        enabled: true,
        provider: None,
        subnets: vec![subnet],
        ports: vec![service],
    }
}

/// The address of a port, and of a host in its network.
pub fn address(network: u128, host: u8) -> IpAddr {
    let [.., high, low] = network.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, high, low, host))
}

/// Its first six digits tell it apart: `ovn-trace` shows no more.
pub fn port_id(network: u128, host: u8) -> PortId {
    PortId(Uuid::from_u128((network << 8 | u128::from(host)) << 104))
}

/// A guarded guest, with this last octet.
pub fn port(network: u128, host: u8) -> PortPlan {
    let [.., high, low] = network.to_be_bytes();
    PortPlan {
        id: port_id(network, host),
        mac: Mac([0x0a, 0, high, low, 0, host]),
        addresses: vec![(
            SubnetId(Uuid::from_u128(network << 32 | 0xaaaa)),
            address(network, host),
        )],
        kind: PortKind::Guest,
        enabled: true,
        guarded: true,
        allowed_pairs: Vec::new(),
        security_groups: Vec::new(),
        host: None,
        dhcp_options: Vec::new(),
        dns_names: vec![(format!("guest-{host}.lab.example"), address(network, host))],
        bandwidth: Vec::new(),
        unknown_addresses: false,
    }
}

/// The port of a router's interface, as it stands in the network's plan.
pub fn router_port(network: u128, host: u8, router: &RouterPlan, gateway: bool) -> PortPlan {
    let mut port = port(network, host);
    port.kind = PortKind::Router {
        router: router.id,
        gateway,
    };
    port.guarded = false;
    port.dns_names.clear();
    port
}

pub fn interface(network: u128) -> RouterInterface {
    let port = port(network, 1);
    RouterInterface {
        port: port.id,
        mac: port.mac,
        addresses: vec![format!("{}/24", address(network, 1)).parse().unwrap()],
        ipv6: None,
        announced_dns: None,
        mtu: 1442,
    }
}

pub fn router(number: u128) -> RouterPlan {
    RouterPlan {
        id: RouterId(Uuid::from_u128(number << 32 | 0xbbbb)),
        name: format!("router {number}"),
        enabled: true,
        interfaces: Vec::new(),
        gateway: None,
        snat: Vec::new(),
        floating: Vec::new(),
        forwards: Vec::new(),
        routes: Vec::new(),
    }
}

pub fn group_id(number: u128) -> SecurityGroupId {
    SecurityGroupId(Uuid::from_u128(number << 32 | 0xcccc))
}

pub fn group(number: u128, rules: Vec<Rule>) -> SecurityGroupPlan {
    SecurityGroupPlan {
        id: group_id(number),
        stateful: true,
        rules,
    }
}

pub fn rule(
    number: u128,
    direction: Direction,
    protocol: Option<Protocol>,
    remote: Remote,
) -> Rule {
    Rule {
        id: SecurityGroupRuleId(Uuid::from_u128(number << 32 | 0xdddd)),
        direction,
        family: Family::V4,
        protocol,
        remote,
    }
}

pub fn address_group(number: u128, addresses: &[&str]) -> AddressGroupPlan {
    AddressGroupPlan {
        id: AddressGroupId(Uuid::from_u128(number << 32 | 0xeeee)),
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
    }
}

pub fn set(plan: impl Into<Plan>) -> Change {
    Change::Set(plan.into())
}

/// A subnet, an address for each guest in it, and what the router says of it.
fn add_ipv6(network: &mut NetworkPlan, interface: &mut RouterInterface, mode: Ipv6Mode) {
    let mut subnet = network.subnets[0].clone();
    let IpAddr::V4(first) = subnet.cidr.addr() else {
        panic!()
    };
    let [_, high, low, _] = first.octets().map(u16::from);
    let at = |host: u16| IpAddr::from([0xfd00, high, low, 0, 0, 0, 0, host]);
    subnet.id = SubnetId(Uuid::from_u128(subnet.id.0.as_u128() + 1));
    subnet.cidr = IpNet::new(at(0), 64).unwrap();
    (subnet.gateway, subnet.service_address) = (Some(at(1)), None);
    subnet.dns_servers = vec!["2001:db8::53".parse().unwrap()];
    subnet.ipv6 = Some(mode);
    let guests = network
        .ports
        .iter_mut()
        .filter(|port| port.kind == PortKind::Guest);
    for (port, host) in guests.zip(11..) {
        port.addresses.push((subnet.id, at(host)));
    }
    network.subnets.push(subnet);
    interface.addresses.push(IpNet::new(at(1), 64).unwrap());
    interface.ipv6 = Some(mode);
    interface.announced_dns = "2001:db8::53".parse().ok();
}

/// Two tenant networks behind a router with a gateway, security groups, a floating IP: a bit of everything.
pub fn cloud() -> Vec<Plan> {
    let mut router = router(1);
    let (mut first, mut second, mut outside) = (network(1), network(2), network(200));
    outside.provider = Some(Provider {
        physical_network: "physnet1".to_owned(),
        vlan: Some(7),
    });
    outside.mtu = 1500;
    outside.ports = vec![router_port(200, 9, &router, true)];
    for (number, network) in [(1, &mut first), (2, &mut second)] {
        network.ports.push(router_port(number, 1, &router, false));
        router.interfaces.push(interface(number));
        for host in 11..14 {
            let mut port = port(number, host);
            port.security_groups = vec![group_id(number)];
            network.ports.push(port);
        }
    }
    first.ports.last_mut().unwrap().bandwidth = vec![Bandwidth {
        direction: Direction::Egress,
        max_kbps: 1000,
        max_burst_kbps: 100,
    }];
    add_ipv6(&mut first, &mut router.interfaces[0], Ipv6Mode::Stateful);
    add_ipv6(&mut second, &mut router.interfaces[1], Ipv6Mode::Slaac);
    // A trunk's sub-port, a port with more addresses than its own, one that is told another MTU, one that is off.
    let mut sub = port(2, 20);
    sub.kind = PortKind::Sub {
        parent: port_id(1, 11),
        vlan: 77,
    };
    let mut shared = port(2, 21);
    shared.allowed_pairs = vec![
        AllowedPair {
            mac: None,
            addresses: "10.0.2.200/32".parse().unwrap(),
        },
        AllowedPair {
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            addresses: "10.0.3.7/24".parse().unwrap(),
        },
    ];
    let mut told = port(2, 22);
    told.dhcp_options = vec![DhcpOverride {
        family: Family::V4,
        name: "mtu".to_owned(),
        value: "1300".to_owned(),
    }];
    let mut off = port(2, 23);
    (off.enabled, off.host) = (false, Some("host-1".to_owned()));
    second.ports.extend([sub, shared, told, off]);
    let gateway = port(200, 9);
    router.gateway = Some(RouterGateway {
        port: gateway.id,
        mac: gateway.mac,
        addresses: vec![format!("{}/24", address(200, 9)).parse().unwrap()],
        next_hops: vec![address(200, 254)],
        chassis: vec!["host-1".to_owned(), "host-2".to_owned()],
        mtu: 1500,
    });
    router.snat = vec![Snat {
        external: address(200, 9),
        internal: "10.0.1.0/24".parse().unwrap(),
    }];
    router.floating = vec![
        Floating {
            external: address(200, 100),
            internal: address(1, 11),
            port: None,
        },
        Floating {
            external: address(200, 102),
            internal: address(2, 11),
            port: Some((port_id(2, 11), Mac([2, 0, 0, 0, 0, 2]))),
        },
    ];
    router.forwards = vec![Forward {
        external: address(200, 101),
        external_port: 2222,
        protocol: ForwardProtocol::Tcp,
        internal: address(1, 12),
        internal_port: 22,
    }];
    router.routes = vec![("192.0.2.0/24".parse().unwrap(), address(1, 13))];
    let addresses = address_group(1, &["198.51.100.0/24", "2001:db8::/32"]);
    let ssh = Some(Protocol::Tcp(Some((22, 22))));
    let rules = vec![
        rule(1, Direction::Egress, None, Remote::Anyone),
        rule(
            2,
            Direction::Ingress,
            ssh,
            Remote::Prefix("203.0.113.0/24".parse().unwrap()),
        ),
        rule(3, Direction::Ingress, None, Remote::Group(group_id(1))),
        rule(
            4,
            Direction::Ingress,
            Some(Protocol::Icmp(Some((8, None)))),
            Remote::AddressGroup(addresses.id),
        ),
    ];
    let mut second_group = group(2, vec![rule(5, Direction::Egress, None, Remote::Anyone)]);
    second_group.stateful = false;
    vec![
        Plan::Network(first),
        Plan::Network(second),
        Plan::Network(outside),
        Plan::Router(router),
        Plan::SecurityGroup(group(1, rules)),
        Plan::SecurityGroup(second_group),
        Plan::AddressGroup(addresses),
    ]
}
