//! Routers over a fabric in memory: what it holds after each change, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic)]

mod router_fixture;

use corten_iam::actor::Actor;
use corten_model::ids::{NetworkId, SubnetId};
use corten_model::refusal::Reason;
use corten_network::plan::RouterPlan;
use corten_operations::network::ipam::Wanted;
use corten_operations::network::network::NewNetwork;
use corten_operations::network::port::{NewPort, PortChange};
use corten_operations::network::router::{NewRouter, RouterChange};
use corten_operations::network::router_gateway::WantedGateway;
use corten_operations::network::router_interface as interface;
use corten_operations::network::router_interface::Asked;
use corten_operations::network::subnet::NewSubnet;
use corten_operations::network::{network, port, router, router_routes, subnet};
use corten_store::Failure;
use corten_store::network::subnet::{Ipv6Mode, Route};
use router_fixture::{
    Cloud, admin, by_port, by_subnet, ip, leading_to, member, new_subnet, refused, route, stranger,
    texts,
};

#[tokio::test]
async fn a_router_joins_a_subnet_and_leads_out() {
    let cloud = Cloud::open().await;
    let (router, network, subnet) = cloud.behind_a_router().await;
    let plan = cloud.plan(router).await.unwrap();
    assert_eq!(texts(&plan.interfaces[0].addresses), ["10.0.0.1/24"]);
    let gateway = plan.gateway.unwrap();
    assert_eq!(texts(&gateway.addresses), ["203.0.113.2/24"]);
    assert_eq!(texts(&gateway.next_hops), ["203.0.113.1"]);
    assert_eq!(plan.snat.len(), 1);
    assert_eq!(plan.snat[0].external, ip("203.0.113.2"));
    assert_eq!(plan.snat[0].internal.to_string(), "10.0.0.0/24");
    assert_eq!(
        cloud.router_ports(cloud.outside).await,
        [gateway.port].into()
    );
    assert_eq!(
        cloud.router_ports(network).await,
        [plan.interfaces[0].port].into()
    );

    // Only the operator says how a router leads out.
    let without_snat = WantedGateway {
        snat: Some(false),
        ..leading_to(cloud.outside)
    };
    let change = RouterChange {
        gateway: Some(Some(without_snat)),
        ..RouterChange::default()
    };
    refused(cloud.update(router, change.clone()).await);
    router::update(&cloud.cx, &admin(), router, change)
        .await
        .unwrap();
    let plan = cloud.plan(router).await.unwrap();
    assert_eq!(plan.snat, []);
    assert_eq!(texts(&plan.gateway.unwrap().addresses), ["203.0.113.2/24"]);

    let no_gateway = RouterChange {
        gateway: Some(None),
        ..RouterChange::default()
    };
    cloud.update(router, no_gateway).await.unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().gateway, None);
    assert!(cloud.router_ports(cloud.outside).await.is_empty());

    assert_eq!(
        refused(router::delete(&cloud.cx, &member(), router).await),
        "RouterInUse"
    );
    let gone = cloud.leave(router, subnet).await.unwrap();
    assert_eq!(gone.subnet_ids, [subnet]);
    assert_eq!(cloud.plan(router).await.unwrap().interfaces, []);
    assert!(cloud.router_ports(network).await.is_empty());
    router::delete(&cloud.cx, &member(), router).await.unwrap();
    assert_eq!(cloud.plan(router).await, None);
    // Nothing is left that would hold the subnet.
    subnet::delete(&cloud.cx, &member(), subnet).await.unwrap();
}

#[tokio::test]
async fn a_gateway_moves_with_its_addresses() {
    let cloud = Cloud::open().await;
    let other = cloud.outside_network("198.51.100.0/24").await;
    let router = cloud.router(Some(cloud.outside)).await;
    let update = async |router, network, address: &str| {
        let wanted = Wanted {
            subnet_id: None,
            ip_address: Some(ip(address)),
        };
        let gateway = WantedGateway {
            addresses: Some(vec![wanted]),
            ..leading_to(network)
        };
        let change = RouterChange {
            gateway: Some(Some(gateway)),
            ..RouterChange::default()
        };
        router::update(&cloud.cx, &admin(), router, change).await
    };
    let shown = update(router, cloud.outside, "203.0.113.50");
    assert_eq!(
        shown.await.unwrap().gateway_addresses[0].ip_address,
        ip("203.0.113.50")
    );
    let taken = update(router, cloud.outside, "203.0.113.1");
    assert_eq!(refused(taken.await), "BadRequest");
    let shown = update(router, other, "198.51.100.9");
    assert_eq!(
        shown.await.unwrap().gateway_addresses[0].ip_address,
        ip("198.51.100.9")
    );
    assert!(cloud.router_ports(cloud.outside).await.is_empty());
    assert_eq!(cloud.router_ports(other).await.len(), 1);

    let second = cloud.router(None).await;
    let used = update(second, other, "198.51.100.9");
    assert_eq!(refused(used.await), "IpAddressAlreadyAllocated");
    let (inside, _) = cloud.inside("10.0.0.0/24").await;
    let change = RouterChange {
        gateway: Some(Some(leading_to(inside))),
        ..RouterChange::default()
    };
    assert_eq!(refused(cloud.update(second, change).await), "BadRequest");
    let change = RouterChange {
        gateway: Some(Some(leading_to(NetworkId::random()))),
        ..RouterChange::default()
    };
    assert_eq!(
        refused(cloud.update(second, change).await),
        "NetworkNotFound"
    );
}

/// Neutron lets its operator ask how a router is spread over agents; the fabric has none to choose from.
#[tokio::test]
async fn how_a_router_is_spread_is_not_asked() {
    let cloud = Cloud::open().await;
    let new = NewRouter {
        agents: Some("ha"),
        ..NewRouter::default()
    };
    let reason = async |actor: &Actor| {
        let made = router::create(&cloud.cx, actor, vec![new.clone()]).await;
        match made {
            Err(Failure::Refused(refusal)) => refusal.reason,
            other => panic!("not refused: {other:?}"),
        }
    };
    assert_eq!(reason(&member()).await, Reason::Forbidden);
    assert_eq!(reason(&admin()).await, Reason::Invalid);
}

#[tokio::test]
async fn interfaces_that_make_no_sense_are_refused() {
    let cloud = Cloud::open().await;
    let (router, network, subnet) = cloud.behind_a_router().await;
    let (other, overlapping) = cloud.inside("10.0.0.0/16").await;
    let add = async |asked| refused(interface::add(&cloud.cx, &member(), router, asked).await);
    let remove =
        async |asked| refused(interface::remove(&cloud.cx, &member(), router, asked).await);
    assert_eq!(add(by_subnet(subnet)).await, "BadRequest");
    assert_eq!(add(by_subnet(overlapping)).await, "BadRequest");
    assert_eq!(add(Asked::default()).await, "BadRequest");
    assert_eq!(add(by_subnet(SubnetId::random())).await, "SubnetNotFound");
    let mut without_gateway = new_subnet(network, "10.1.0.0/24");
    without_gateway.gateway = Some(None);
    let without_gateway = cloud.subnet(without_gateway).await;
    assert_eq!(add(by_subnet(without_gateway)).await, "BadRequest");
    let guests = NewPort {
        device_id: "guest".to_owned(),
        ..NewPort::on(other)
    };
    let guests = port::create(&cloud.cx, &member(), vec![guests])
        .await
        .unwrap();
    assert_eq!(add(by_port(guests[0].id)).await, "PortInUse");

    assert_eq!(
        remove(by_subnet(overlapping)).await,
        "RouterInterfaceNotFoundForSubnet"
    );
    assert_eq!(
        remove(by_port(guests[0].id)).await,
        "RouterInterfaceNotFound"
    );
    let own = *cloud.router_ports(network).await.first().unwrap();
    let mismatch = Asked {
        subnet_id: Some(overlapping),
        port_id: Some(own),
    };
    assert_eq!(remove(mismatch).await, "SubnetMismatchForPort");
    assert_eq!(
        refused(port::delete(&cloud.cx, &member(), own).await),
        "ServicePortInUse"
    );
    assert_eq!(cloud.plan(router).await.unwrap().interfaces.len(), 1);
}

/// A port with the names of a router's interface would join its network to that router.
#[tokio::test]
async fn nobody_joins_a_network_to_the_router_of_another_project() {
    let cloud = Cloud::open().await;
    let (router, ..) = cloud.behind_a_router().await;
    let own = NewNetwork::default();
    let own = network::create(&cloud.cx, &stranger(), vec![own])
        .await
        .unwrap();
    let forged = NewPort {
        device_id: router.to_string(),
        device_owner: "network:router_interface".to_owned(),
        ..NewPort::on(own[0].network.id)
    };
    // However the id is spelt.
    let in_capitals = NewPort {
        device_id: router.to_string().to_uppercase(),
        ..forged.clone()
    };
    for forged in [forged, in_capitals] {
        let made = port::create(&cloud.cx, &stranger(), vec![forged]).await;
        assert_eq!(refused(made), "DeviceIDNotOwnedByTenant");
    }
    let plain = vec![NewPort::on(own[0].network.id)];
    let plain = port::create(&cloud.cx, &stranger(), plain).await.unwrap();
    let change = PortChange {
        device_id: Some(router.to_string()),
        device_owner: Some("network:router_interface".to_owned()),
        ..PortChange::default()
    };
    let changed = port::update(&cloud.cx, &stranger(), plain[0].id, change).await;
    assert_eq!(refused(changed), "DeviceIDNotOwnedByTenant");
    let seen = interface::add(&cloud.cx, &stranger(), router, by_port(plain[0].id)).await;
    assert_eq!(refused(seen), "RouterNotFound");
}

#[tokio::test]
async fn a_port_becomes_an_interface_and_is_guarded_no_more() {
    let cloud = Cloud::open().await;
    let (network, subnet) = cloud.inside("10.0.0.0/24").await;
    let port = cloud.port(network).await;
    let router = cloud.router(None).await;
    let made = interface::add(&cloud.cx, &member(), router, by_port(port.id))
        .await
        .unwrap();
    assert_eq!((made.port_id, made.subnet_ids), (port.id, vec![subnet]));
    let plan = cloud.plan(router).await.unwrap();
    assert_eq!(texts(&plan.interfaces[0].addresses), ["10.0.0.3/24"]);
    let row = port::show(&cloud.cx, &member(), port.id).await.unwrap();
    assert!(!row.port_security && row.security_groups.is_empty());
    interface::remove(&cloud.cx, &member(), router, by_port(port.id))
        .await
        .unwrap();
    assert_eq!(
        refused(port::show(&cloud.cx, &member(), port.id).await),
        "PortNotFound"
    );
}

#[tokio::test]
async fn ipv6_subnets_of_one_network_share_an_interface() {
    let cloud = Cloud::open().await;
    let (network, of_ipv4) = cloud.inside("10.0.0.0/24").await;
    let mut subnets = Vec::new();
    for cidr in ["2001:db8:1::/64", "2001:db8:2::/64"] {
        let new = NewSubnet {
            ipv6_ra_mode: Some(Ipv6Mode::Slaac),
            ipv6_address_mode: Some(Ipv6Mode::Slaac),
            ..new_subnet(network, cidr)
        };
        subnets.push(cloud.subnet(new).await);
    }
    let router = cloud.router(None).await;
    let alone = cloud.join(router, of_ipv4).await;
    let first = cloud.join(router, subnets[0]).await;
    let second = cloud.join(router, subnets[1]).await;
    assert_eq!(first.port_id, second.port_id);
    assert_ne!(alone.port_id, first.port_id);
    let of = |plan: RouterPlan| {
        let found = plan
            .interfaces
            .into_iter()
            .find(|joined| joined.port == first.port_id);
        found.map(|joined| texts(&joined.addresses))
    };
    let plan = cloud.plan(router).await.unwrap();
    assert_eq!(of(plan).unwrap(), ["2001:db8:1::1/64", "2001:db8:2::1/64"]);
    cloud.leave(router, subnets[0]).await.unwrap();
    let plan = cloud.plan(router).await.unwrap();
    assert_eq!(of(plan).unwrap(), ["2001:db8:2::1/64"]);
    cloud.leave(router, subnets[1]).await.unwrap();
    let plan = cloud.plan(router).await.unwrap();
    assert_eq!(of(plan), None);
}

#[tokio::test]
async fn routes_lead_to_stations_that_the_router_reaches() {
    let cloud = Cloud::open().await;
    let (router, _, subnet) = cloud.behind_a_router().await;
    let set = async |routes: Vec<Route>| {
        let change = RouterChange {
            routes: Some(routes),
            ..RouterChange::default()
        };
        cloud.update(router, change).await
    };
    for bad in [
        vec![route("10.9.0.0/16", "10.5.0.1")],
        vec![route("10.9.0.0/16", "10.0.0.1")],
        vec![
            route("10.9.0.0/16", "10.0.0.7"),
            route("10.9.0.0/16", "10.0.0.7"),
        ],
        vec![route("2001:db8::/64", "10.0.0.7")],
    ] {
        assert_eq!(refused(set(bad).await), "InvalidRoutes");
    }
    let many = (0..31).map(|n| route(&format!("10.{}.0.0/16", n + 100), "10.0.0.7"));
    assert_eq!(refused(set(many.collect()).await), "RoutesExhausted");
    set(vec![route("10.9.0.0/16", "10.0.0.7")]).await.unwrap();
    let more = vec![
        route("10.9.0.0/16", "10.0.0.7"),
        route("10.8.0.0/16", "203.0.113.9"),
    ];
    router_routes::add(&cloud.cx, &member(), router, more)
        .await
        .unwrap();
    let routes = cloud.plan(router).await.unwrap().routes;
    assert_eq!(routes.len(), 2);

    // What a route passes stays.
    assert_eq!(
        refused(cloud.leave(router, subnet).await),
        "RouterInterfaceInUseByRoute"
    );
    let gone = [
        route("10.9.0.0/16", "10.0.0.7"),
        route("10.1.0.0/16", "10.0.0.7"),
    ];
    router_routes::remove(&cloud.cx, &member(), router, &gone)
        .await
        .unwrap();
    let routes = cloud.plan(router).await.unwrap().routes;
    assert_eq!(
        routes,
        [("10.8.0.0/16".parse().unwrap(), ip("203.0.113.9"))]
    );
    cloud.leave(router, subnet).await.unwrap();
}

/// A port that the cloud plugged in has no port security: a guest with it could pretend to be any other.
#[tokio::test]
async fn a_routers_port_does_not_become_a_guests() {
    let cloud = Cloud::open().await;
    let (router, ..) = cloud.behind_a_router().await;
    let plan = cloud.plan(router).await.unwrap();
    let freed = PortChange {
        device_id: Some(String::new()),
        device_owner: Some(String::new()),
        ..PortChange::default()
    };
    let changed = port::update(&cloud.cx, &member(), plan.interfaces[0].port, freed).await;
    assert_eq!(refused(changed), "PortInUse");
}

#[tokio::test]
async fn only_the_cloud_makes_the_ports_that_it_makes_for_itself() {
    let cloud = Cloud::open().await;
    let (_, network, _) = cloud.behind_a_router().await;
    for owner in [
        "network:distributed",
        "network:floatingip",
        "network:router_gateway",
    ] {
        let forged = NewPort {
            device_owner: owner.to_owned(),
            ..NewPort::on(network)
        };
        let made = port::create(&cloud.cx, &member(), vec![forged]).await;
        let Err(Failure::Refused(refusal)) = made else {
            panic!("a port of {owner}: {made:?}");
        };
        assert_eq!(refusal.reason, Reason::Forbidden, "{owner}");
    }
}

/// The fabric takes no router's port without an address, and would take nothing of the whole change.
#[tokio::test]
async fn a_router_whose_port_has_no_address_is_planned_without_it() {
    let cloud = Cloud::open().await;
    let (router, ..) = cloud.behind_a_router().await;
    let plan = cloud.plan(router).await.unwrap();
    let bare = PortChange {
        addresses: Some(Vec::new()),
        ..PortChange::default()
    };
    let port = plan.interfaces[0].port;
    port::update(&cloud.cx, &member(), port, bare)
        .await
        .unwrap();
    assert!(cloud.plan(router).await.unwrap().interfaces.is_empty());
}
