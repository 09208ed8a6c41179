//! Subnets and addresses: what cannot be is refused in Neutron's own words, and nothing of it is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod network_fixture;

use corten_model::refusal::Reason;
use corten_operations::network::ipam::Wanted;
use corten_operations::network::port::{self, NewPort, PortChange};
use corten_operations::network::subnet::{self, NewSubnet, SubnetChange};
use corten_operations::network::{network, security_group};
use corten_store::network::subnet::{Ipv6Mode, Range, Route};
use network_fixture::{Cloud, assert_refused, member, new_subnet, wanted};

fn range(start: &str, end: &str) -> Range {
    Range {
        start: start.parse().unwrap(),
        end: end.parse().unwrap(),
    }
}

#[tokio::test]
async fn a_subnet_that_cannot_be_is_refused_by_name_and_leaves_nothing() {
    let cloud = Cloud::open().await;
    let ann = member("ann");
    let network = cloud.network(&ann).await;
    cloud.subnet(&ann, network, "10.0.0.0/24").await;
    let before = cloud.rows().await;
    let v4 = || new_subnet(network, "10.1.0.0/24");
    let v6 = || new_subnet(network, "2001:db8::/64");
    let gateway = |ip: &str| Some(Some(ip.parse().unwrap()));
    let route = |to: &str, via: &str| Route {
        destination: to.parse().unwrap(),
        nexthop: via.parse().unwrap(),
    };
    let (invalid, conflict) = (Reason::Invalid, Reason::Conflict);
    #[rustfmt::skip]
    let cases: Vec<(NewSubnet, Reason, &str)> = vec![
        (new_subnet(network, "10.0.0.128/25"), invalid, "InvalidInput"),
        (new_subnet(network, "10.0.0.0/16"), invalid, "InvalidInput"),
        (new_subnet(network, "0.0.0.0/0"), invalid, "InvalidInput"),
        (new_subnet(network, "127.0.0.0/24"), invalid, "InvalidInput"),
        (new_subnet(network, "224.0.0.0/24"), invalid, "InvalidInput"),
        (new_subnet(network, "169.254.0.0/16"), invalid, "InvalidInput"),
        (NewSubnet { ip_version: 6, ..v4() }, invalid, "InvalidInput"),
        (NewSubnet { cidr: None, ..v4() }, invalid, "BadRequest"),
        (NewSubnet { gateway: gateway("10.2.0.1"), ..v4() }, invalid, "InvalidInput"),
        (NewSubnet { gateway: gateway("10.1.0.0"), ..v4() }, invalid, "InvalidInput"),
        (NewSubnet { gateway: gateway("2001:db8::1"), ..v4() }, invalid, "InvalidInput"),
        (NewSubnet { pools: Some(vec![range("10.1.0.9", "10.1.0.8")]), ..v4() }, invalid, "InvalidAllocationPool"),
        (NewSubnet { pools: Some(vec![range("10.1.0.9", "10.1.1.9")]), ..v4() }, invalid, "OutOfBoundsAllocationPool"),
        (NewSubnet { pools: Some(vec![range("10.1.0.1", "10.1.0.9")]), ..v4() }, conflict, "GatewayConflictWithAllocationPools"),
        (NewSubnet { pools: Some(vec![range("10.1.0.2", "10.1.0.9"), range("10.1.0.9", "10.1.0.12")]), ..v4() }, conflict, "OverlappingAllocationPools"),
        (NewSubnet { dns_servers: vec!["9.9.9.9".parse().unwrap(); 6], ..v4() }, invalid, "DNSNameServersExhausted"),
        (NewSubnet { host_routes: vec![route("10.9.0.0/24", "10.1.0.2"); 21], ..v4() }, invalid, "HostRoutesExhausted"),
        (NewSubnet { host_routes: vec![route("fd00::/64", "10.1.0.2")], ..v4() }, invalid, "InvalidInput"),
        (NewSubnet { dhcp: true, ipv6_ra_mode: Some(Ipv6Mode::Slaac), ..v4() }, invalid, "InvalidInput"),
        (NewSubnet { ipv6_ra_mode: Some(Ipv6Mode::Slaac), ..v6() }, invalid, "InvalidInput"),
        (NewSubnet { dhcp: true, ipv6_ra_mode: Some(Ipv6Mode::Slaac), ipv6_address_mode: Some(Ipv6Mode::Dhcpv6Stateful), ..v6() }, invalid, "InvalidInput"),
        (NewSubnet { dhcp: true, ipv6_address_mode: Some(Ipv6Mode::Slaac), ..new_subnet(network, "2001:db8::/80") }, invalid, "InvalidInput"),
    ];
    for (new, reason, name) in cases {
        let outcome = subnet::create(&cloud.cx, &ann, vec![v6(), new]).await;
        assert_refused(outcome, reason, name);
        assert_eq!(cloud.rows().await, before, "{name} left something behind");
    }
}

#[tokio::test]
async fn an_address_is_given_once_and_a_pool_ends() {
    let cloud = Cloud::open().await;
    let ann = member("ann");
    let network = cloud.network(&ann).await;
    // Two addresses beside the gateway.
    let subnet = cloud.subnet(&ann, network, "10.0.0.0/29").await;
    let new = NewSubnet {
        pools: Some(vec![range("10.1.0.2", "10.1.0.3")]),
        ..new_subnet(network, "10.1.0.0/24")
    };
    let small = subnet::create(&cloud.cx, &ann, vec![new]).await.unwrap()[0].id;
    let from_small = || NewPort {
        addresses: Some(vec![Wanted {
            subnet_id: Some(small),
            ip_address: None,
        }]),
        ..NewPort::on(network)
    };
    let at = |address: &str| NewPort {
        addresses: Some(vec![wanted(subnet.id, address)]),
        ..NewPort::on(network)
    };
    let first = cloud.port_of(&ann, from_small()).await;
    cloud.port_of(&ann, from_small()).await;
    let taken = cloud.port_of(&ann, at("10.0.0.3")).await;
    let before = cloud.rows().await;
    let make = async |new: NewPort| port::create(&cloud.cx, &ann, vec![at("10.0.0.5"), new]).await;
    assert_refused(
        make(from_small()).await,
        Reason::Conflict,
        "IpAddressGenerationFailure",
    );
    assert_refused(
        make(at("10.0.0.3")).await,
        Reason::Conflict,
        "IpAddressAlreadyAllocated",
    );
    for outside in ["10.0.0.7", "10.0.0.0", "10.9.0.1"] {
        assert_refused(
            make(at(outside)).await,
            Reason::Invalid,
            "InvalidIpForSubnet",
        );
    }
    let nowhere = NewPort {
        addresses: Some(vec![Wanted {
            subnet_id: None,
            ip_address: Some("192.0.2.1".parse().unwrap()),
        }]),
        ..NewPort::on(network)
    };
    assert_refused(make(nowhere).await, Reason::Invalid, "InvalidIpForNetwork");
    assert_eq!(
        cloud.rows().await,
        before,
        "a refused port left something behind"
    );
    // A change that is refused keeps what the port had.
    let change = PortChange {
        addresses: Some(vec![wanted(subnet.id, "10.0.0.3")]),
        ..PortChange::default()
    };
    let outcome = port::update(&cloud.cx, &ann, first.id, change).await;
    assert_refused(outcome, Reason::Conflict, "IpAddressAlreadyAllocated");
    let now = port::show(&cloud.cx, &ann, first.id).await.unwrap();
    assert_eq!(now.addresses, first.addresses);
    assert_eq!(cloud.rows().await, before);
    // What is given back can be given again.
    port::delete(&cloud.cx, &ann, taken.id).await.unwrap();
    cloud.port_of(&ann, at("10.0.0.3")).await;
    port::delete(&cloud.cx, &ann, first.id).await.unwrap();
    assert_eq!(
        cloud.port_of(&ann, from_small()).await.addresses,
        first.addresses
    );
}

#[tokio::test]
async fn a_port_changes_from_one_address_to_several_and_back() {
    let cloud = Cloud::open().await;
    let ann = member("ann");
    let network = cloud.network(&ann).await;
    let subnet = cloud.subnet(&ann, network, "10.0.0.0/24").await;
    let port = cloud.port(&ann, network).await;
    let change = async |addresses: Vec<Wanted>| {
        let change = PortChange {
            addresses: Some(addresses),
            ..PortChange::default()
        };
        let port = port::update(&cloud.cx, &ann, port.id, change)
            .await
            .unwrap();
        let mut held: Vec<String> = port
            .addresses
            .iter()
            .map(|fixed| fixed.ip_address.to_string())
            .collect();
        held.sort();
        held
    };
    let any = Wanted {
        subnet_id: Some(subnet.id),
        ip_address: None,
    };
    let two = change(vec![wanted(subnet.id, "10.0.0.8"), any]).await;
    assert_eq!(two, ["10.0.0.2", "10.0.0.8"], "one is kept, one is added");
    assert_eq!(change(vec![any, any]).await.len(), 2);
    assert_eq!(
        change(vec![any]).await.len(),
        1,
        "as many as were asked for"
    );
    assert!(change(Vec::new()).await.is_empty());
    assert_eq!(cloud.rows().await["addresses"], 0);
}

#[tokio::test]
async fn what_is_in_use_stays() {
    let cloud = Cloud::open().await;
    let ann = member("ann");
    let network = cloud.network(&ann).await;
    let subnet = cloud.subnet(&ann, network, "10.0.0.0/24").await;
    let port = cloud.port(&ann, network).await;
    let group = *port.security_groups.iter().next().unwrap();
    let before = cloud.rows().await;
    let (cx, conflict) = (&cloud.cx, Reason::Conflict);
    assert_refused(
        network::delete(cx, &ann, network).await,
        conflict,
        "NetworkInUse",
    );
    assert_refused(
        subnet::delete(cx, &ann, subnet.id).await,
        conflict,
        "SubnetInUse",
    );
    assert_refused(
        security_group::delete(cx, &ann, group).await,
        conflict,
        "SecurityGroupCannotRemoveDefault",
    );
    let change = SubnetChange {
        gateway: Some(Some("10.0.0.9".parse().unwrap())),
        ..SubnetChange::default()
    };
    assert_refused(
        subnet::update(cx, &ann, subnet.id, change).await,
        conflict,
        "GatewayConflictWithAllocationPools",
    );
    assert_eq!(cloud.rows().await, before);
    // A stranger does not even see that they are there.
    let stranger = member("bob");
    assert_refused(
        network::delete(cx, &stranger, network).await,
        Reason::NotFound,
        "NetworkNotFound",
    );
    assert_refused(
        subnet::delete(cx, &stranger, subnet.id).await,
        Reason::NotFound,
        "SubnetNotFound",
    );
    assert_refused(
        port::delete(cx, &stranger, port.id).await,
        Reason::NotFound,
        "PortNotFound",
    );
    port::delete(cx, &ann, port.id).await.unwrap();
    subnet::delete(cx, &ann, subnet.id).await.unwrap();
    network::delete(cx, &ann, network).await.unwrap();
    cloud.settle().await;
    let units: Vec<_> = cloud.fabric.plans().into_keys().collect();
    assert!(
        !units.contains(&corten_network::plan::Unit::Network(network)),
        "the fabric still has it: {units:?}"
    );
}
