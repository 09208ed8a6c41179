//! Routers, floating IPs and port forwardings over a fabric in memory: what it holds after each change, what is refused,
//! and what the log says of public IPs.
#![allow(clippy::unwrap_used, clippy::panic)]

use corten_engine::{Clock, ManualClock, NoFaults, Place, Worker, WorkerConfig};
use corten_iam::actor::{Actor, Scope};
use corten_iam::policy::Policy;
use corten_model::ids::{
    DomainId, NetworkId, PortId, ProjectId, RequestId, RouterId, SubnetId, UserId,
};
use corten_model::refusal::Reason;
use corten_model::time::Timestamp;
use corten_network::plan::{Floating, Forward, ForwardProtocol, Plan, PortKind, RouterPlan, Unit};
use corten_operations::context::Hosts;
use corten_operations::network::floating_ip::{FloatingIpChange, NewFloatingIp};
use corten_operations::network::ipam::Wanted;
use corten_operations::network::network::NewNetwork;
use corten_operations::network::port::{NewPort, PortChange};
use corten_operations::network::port_forwarding::{NewPortForwarding, PortForwardingChange};
use corten_operations::network::router::{NewRouter, RouterChange};
use corten_operations::network::router_gateway::WantedGateway;
use corten_operations::network::router_interface::{self as interface, Asked};
use corten_operations::network::subnet::NewSubnet;
use corten_operations::network::{
    floating_ip, network, port, port_forwarding, router, router_routes, subnet,
};
use corten_operations::{Context, Settings, workflows};
use corten_sim::SimFabric;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::port::{FixedIp, Port};
use corten_store::network::subnet::{Ipv6Mode, Route};
use corten_store::testing::{self, TestStore};
use corten_store::{Failure, Query, record, transitions};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| Arc::new(Policy::shipped().unwrap()));

/// A cloud without hosts, with an external network.
struct Cloud {
    store: TestStore,
    cx: Arc<Context>,
    clock: Arc<ManualClock>,
    fabric: Arc<SimFabric>,
    worker: Worker,
    outside: NetworkId,
}

impl Cloud {
    async fn open() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(mut settings: Settings) -> Self {
        // The worker runs only when a test says so: nothing is to be waited for.
        settings.network.patience_millis = 0;
        let store = testing::sqlite().await;
        let start = Timestamp::parse_iso8601("2026-01-01T00:00:00Z").unwrap();
        let clock = Arc::new(ManualClock::starting_at(start));
        let fabric = Arc::new(SimFabric::default());
        let cx = Arc::new(Context {
            store: (*store).clone(),
            policy: POLICY.clone(),
            settings,
            clock: clock.clone(),
            hosts: Hosts::default(),
            fabric: fabric.clone(),
            image_dir: std::env::temp_dir(),
        });
        let worker = Worker::new(
            cx.store.clone(),
            Arc::new(workflows::registry(&cx)),
            clock.clone() as Arc<dyn Clock>,
            Arc::new(NoFaults),
            WorkerConfig::new("worker", vec![Place::Control.to_string()]),
        );
        let mut cloud = Self {
            store,
            cx,
            clock,
            fabric,
            worker,
            outside: NetworkId::random(),
        };
        cloud.outside = cloud.outside_network("203.0.113.0/24").await;
        cloud
    }

    async fn outside_network(&self, cidr: &str) -> NetworkId {
        let new = NewNetwork {
            enabled: true,
            external: true,
            ..NewNetwork::default()
        };
        let made = network::create(&self.cx, &admin(), vec![new])
            .await
            .unwrap();
        let id = made[0].network.id;
        let mut new = new_subnet(id, cidr);
        new.dhcp = false;
        subnet::create(&self.cx, &admin(), vec![new]).await.unwrap();
        id
    }

    /// A network of the project with one subnet.
    async fn inside(&self, cidr: &str) -> (NetworkId, SubnetId) {
        let new = NewNetwork {
            enabled: true,
            port_security: true,
            ..NewNetwork::default()
        };
        let made = network::create(&self.cx, &member(), vec![new])
            .await
            .unwrap();
        let id = made[0].network.id;
        (id, self.subnet(new_subnet(id, cidr)).await)
    }

    async fn subnet(&self, new: NewSubnet) -> SubnetId {
        subnet::create(&self.cx, &member(), vec![new])
            .await
            .unwrap()[0]
            .id
    }

    async fn port(&self, network: NetworkId) -> Port {
        let new = vec![NewPort::on(network)];
        port::create(&self.cx, &member(), new)
            .await
            .unwrap()
            .remove(0)
    }

    async fn router(&self, gateway: Option<NetworkId>) -> RouterId {
        let new = NewRouter {
            enabled: true,
            gateway: gateway.map(leading_to),
            ..NewRouter::default()
        };
        let made = router::create(&self.cx, &member(), vec![new])
            .await
            .unwrap();
        made[0].router.id
    }

    async fn join(&self, router: RouterId, subnet: SubnetId) -> interface::Interface {
        interface::add(&self.cx, &member(), router, by_subnet(subnet))
            .await
            .unwrap()
    }

    async fn leave(
        &self,
        router: RouterId,
        subnet: SubnetId,
    ) -> Result<interface::Interface, Failure> {
        interface::remove(&self.cx, &member(), router, by_subnet(subnet)).await
    }

    async fn update(
        &self,
        router: RouterId,
        change: RouterChange,
    ) -> Result<router::Shown, Failure> {
        router::update(&self.cx, &member(), router, change).await
    }

    async fn floating(&self) -> FloatingIp {
        let new = vec![new_floating(self.outside)];
        let made = floating_ip::create(&self.cx, &own_admin(), new)
            .await
            .unwrap();
        made[0].floating.clone()
    }

    async fn lead(
        &self,
        floating: &FloatingIp,
        port: Option<PortId>,
    ) -> Result<floating_ip::Shown, Failure> {
        let change = FloatingIpChange {
            port_id: Some(port),
            ..FloatingIpChange::default()
        };
        floating_ip::update(&self.cx, &own_admin(), floating.id, change).await
    }

    /// A router that leads outside, and a subnet behind it.
    async fn behind_a_router(&self) -> (RouterId, NetworkId, SubnetId) {
        let (network, subnet) = self.inside("10.0.0.0/24").await;
        let router = self.router(Some(self.outside)).await;
        self.join(router, subnet).await;
        (router, network, subnet)
    }

    /// Has the fabric told all that changed, and looks at what it holds of a router.
    async fn plan(&self, id: RouterId) -> Option<RouterPlan> {
        while self.worker.run_once().await.unwrap() > 0 {}
        match self.fabric.plans().remove(&Unit::Router(id)) {
            Some(Plan::Router(plan)) => Some(plan),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    /// The ports of routers that the fabric holds on a network.
    async fn router_ports(&self, network: NetworkId) -> BTreeSet<PortId> {
        while self.worker.run_once().await.unwrap() > 0 {}
        let Some(Plan::Network(plan)) = self.fabric.plans().remove(&Unit::Network(network)) else {
            panic!("the fabric does not have the network");
        };
        let routers = plan
            .ports
            .iter()
            .filter(|port| matches!(port.kind, PortKind::Router { .. }));
        routers.map(|port| port.id).collect()
    }

    /// The lines of the log about a floating IP: state, and for how many seconds it was in the one before.
    async fn log_of(&self, floating: &FloatingIp) -> Vec<(String, i64)> {
        let mut tx = self.store.read().await.unwrap();
        let id = floating.id.to_string();
        let log = transitions::of_subject(&mut tx, "floating_ip", &id);
        let log = log.await.unwrap();
        assert!(
            log.iter()
                .all(|line| line.project_id == Some(ProjectId::from("p")))
        );
        log.into_iter()
            .map(|line| (line.to, line.lasted_micros / 1_000_000))
            .collect()
    }
}

fn actor(project: &str, roles: &[&str]) -> Actor {
    Actor {
        user_id: UserId::from("u"),
        user_domain_id: DomainId::from("default"),
        scope: Scope::Project {
            id: ProjectId::from(project),
            domain_id: DomainId::from("default"),
        },
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        expires_at: Timestamp(i64::MAX),
        request_id: RequestId::random(),
    }
}

fn admin() -> Actor {
    actor("operators", &["admin", "manager", "member", "reader"])
}

/// The administrator of the project.
fn own_admin() -> Actor {
    actor("p", &["admin", "member", "reader"])
}

fn member() -> Actor {
    actor("p", &["member", "reader"])
}

fn stranger() -> Actor {
    actor("q", &["manager", "member", "reader"])
}

fn leading_to(network: NetworkId) -> WantedGateway {
    WantedGateway {
        network_id: network,
        snat: None,
        addresses: None,
    }
}

fn by_subnet(id: SubnetId) -> Asked {
    Asked {
        subnet_id: Some(id),
        port_id: None,
    }
}

fn by_port(id: PortId) -> Asked {
    Asked {
        subnet_id: None,
        port_id: Some(id),
    }
}

fn new_subnet(network: NetworkId, cidr: &str) -> NewSubnet {
    let cidr: ipnet::IpNet = cidr.parse().unwrap();
    NewSubnet {
        project_id: None,
        network_id: network,
        name: String::new(),
        description: String::new(),
        ip_version: if cidr.addr().is_ipv4() { 4 } else { 6 },
        cidr: Some(cidr),
        subnet_pool_id: None,
        use_default_pool: false,
        prefix_len: None,
        gateway: None,
        dhcp: true,
        pools: None,
        dns_servers: Vec::new(),
        host_routes: Vec::new(),
        ipv6_ra_mode: None,
        ipv6_address_mode: None,
        service_types: Vec::new(),
        dns_publish_fixed_ip: false,
        tags: BTreeSet::new(),
    }
}

fn new_floating(network: NetworkId) -> NewFloatingIp {
    NewFloatingIp {
        project_id: None,
        description: String::new(),
        network_id: network,
        subnet_id: None,
        address: None,
        port_id: None,
        fixed_address: None,
        tags: BTreeSet::new(),
    }
}

fn new_forwarding(port: PortId, external: u16, internal: u16) -> NewPortForwarding {
    NewPortForwarding {
        description: String::new(),
        protocol: "tcp".to_owned(),
        external_port: external,
        internal_port: internal,
        port_id: port,
        internal_address: None,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(destination: &str, nexthop: &str) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        nexthop: ip(nexthop),
    }
}

fn texts<T: ToString>(things: &[T]) -> Vec<String> {
    things.iter().map(ToString::to_string).collect()
}

/// Neutron's name of the rule that was broken.
fn refused<T: Debug>(result: Result<T, Failure>) -> &'static str {
    match result {
        Err(Failure::Refused(refusal)) => refusal.name.unwrap_or("HTTPForbidden"),
        other => panic!("not refused: {other:?}"),
    }
}

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
    let made = port::create(&cloud.cx, &stranger(), vec![forged]).await;
    assert_eq!(refused(made), "DeviceIDNotOwnedByTenant");
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

#[tokio::test]
async fn a_floating_ip_leads_to_one_guest_and_moves_to_another() {
    let cloud = Cloud::open().await;
    let (router, network, subnet) = cloud.behind_a_router().await;
    let (first, second) = (cloud.port(network).await, cloud.port(network).await);
    let floating = cloud.floating().await;
    assert_eq!(cloud.plan(router).await.unwrap().floating, []);
    for port in [&first, &second] {
        let shown = cloud.lead(&floating, Some(port.id)).await.unwrap();
        assert_eq!(shown.floating.target.unwrap().router_id, router);
        let plan = cloud.plan(router).await.unwrap();
        let wanted = Floating {
            external: floating.address,
            internal: port.addresses[0].ip_address,
            port: None,
        };
        assert_eq!(plan.floating, [wanted]);
    }
    // Its own port is no station of the external network.
    assert_eq!(cloud.router_ports(cloud.outside).await.len(), 1);

    let another = cloud.floating().await;
    let twice = cloud.lead(&another, Some(second.id)).await;
    assert_eq!(refused(twice), "FloatingIPPortAlreadyAssociated");
    assert_eq!(
        refused(cloud.leave(router, subnet).await),
        "RouterInterfaceInUseByFloatingIP"
    );
    let no_gateway = RouterChange {
        gateway: Some(None),
        ..RouterChange::default()
    };
    let cleared = cloud.update(router, no_gateway).await;
    assert_eq!(refused(cleared), "RouterExternalGatewayInUseByFloatingIp");
    let held = port::delete(&cloud.cx, &admin(), floating.holder_id).await;
    assert_eq!(refused(held), "ServicePortInUse");

    cloud.lead(&floating, None).await.unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().floating, []);
}

#[tokio::test]
async fn a_floating_ip_without_a_way_leads_nowhere() {
    let cloud = Cloud::open().await;
    let (network, subnet) = cloud.inside("10.0.0.0/24").await;
    let port = cloud.port(network).await;
    let floating = cloud.floating().await;
    let lead = async || refused(cloud.lead(&floating, Some(port.id)).await);
    assert_eq!(lead().await, "ExternalGatewayForFloatingIPNotFound");
    let router = cloud.router(None).await;
    cloud.join(router, subnet).await;
    assert_eq!(lead().await, "ExternalGatewayForFloatingIPNotFound");
    let new = NewFloatingIp {
        port_id: Some(port.id),
        ..new_floating(cloud.outside)
    };
    let made = floating_ip::create(&cloud.cx, &own_admin(), vec![new]).await;
    assert_eq!(refused(made), "ExternalGatewayForFloatingIPNotFound");
    let made = floating_ip::create(&cloud.cx, &own_admin(), vec![new_floating(network)]).await;
    assert_eq!(refused(made), "BadRequest");
    let new = NewFloatingIp {
        fixed_address: Some(ip("10.0.0.9")),
        ..new_floating(cloud.outside)
    };
    let made = floating_ip::create(&cloud.cx, &own_admin(), vec![new]).await;
    assert_eq!(refused(made), "BadRequest");
    // Nothing of what was refused holds an address.
    let mut tx = cloud.store.read().await.unwrap();
    let held: Vec<FloatingIp> = Query::new().all(&mut tx).await.unwrap();
    assert_eq!(held.len(), 1);
    let ports = Query::<Port>::new().equals("device_owner", "network:floatingip");
    assert_eq!(ports.count(&mut tx).await.unwrap(), 1);
}

#[tokio::test]
async fn an_external_network_runs_out_of_addresses() {
    let cloud = Cloud::open().await;
    let small = cloud.outside_network("198.51.100.0/30").await;
    let take = async || {
        let new = vec![new_floating(small)];
        floating_ip::create(&cloud.cx, &own_admin(), new).await
    };
    let only = take().await.unwrap().remove(0).floating;
    assert_eq!(refused(take().await), "ExternalIpAddressExhausted");
    floating_ip::delete(&cloud.cx, &own_admin(), only.id)
        .await
        .unwrap();
    assert_eq!(take().await.unwrap()[0].floating.address, only.address);
}

/// K70, K117: only a project's administrator sets public IPs, unless the operator lets members; none names an address
/// that was not given.
#[tokio::test]
async fn who_sets_public_ips_is_the_operators_choice() {
    let cloud = Cloud::open().await;
    let floating = cloud.floating().await;
    let ask = async |actor: &Actor| {
        let new = vec![new_floating(cloud.outside)];
        floating_ip::create(&cloud.cx, actor, new).await
    };
    refused(ask(&member()).await);
    let change = FloatingIpChange::default();
    refused(floating_ip::update(&cloud.cx, &member(), floating.id, change).await);
    refused(floating_ip::delete(&cloud.cx, &member(), floating.id).await);
    assert_eq!(
        floating_ip::show(&cloud.cx, &member(), floating.id)
            .await
            .unwrap()
            .floating,
        floating
    );
    let unseen = floating_ip::delete(&cloud.cx, &stranger(), floating.id).await;
    assert_eq!(refused(unseen), "FloatingIPNotFound");
    let named = NewFloatingIp {
        address: Some(ip("203.0.113.77")),
        ..new_floating(cloud.outside)
    };
    let named = floating_ip::create(&cloud.cx, &admin(), vec![named])
        .await
        .unwrap();
    assert_eq!(named[0].floating.address, ip("203.0.113.77"));

    let mut settings = Settings::default();
    settings.network.members_set_public_ips = true;
    let cloud = Cloud::with(settings).await;
    let new = vec![new_floating(cloud.outside)];
    let made = floating_ip::create(&cloud.cx, &member(), new)
        .await
        .unwrap();
    let reader = actor("p", &["reader"]);
    refused(floating_ip::delete(&cloud.cx, &reader, made[0].floating.id).await);
    floating_ip::delete(&cloud.cx, &member(), made[0].floating.id)
        .await
        .unwrap();
}

/// K144: it costs while it is held, whether it leads anywhere or not; the bill is a fold of the log.
#[tokio::test]
async fn the_log_says_how_long_a_public_ip_was_held() {
    let cloud = Cloud::open().await;
    let floating = cloud.floating().await;
    assert_eq!(cloud.log_of(&floating).await, [("Held".to_owned(), 0)]);
    cloud.clock.advance(Duration::from_secs(3600));
    floating_ip::delete(&cloud.cx, &own_admin(), floating.id)
        .await
        .unwrap();
    let wanted = [("Held".to_owned(), 0), ("Released".to_owned(), 3600)];
    assert_eq!(cloud.log_of(&floating).await, wanted);
}

/// K69: when the port that they lead to goes, an ephemeral public IP is released, and a static one stays.
#[tokio::test]
async fn a_port_takes_its_ephemeral_public_ip_along() {
    let cloud = Cloud::open().await;
    let (router, network, _) = cloud.behind_a_router().await;
    let (first, second) = (cloud.port(network).await, cloud.port(network).await);
    let (stays, goes) = (cloud.floating().await, cloud.floating().await);
    cloud.lead(&stays, Some(first.id)).await.unwrap();
    cloud.lead(&goes, Some(second.id)).await.unwrap();
    let mut tx = cloud.store.write().await.unwrap();
    let mut row: FloatingIp = record::lock(&mut tx, goes.id).await.unwrap().unwrap();
    row.ephemeral = true;
    record::update(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().floating.len(), 2);

    for port in [first, second] {
        port::delete(&cloud.cx, &member(), port.id).await.unwrap();
    }
    assert_eq!(cloud.plan(router).await.unwrap().floating, []);
    let shown = floating_ip::show(&cloud.cx, &own_admin(), stays.id)
        .await
        .unwrap();
    assert_eq!(shown.floating.target, None);
    assert_eq!(cloud.log_of(&stays).await.len(), 1);
    let gone = floating_ip::show(&cloud.cx, &own_admin(), goes.id).await;
    assert_eq!(refused(gone), "FloatingIPNotFound");
    assert_eq!(cloud.log_of(&goes).await.last().unwrap().0, "Released");
    let holder = port::show(&cloud.cx, &admin(), goes.holder_id).await;
    assert_eq!(refused(holder), "PortNotFound");
}

#[tokio::test]
async fn what_leads_to_an_address_ends_with_it() {
    let cloud = Cloud::open().await;
    let (router, network, subnet) = cloud.behind_a_router().await;
    let port = cloud.port(network).await;
    let floating = cloud.floating().await;
    cloud.lead(&floating, Some(port.id)).await.unwrap();
    let elsewhere = Wanted {
        subnet_id: Some(subnet),
        ip_address: Some(ip("10.0.0.99")),
    };
    let change = PortChange {
        addresses: Some(vec![elsewhere]),
        ..PortChange::default()
    };
    let moved = port::update(&cloud.cx, &member(), port.id, change)
        .await
        .unwrap();
    let wanted = FixedIp {
        subnet_id: subnet,
        ip_address: ip("10.0.0.99"),
    };
    assert_eq!(moved.addresses, [wanted]);
    assert_eq!(cloud.plan(router).await.unwrap().floating, []);
}

#[tokio::test]
async fn ports_of_a_floating_ip_lead_to_ports_of_guests() {
    let cloud = Cloud::open().await;
    let (router, network, subnet) = cloud.behind_a_router().await;
    let (first, second) = (cloud.port(network).await, cloud.port(network).await);
    let floating = cloud.floating().await;
    let forward =
        async |new| port_forwarding::create(&cloud.cx, &own_admin(), floating.id, new).await;
    let made = forward(new_forwarding(first.id, 2222, 22)).await.unwrap();
    let wanted = Forward {
        external: floating.address,
        external_port: 2222,
        protocol: ForwardProtocol::Tcp,
        internal: first.addresses[0].ip_address,
        internal_port: 22,
    };
    assert_eq!(cloud.plan(router).await.unwrap().forwards, [wanted]);

    // One outside port leads to one place, and one place has one outside port.
    assert_eq!(
        refused(forward(new_forwarding(second.id, 2222, 80)).await),
        "BadRequest"
    );
    assert_eq!(
        refused(forward(new_forwarding(first.id, 2223, 22)).await),
        "BadRequest"
    );
    let other = NewPortForwarding {
        internal_address: Some(ip("10.0.0.200")),
        ..new_forwarding(second.id, 8080, 80)
    };
    assert_eq!(refused(forward(other).await), "BadRequest");
    let whole = cloud.lead(&floating, Some(second.id)).await;
    assert_eq!(refused(whole), "FipInUseByPortForwarding");
    let another = cloud.floating().await;
    let to_forwarded = cloud.lead(&another, Some(first.id)).await;
    assert_eq!(refused(to_forwarded), "PortHasPortForwarding");
    cloud.lead(&another, Some(second.id)).await.unwrap();
    let of_bound = forward(new_forwarding(second.id, 8080, 80)).await;
    assert_eq!(refused(of_bound), "PortHasBindingFloatingIP");
    let new = new_forwarding(first.id, 8080, 80);
    let on_bound = port_forwarding::create(&cloud.cx, &own_admin(), another.id, new).await;
    assert_eq!(refused(on_bound), "FloatingIPPortAlreadyAssociated");
    let released = floating_ip::delete(&cloud.cx, &own_admin(), floating.id).await;
    assert_eq!(refused(released), "FipInUseByPortForwarding");
    cloud.lead(&another, None).await.unwrap();
    assert_eq!(
        refused(cloud.leave(router, subnet).await),
        "RouterInterfaceInUseByFloatingIP"
    );

    let change = PortForwardingChange {
        external_port: Some(8022),
        ..PortForwardingChange::default()
    };
    port_forwarding::update(&cloud.cx, &own_admin(), floating.id, made.id, change)
        .await
        .unwrap();
    let wanted = Forward {
        external_port: 8022,
        ..wanted
    };
    assert_eq!(cloud.plan(router).await.unwrap().forwards, [wanted]);
    let change = PortForwardingChange::default();
    let wrong = port_forwarding::update(&cloud.cx, &own_admin(), another.id, made.id, change).await;
    assert_eq!(refused(wrong), "PortForwardingNotFound");

    port_forwarding::delete(&cloud.cx, &own_admin(), floating.id, made.id)
        .await
        .unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().forwards, []);
    floating_ip::delete(&cloud.cx, &own_admin(), floating.id)
        .await
        .unwrap();
}

#[tokio::test]
async fn forwardings_end_with_the_port_that_they_lead_to() {
    let cloud = Cloud::open().await;
    let (router, network, _) = cloud.behind_a_router().await;
    let port = cloud.port(network).await;
    let floating = cloud.floating().await;
    let new = new_forwarding(port.id, 2222, 22);
    port_forwarding::create(&cloud.cx, &own_admin(), floating.id, new)
        .await
        .unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().forwards.len(), 1);
    port::delete(&cloud.cx, &member(), port.id).await.unwrap();
    assert_eq!(cloud.plan(router).await.unwrap().forwards, []);
    let left = port_forwarding::list(&cloud.cx, &own_admin(), floating.id)
        .await
        .unwrap();
    assert_eq!(left, []);
}
