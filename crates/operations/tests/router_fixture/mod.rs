//! A cloud without hosts, over a fabric in memory, for the tests of routers and of floating IPs.
//!
//! Each test file uses a part of what is here.
#![allow(dead_code)]

use corten_engine::{Clock, ManualClock, NoFaults, Place, Worker, WorkerConfig};
use corten_iam::actor::{Actor, Scope};
use corten_iam::policy::Policy;
use corten_model::ids::{
    DomainId, NetworkId, PortId, ProjectId, RequestId, RouterId, SubnetId, UserId,
};
use corten_model::time::Timestamp;
use corten_network::plan::{Plan, PortKind, RouterPlan, Unit};
use corten_operations::context::Hosts;
use corten_operations::network::floating_ip::{FloatingIpChange, NewFloatingIp};
use corten_operations::network::network::NewNetwork;
use corten_operations::network::port::NewPort;
use corten_operations::network::port_forwarding::NewPortForwarding;
use corten_operations::network::router::{NewRouter, RouterChange};
use corten_operations::network::router_gateway::WantedGateway;
use corten_operations::network::router_interface as interface;
use corten_operations::network::router_interface::Asked;
use corten_operations::network::subnet::NewSubnet;
use corten_operations::network::{floating_ip, network, port, router, subnet};
use corten_operations::{Context, Settings, workflows};
use corten_sim::SimFabric;
use corten_store::network::floating_ip::FloatingIp;
use corten_store::network::port::Port;
use corten_store::network::subnet::Route;
use corten_store::testing::TestStore;
use corten_store::{Failure, testing, transitions};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| Arc::new(Policy::shipped().unwrap()));

/// A cloud without hosts, with an external network.
pub struct Cloud {
    pub store: TestStore,
    pub cx: Arc<Context>,
    pub clock: Arc<ManualClock>,
    pub fabric: Arc<SimFabric>,
    pub worker: Worker,
    pub outside: NetworkId,
}

impl Cloud {
    pub async fn open() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(mut settings: Settings) -> Self {
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
            metal: corten_operations::metal::Metal::forgetful(None).unwrap(),
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

    pub async fn outside_network(&self, cidr: &str) -> NetworkId {
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
    pub async fn inside(&self, cidr: &str) -> (NetworkId, SubnetId) {
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

    pub async fn subnet(&self, new: NewSubnet) -> SubnetId {
        subnet::create(&self.cx, &member(), vec![new])
            .await
            .unwrap()[0]
            .id
    }

    pub async fn port(&self, network: NetworkId) -> Port {
        let new = vec![NewPort::on(network)];
        port::create(&self.cx, &member(), new)
            .await
            .unwrap()
            .remove(0)
    }

    pub async fn router(&self, gateway: Option<NetworkId>) -> RouterId {
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

    pub async fn join(&self, router: RouterId, subnet: SubnetId) -> interface::Interface {
        interface::add(&self.cx, &member(), router, by_subnet(subnet))
            .await
            .unwrap()
    }

    pub async fn leave(
        &self,
        router: RouterId,
        subnet: SubnetId,
    ) -> Result<interface::Interface, Failure> {
        interface::remove(&self.cx, &member(), router, by_subnet(subnet)).await
    }

    pub async fn update(
        &self,
        router: RouterId,
        change: RouterChange,
    ) -> Result<router::Shown, Failure> {
        router::update(&self.cx, &member(), router, change).await
    }

    pub async fn floating(&self) -> FloatingIp {
        let new = vec![new_floating(self.outside)];
        let made = floating_ip::create(&self.cx, &own_admin(), new)
            .await
            .unwrap();
        made[0].floating.clone()
    }

    pub async fn lead(
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
    pub async fn behind_a_router(&self) -> (RouterId, NetworkId, SubnetId) {
        let (network, subnet) = self.inside("10.0.0.0/24").await;
        let router = self.router(Some(self.outside)).await;
        self.join(router, subnet).await;
        (router, network, subnet)
    }

    /// Has the fabric told all that changed, and looks at what it holds of a router.
    pub async fn plan(&self, id: RouterId) -> Option<RouterPlan> {
        while self.worker.run_once().await.unwrap() > 0 {}
        match self.fabric.plans().remove(&Unit::Router(id)) {
            Some(Plan::Router(plan)) => Some(plan),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    }

    /// The ports of routers that the fabric holds on a network.
    pub async fn router_ports(&self, network: NetworkId) -> BTreeSet<PortId> {
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
    pub async fn log_of(&self, floating: &FloatingIp) -> Vec<(String, i64)> {
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

pub fn actor(project: &str, roles: &[&str]) -> Actor {
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

pub fn admin() -> Actor {
    actor("operators", &["admin", "manager", "member", "reader"])
}

/// The administrator of the project.
pub fn own_admin() -> Actor {
    actor("p", &["admin", "member", "reader"])
}

pub fn member() -> Actor {
    actor("p", &["member", "reader"])
}

pub fn stranger() -> Actor {
    actor("q", &["manager", "member", "reader"])
}

pub fn leading_to(network: NetworkId) -> WantedGateway {
    WantedGateway {
        network_id: network,
        snat: None,
        addresses: None,
    }
}

pub fn by_subnet(id: SubnetId) -> Asked {
    Asked {
        subnet_id: Some(id),
        port_id: None,
    }
}

pub fn by_port(id: PortId) -> Asked {
    Asked {
        subnet_id: None,
        port_id: Some(id),
    }
}

pub fn new_subnet(network: NetworkId, cidr: &str) -> NewSubnet {
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

pub fn new_floating(network: NetworkId) -> NewFloatingIp {
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

pub fn new_forwarding(port: PortId, external: u16, internal: u16) -> NewPortForwarding {
    NewPortForwarding {
        description: String::new(),
        protocol: "tcp".to_owned(),
        external_port: external,
        internal_port: internal,
        port_id: port,
        internal_address: None,
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn route(destination: &str, nexthop: &str) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        nexthop: ip(nexthop),
    }
}

pub fn texts<T: ToString>(things: &[T]) -> Vec<String> {
    things.iter().map(ToString::to_string).collect()
}

/// Neutron's name of the rule that was broken.
pub fn refused<T: Debug>(result: Result<T, Failure>) -> &'static str {
    match result {
        Err(Failure::Refused(refusal)) => refusal.name.unwrap_or("HTTPForbidden"),
        other => panic!("not refused: {other:?}"),
    }
}
