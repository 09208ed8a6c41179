//! The rules of flavors, key pairs, quotas, aggregates and server groups, with the shipped policies on a real store.
#![allow(clippy::unwrap_used, clippy::panic)]

use corten_engine::ManualClock;
use corten_iam::actor::{Actor, Scope};
use corten_iam::policy::Policy;
use corten_model::ids::{DomainId, FlavorId, HostId, ProjectId, RequestId, ServerGroupId, UserId};
use corten_model::refusal::{Reason, Refusal};
use corten_model::time::Timestamp;
use corten_operations::context::Hosts;
use corten_operations::flavor::{self, Listing, NewFlavor};
use corten_operations::host::{self, ServiceChange, ServiceRef};
use corten_operations::keypair::{self, NewKeyPair};
use corten_operations::{Context, Settings, aggregate, network, quota, server_group};
use corten_store::hosts::{CpuInfo, HostFacts, Resources};
use corten_store::identity::project::Project;
use corten_store::keypairs::KeyKind;
use corten_store::server_groups::GroupPolicy;
use corten_store::{Failure, record, services, testing};
use std::sync::Arc;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice@home";

/// A cloud with the projects `demo` and `other`.
struct Cloud {
    cx: Context,
    _store: testing::TestStore,
}

impl Cloud {
    async fn new() -> Self {
        let store = testing::sqlite().await;
        let cx = Context {
            store: (*store).clone(),
            policy: Arc::new(Policy::shipped().unwrap()),
            settings: Settings::default(),
            clock: Arc::new(ManualClock::starting_at(Timestamp(1_700_000_000_000_000))),
            hosts: Hosts::default(),
            fabric: Arc::new(corten_sim::SimFabric::default()),
            image_dir: std::env::temp_dir(),
            metal: corten_operations::metal::Metal::forgetful(None).unwrap(),
        };
        let mut tx = cx.store.write().await.unwrap();
        record::insert(&mut tx, &project("default", None))
            .await
            .unwrap();
        for name in ["demo", "other"] {
            record::insert(&mut tx, &project(name, Some("default")))
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        Self { cx, _store: store }
    }

    async fn add_host(&self, name: &str) -> HostId {
        let facts = HostFacts {
            capacity: Resources {
                vcpus: 4,
                memory_mib: 4096,
                disk_gib: 40,
            },
            cpu: CpuInfo::default(),
            address: "127.0.0.1".to_owned(),
            hypervisor_type: "fake".to_owned(),
            hypervisor_version: 1,
            booted_at: Timestamp(0),
        };
        host::register(&self.cx, HostId::random(), name, facts)
            .await
            .unwrap()
            .id
    }
}

fn project(name: &str, domain: Option<&str>) -> Project {
    Project {
        id: ProjectId::from(name),
        domain_id: domain.map(DomainId::from),
        parent_id: domain.map(ProjectId::from),
        is_domain: domain.is_none(),
        name: name.to_owned(),
        description: String::new(),
        enabled: true,
        tags: Vec::new(),
        immutable: None,
        extra: Default::default(),
        tokens_valid_after: Timestamp(0),
    }
}

fn actor(user: &str, project: &str, roles: &[&str]) -> Actor {
    Actor {
        user_id: UserId::from(user),
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
    actor("root", "demo", &["admin", "manager", "member", "reader"])
}

fn member(user: &str, project: &str) -> Actor {
    actor(user, project, &["member", "reader"])
}

fn refused<T: std::fmt::Debug>(result: Result<T, Failure>) -> Refusal {
    match result {
        Err(Failure::Refused(refusal)) => refusal,
        other => panic!("should have been refused: {other:?}"),
    }
}

fn new_flavor(id: &str, is_public: bool) -> NewFlavor {
    NewFlavor {
        id: Some(FlavorId::from(id)),
        name: format!("flavor {id}"),
        vcpus: 1,
        memory_mib: 64,
        disk_gib: 1,
        ephemeral_gib: 0,
        swap_mib: 0,
        rxtx_factor: 1.0,
        is_public,
        description: None,
    }
}

fn import(name: &str, user: Option<&str>) -> NewKeyPair {
    NewKeyPair {
        user_id: user.map(UserId::from),
        name: name.to_owned(),
        kind: KeyKind::Ssh,
        public_key: Some(KEY.to_owned()),
    }
}

#[tokio::test]
async fn only_its_creator_deletes_a_key_pair_not_even_an_administrator() {
    // K130
    let cloud = Cloud::new().await;
    let alice = member("alice", "demo");
    keypair::create(&cloud.cx, &alice, import("laptop", None))
        .await
        .unwrap();
    let of_alice = || Some(alice.user_id.clone());
    let refusal = refused(keypair::delete(&cloud.cx, &admin(), of_alice(), "laptop").await);
    assert_eq!(refusal.reason, Reason::Forbidden);
    // To another member it does not even exist.
    let refusal =
        refused(keypair::delete(&cloud.cx, &member("bob", "demo"), of_alice(), "laptop").await);
    assert_eq!(refusal.reason, Reason::NotFound);
    keypair::delete(&cloud.cx, &alice, None, "laptop")
        .await
        .unwrap();
    assert_eq!(
        refused(keypair::show(&cloud.cx, &alice, None, "laptop").await).reason,
        Reason::NotFound
    );
}

#[tokio::test]
async fn a_key_pair_an_administrator_made_for_a_user_can_go_by_either() {
    // K130: the administrator is its creator.
    let cloud = Cloud::new().await;
    keypair::create(&cloud.cx, &admin(), import("a", Some("alice")))
        .await
        .unwrap();
    keypair::create(&cloud.cx, &admin(), import("b", Some("alice")))
        .await
        .unwrap();
    keypair::delete(&cloud.cx, &admin(), Some(UserId::from("alice")), "a")
        .await
        .unwrap();
    keypair::delete(&cloud.cx, &member("alice", "demo"), None, "b")
        .await
        .unwrap();
    let refusal = refused(
        keypair::create(
            &cloud.cx,
            &member("bob", "demo"),
            import("c", Some("alice")),
        )
        .await,
    );
    assert_eq!(refusal.reason, Reason::Forbidden);
}

#[tokio::test]
async fn a_name_is_taken_once_and_a_made_key_is_shown_once() {
    // K73, K131, K132, K135
    let cloud = Cloud::new().await;
    let alice = member("alice", "demo");
    let made = NewKeyPair {
        public_key: None,
        ..import("laptop", None)
    };
    let created = keypair::create(&cloud.cx, &alice, made).await.unwrap();
    assert!(
        created
            .private_key
            .unwrap()
            .starts_with("-----BEGIN OPENSSH PRIVATE KEY-----")
    );
    let refusal = refused(keypair::create(&cloud.cx, &alice, import("laptop", None)).await);
    assert_eq!(refusal.reason, Reason::Conflict);
    // Another user's key pair may have the same name.
    keypair::create(&cloud.cx, &member("bob", "demo"), import("laptop", None))
        .await
        .unwrap();
    let kept = keypair::show(&cloud.cx, &alice, None, "laptop")
        .await
        .unwrap();
    assert_eq!(kept, created.key_pair);
    assert!(!serde_json::to_string(&kept).unwrap().contains("PRIVATE"));
}

#[tokio::test]
async fn key_pairs_have_a_quota() {
    let cloud = Cloud::new().await;
    let alice = member("alice", "demo");
    let limits = [("key_pairs".to_owned(), 1)].into();
    quota::set(
        &cloud.cx,
        &admin(),
        &ProjectId::from("demo"),
        None,
        limits,
        false,
    )
    .await
    .unwrap();
    keypair::create(&cloud.cx, &alice, import("a", None))
        .await
        .unwrap();
    let refusal = refused(keypair::create(&cloud.cx, &alice, import("b", None)).await);
    assert_eq!(refusal.reason, Reason::OverQuota);
    assert!(
        refusal
            .message
            .starts_with("Quota exceeded, too many key pairs")
    );
}

#[tokio::test]
async fn a_private_flavor_is_for_the_projects_that_were_granted_it() {
    let cloud = Cloud::new().await;
    let (cx, id) = (&cloud.cx, FlavorId::from("secret"));
    let (demo, other) = (member("alice", "demo"), member("bob", "other"));
    assert_eq!(
        refused(flavor::create(cx, &demo, new_flavor("x", true)).await).reason,
        Reason::Forbidden
    );
    flavor::create(cx, &admin(), new_flavor("secret", false))
        .await
        .unwrap();
    flavor::grant(cx, &admin(), &id, &ProjectId::from("other"), true)
        .await
        .unwrap();
    assert_eq!(
        refused(flavor::show(cx, &demo, &id).await).reason,
        Reason::NotFound
    );
    assert_eq!(flavor::show(cx, &other, &id).await.unwrap().id, id);
    assert!(
        flavor::list(cx, &demo, &Listing::default())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        flavor::list(cx, &other, &Listing::default())
            .await
            .unwrap()
            .len(),
        1
    );
    let again = flavor::grant(cx, &admin(), &id, &ProjectId::from("other"), true).await;
    assert_eq!(refused(again).reason, Reason::Conflict);
    let nobody = flavor::grant(cx, &admin(), &id, &ProjectId::from("nobody"), true).await;
    assert_eq!(refused(nobody).reason, Reason::Invalid);
    flavor::revoke(cx, &admin(), &id, &ProjectId::from("other"))
        .await
        .unwrap();
    assert_eq!(
        refused(flavor::show(cx, &other, &id).await).reason,
        Reason::NotFound
    );
}

#[tokio::test]
async fn names_and_ids_of_flavors_are_unique_and_the_first_ones_come_once() {
    let cloud = Cloud::new().await;
    let cx = &cloud.cx;
    flavor::seed(cx).await.unwrap();
    let first = flavor::list(cx, &admin(), &Listing::default())
        .await
        .unwrap();
    assert!(first.iter().any(|flavor| flavor.name == "m1.tiny"));
    for flavor in &first {
        flavor::delete(cx, &admin(), &flavor.id).await.unwrap();
    }
    flavor::seed(cx).await.unwrap();
    assert!(
        flavor::list(cx, &admin(), &Listing::default())
            .await
            .unwrap()
            .is_empty()
    );
    flavor::create(cx, &admin(), new_flavor("1", true))
        .await
        .unwrap();
    let same_name = NewFlavor {
        id: None,
        ..new_flavor("1", true)
    };
    assert!(
        refused(flavor::create(cx, &admin(), same_name).await)
            .message
            .contains("with name")
    );
    let same_id = NewFlavor {
        name: "n".to_owned(),
        ..new_flavor("1", true)
    };
    assert!(
        refused(flavor::create(cx, &admin(), same_id).await)
            .message
            .contains("with ID 1")
    );
}

#[tokio::test]
async fn a_quota_is_the_users_then_the_projects_then_the_class() {
    let cloud = Cloud::new().await;
    let (cx, demo, alice) = (&cloud.cx, ProjectId::from("demo"), UserId::from("alice"));
    let cores = |count: i64| [("cores".to_owned(), count)].into();
    let shown = async |user: Option<&UserId>| {
        quota::show(cx, &admin(), &demo, user).await.unwrap().limits["cores"]
    };
    assert_eq!(shown(None).await, 20);
    quota::set_class(cx, &admin(), quota::DEFAULT_CLASS, cores(30))
        .await
        .unwrap();
    assert_eq!(shown(None).await, 30);
    quota::set(cx, &admin(), &demo, None, cores(10), false)
        .await
        .unwrap();
    let too_much = quota::set(cx, &admin(), &demo, Some(&alice), cores(11), false).await;
    assert!(
        refused(too_much)
            .message
            .contains("less than or equal to 10")
    );
    quota::set(cx, &admin(), &demo, Some(&alice), cores(5), false)
        .await
        .unwrap();
    assert_eq!((shown(None).await, shown(Some(&alice)).await), (10, 5));
    quota::reset(cx, &admin(), &demo, None, true).await.unwrap();
    assert_eq!((shown(None).await, shown(Some(&alice)).await), (30, 30));
    let by_member = quota::set(cx, &member("alice", "demo"), &demo, None, cores(99), false).await;
    assert_eq!(refused(by_member).reason, Reason::Forbidden);
    let unknown = quota::set(
        cx,
        &admin(),
        &ProjectId::from("nobody"),
        None,
        cores(1),
        false,
    )
    .await;
    assert!(refused(unknown).message.contains("is not a valid project"));
}

/// What old clients of the compute API set of networks is the network's quota: one limit, in one place.
#[tokio::test]
async fn quotas_of_networks_are_kept_where_they_are_enforced() {
    let cloud = Cloud::new().await;
    let (cx, demo, alice) = (&cloud.cx, ProjectId::from("demo"), UserId::from("alice"));
    let limit = |name: &str, limit: i64| [(name.to_owned(), limit)].into();
    let of_network = async |resource: &str| {
        let limits = network::quota::show(cx, &admin(), &demo).await.unwrap();
        limits[resource]
    };
    let of_compute = async |name: &str| {
        let report = quota::show(cx, &admin(), &demo, None).await.unwrap();
        report.limits[name]
    };
    let set = async |name: &str, number: i64| {
        quota::set(cx, &admin(), &demo, None, limit(name, number), false).await
    };
    assert_eq!(set("floating_ips", 7).await.unwrap()["floating_ips"], 7);
    assert_eq!(of_network("floatingip").await, 7);
    let change = limit("security_group", 9);
    network::quota::update(cx, &admin(), &demo, change, false)
        .await
        .unwrap();
    assert_eq!(of_compute("security_groups").await, 9);
    let class = limit("security_group_rules", 33);
    quota::set_class(cx, &admin(), quota::DEFAULT_CLASS, class)
        .await
        .unwrap();
    assert_eq!(of_network("security_group_rule").await, 33);
    for name in ["floating_ips", "fixed_ips"] {
        let of_a_user = quota::set(cx, &admin(), &demo, Some(&alice), limit(name, 1), false).await;
        let refusal = refused(of_a_user);
        assert_eq!(refusal.reason, Reason::Invalid);
        assert!(refusal.message.contains(name), "{}", refusal.message);
    }
    // A client of today does not mean the network's.
    quota::reset(cx, &admin(), &demo, None, false)
        .await
        .unwrap();
    assert_eq!(of_network("floatingip").await, 7);
    quota::reset(cx, &admin(), &demo, None, true).await.unwrap();
    assert_eq!(of_network("floatingip").await, 50);
    assert_eq!(of_network("security_group_rule").await, 33);
}

#[tokio::test]
async fn server_groups_are_counted_and_hidden_from_other_projects() {
    let cloud = Cloud::new().await;
    let (cx, alice) = (&cloud.cx, member("alice", "demo"));
    let limits = [("server_groups".to_owned(), 1)].into();
    quota::set(cx, &admin(), &ProjectId::from("demo"), None, limits, false)
        .await
        .unwrap();
    let create = async |actor: &Actor| {
        server_group::create(
            cx,
            actor,
            "g".to_owned(),
            GroupPolicy::AntiAffinity,
            Some(2),
        )
        .await
    };
    let id: ServerGroupId = create(&alice).await.unwrap().group.id;
    assert_eq!(refused(create(&alice).await).reason, Reason::OverQuota);
    let bob = member("bob", "other");
    assert_eq!(
        refused(server_group::show(cx, &bob, id).await).reason,
        Reason::NotFound
    );
    assert_eq!(
        refused(server_group::delete(cx, &bob, id).await).reason,
        Reason::NotFound
    );
    assert_eq!(
        refused(create(&actor("eve", "demo", &["reader"])).await).reason,
        Reason::Forbidden
    );
    let rules =
        server_group::create(cx, &bob, "g".to_owned(), GroupPolicy::Affinity, Some(2)).await;
    assert!(refused(rules).message.contains("Only anti-affinity"));
    server_group::delete(cx, &alice, id).await.unwrap();
    create(&alice).await.unwrap();
}

#[tokio::test]
async fn a_host_is_in_one_zone() {
    let cloud = Cloud::new().await;
    let cx = &cloud.cx;
    cloud.add_host("h1").await;
    let zone = |name: &str| Some(name.to_owned());
    let east = aggregate::create(cx, &admin(), "a".to_owned(), zone("east"))
        .await
        .unwrap()
        .number;
    let west = aggregate::create(cx, &admin(), "b".to_owned(), zone("west"))
        .await
        .unwrap()
        .number;
    let plain = aggregate::create(cx, &admin(), "c".to_owned(), None)
        .await
        .unwrap()
        .number;
    aggregate::add_host(cx, &admin(), east, "h1").await.unwrap();
    aggregate::add_host(cx, &admin(), plain, "h1")
        .await
        .unwrap();
    assert_eq!(
        refused(aggregate::add_host(cx, &admin(), east, "h1").await).reason,
        Reason::Conflict
    );
    assert!(
        refused(aggregate::add_host(cx, &admin(), west, "h1").await)
            .message
            .contains("zone(s) east")
    );
    assert_eq!(
        refused(aggregate::add_host(cx, &admin(), west, "h2").await).reason,
        Reason::NotFound
    );
    let renamed = aggregate::update(cx, &admin(), plain, None, Some(zone("west"))).await;
    assert_eq!(refused(renamed).reason, Reason::Invalid);
    assert_eq!(
        refused(aggregate::delete(cx, &admin(), east).await).reason,
        Reason::Invalid
    );
    let zones = host::zones(cx, &member("alice", "demo")).await.unwrap();
    assert_eq!(zones.keys().collect::<Vec<_>>(), ["east"]);
    aggregate::remove_host(cx, &admin(), east, "h1")
        .await
        .unwrap();
    aggregate::delete(cx, &admin(), east).await.unwrap();
    let named_twice = aggregate::create(cx, &admin(), "b".to_owned(), None).await;
    assert_eq!(refused(named_twice).reason, Reason::Conflict);
}

#[tokio::test]
async fn a_host_keeps_its_numbers_and_its_being_disabled_when_its_agent_restarts() {
    let cloud = Cloud::new().await;
    let cx = &cloud.cx;
    let id = cloud.add_host("h1").await;
    let which = ServiceRef::Place {
        program: services::COMPUTE.to_owned(),
        host: "h1".to_owned(),
    };
    let off = ServiceChange {
        enabled: Some(false),
        disabled_reason: Some("disk".to_owned()),
        forced_down: None,
    };
    host::change_service(cx, &admin(), &which, off)
        .await
        .unwrap();
    let before = host::list(cx, &admin()).await.unwrap().remove(0);
    host::register(cx, id, "h1", before.host.facts.clone())
        .await
        .unwrap();
    let after = host::list(cx, &admin()).await.unwrap().remove(0);
    assert_eq!(
        (after.host.number, after.agent.service.number),
        (before.host.number, before.agent.service.number)
    );
    assert!(!after.agent.service.enabled && !after.is_usable(cx.now()));
    assert_eq!(
        refused(host::list(cx, &member("alice", "demo")).await).reason,
        Reason::Forbidden
    );
    host::delete_service(cx, &admin(), &which).await.unwrap();
    assert!(host::list(cx, &admin()).await.unwrap().is_empty());
}
