//! A cloud with networks on a simulated fabric, and people of two projects who ask for things.

#![allow(dead_code)]

use corten_engine::{Clock, ManualClock, NoFaults, Place, Worker, WorkerConfig};
use corten_iam::actor::{Actor, Scope};
use corten_iam::policy::Policy;
use corten_model::ids::{DomainId, NetworkId, ProjectId, RequestId, SubnetId, UserId};
use corten_model::refusal::{Reason, Refusal};
use corten_model::time::Timestamp;
use corten_network::plan::{NetworkPlan, Plan, Unit};
use corten_operations::context::Hosts;
use corten_operations::network::network::{self, NewNetwork};
use corten_operations::network::port::{self, NewPort};
use corten_operations::network::subnet::{self, NewSubnet};
use corten_operations::{Context, Settings, workflows};
use corten_sim::SimFabric;
use corten_store::network::port::{Address, Port};
use corten_store::network::rbac_policy::RbacPolicy;
use corten_store::network::subnet::Subnet;
use corten_store::testing::{self, TestStore};
use corten_store::{Failure, Query, Record};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| Arc::new(Policy::shipped().unwrap()));

pub struct Cloud {
    pub cx: Arc<Context>,
    pub fabric: Arc<SimFabric>,
    store: TestStore,
    clock: Arc<ManualClock>,
    worker: Worker,
}

impl Cloud {
    pub async fn open() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(mut settings: Settings) -> Self {
        // No worker runs beside a call here: nobody is waited for.
        settings.network.patience_millis = 0;
        let store = testing::sqlite().await;
        let clock = Arc::new(ManualClock::starting_at(
            Timestamp::parse_iso8601("2026-01-01T00:00:00Z").unwrap(),
        ));
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
        let config = WorkerConfig::new("worker", vec![Place::Control.to_string()]);
        let worker = Worker::new(
            cx.store.clone(),
            Arc::new(workflows::registry(&cx)),
            clock.clone() as Arc<dyn Clock>,
            Arc::new(NoFaults),
            config,
        );
        Self {
            cx,
            fabric,
            store,
            clock,
            worker,
        }
    }

    /// Has the fabric told what changed.
    pub async fn settle(&self) {
        while self.worker.run_once().await.unwrap() > 0 {}
    }

    /// What the fabric holds of a network.
    pub async fn plan(&self, id: NetworkId) -> NetworkPlan {
        self.settle().await;
        match self.fabric.plans().remove(&Unit::Network(id)) {
            Some(Plan::Network(plan)) => plan,
            other => panic!("the fabric has {other:?} for network {id}"),
        }
    }

    pub async fn count<T: Record>(&self) -> i64 {
        let mut tx = self.store.read().await.unwrap();
        Query::<T>::new().count(&mut tx).await.unwrap()
    }

    pub async fn network(&self, actor: &Actor) -> NetworkId {
        self.network_of(actor, NewNetwork::default()).await
    }

    pub async fn network_of(&self, actor: &Actor, new: NewNetwork) -> NetworkId {
        let new = NewNetwork {
            enabled: true,
            port_security: true,
            ..new
        };
        let made = network::create(&self.cx, actor, vec![new]).await.unwrap();
        made[0].network.id
    }

    pub async fn subnet(&self, actor: &Actor, network: NetworkId, cidr: &str) -> Subnet {
        let new = new_subnet(network, cidr);
        let mut made = subnet::create(&self.cx, actor, vec![new]).await.unwrap();
        made.remove(0)
    }

    pub async fn port(&self, actor: &Actor, network: NetworkId) -> Port {
        self.port_of(actor, NewPort::on(network)).await
    }

    pub async fn port_of(&self, actor: &Actor, new: NewPort) -> Port {
        let mut made = port::create(&self.cx, actor, vec![new]).await.unwrap();
        made.remove(0)
    }

    /// How many rows there are of everything that a refused call could have left behind.
    pub async fn rows(&self) -> BTreeMap<&'static str, i64> {
        BTreeMap::from([
            ("subnets", self.count::<Subnet>().await),
            ("ports", self.count::<Port>().await),
            ("addresses", self.count::<Address>().await),
            ("rbac_policies", self.count::<RbacPolicy>().await),
        ])
    }
}

/// A subnet as it comes.
pub fn new_subnet(network_id: NetworkId, cidr: &str) -> NewSubnet {
    let cidr: ipnet::IpNet = cidr.parse().unwrap();
    NewSubnet {
        project_id: None,
        network_id,
        name: String::new(),
        description: String::new(),
        ip_version: if cidr.addr().is_ipv4() { 4 } else { 6 },
        cidr: Some(cidr),
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
        tags: std::collections::BTreeSet::new(),
    }
}

/// A wish for this address in this subnet.
pub fn wanted(subnet: SubnetId, address: &str) -> corten_operations::network::ipam::Wanted {
    corten_operations::network::ipam::Wanted {
        subnet_id: Some(subnet),
        ip_address: Some(address.parse().unwrap()),
    }
}

fn person(project: &str, roles: &[&str]) -> Actor {
    Actor {
        user_id: UserId::from(format!("user-of-{project}")),
        user_domain_id: DomainId::from("default"),
        scope: Scope::Project {
            id: ProjectId::from(project.to_owned()),
            domain_id: DomainId::from("default"),
        },
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        expires_at: Timestamp(i64::MAX),
        request_id: RequestId::random(),
    }
}

/// A member of a project.
pub fn member(project: &str) -> Actor {
    person(project, &["member", "reader"])
}

/// An administrator of the cloud.
pub fn admin() -> Actor {
    person("operators", &["admin", "member", "reader"])
}

/// What a call was refused with.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> Refusal {
    match outcome {
        Err(Failure::Refused(refusal)) => refusal,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// A call was refused for this reason, under Neutron's own name of it.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(
    outcome: Result<T, Failure>,
    reason: Reason,
    name: &'static str,
) {
    let refused = refusal(outcome);
    assert_eq!(
        (refused.reason, refused.name),
        (reason, Some(name)),
        "{}",
        refused.message
    );
}
