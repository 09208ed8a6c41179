//! What projects lend each other: RBAC policies, subnet pools, address scopes, address groups and QoS policies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod network_fixture;

use corten_iam::actor::Actor;
use corten_model::ids::{NetworkId, SubnetPoolId};
use corten_model::refusal::Reason;
use corten_network::plan::{Bandwidth, Direction, Plan, Unit};
use corten_operations::Settings;
use corten_operations::network::address_group::{self, NewAddressGroup};
use corten_operations::network::address_scope::{self, NewAddressScope};
use corten_operations::network::network::{self, NetworkChange, NewNetwork};
use corten_operations::network::port::{self, NewPort, PortChange};
use corten_operations::network::qos_policy::{self, LimitChange, NewQosPolicy, QosPolicyChange};
use corten_operations::network::rbac_policy::{self, EXTERNAL, NewRbacPolicy, SHARED};
use corten_operations::network::security_group_rule::{self, NewRule};
use corten_operations::network::subnet::{self, NewSubnet};
use corten_operations::network::subnet_pool::{self, NewSubnetPool, SubnetPoolChange};
use corten_operations::network::subnet_pool_check::Lengths;
use corten_operations::network::{Narrow, quota};
use corten_store::network::security_group::{self, Ethertype};
use ipnet::IpNet;
use network_fixture::{Cloud, admin, assert_refused, member, new_subnet};
use std::collections::{BTreeMap, BTreeSet};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn new_pool(prefixes: &[&str]) -> NewSubnetPool {
    NewSubnetPool {
        project_id: None,
        name: "pool".to_owned(),
        description: String::new(),
        shared: false,
        is_default: false,
        prefixes: nets(prefixes),
        lengths: Lengths {
            default: Some(24),
            ..Lengths::default()
        },
        default_quota: None,
        address_scope_id: None,
        tags: BTreeSet::new(),
    }
}

async fn pool(cloud: &Cloud, actor: &Actor, new: NewSubnetPool) -> SubnetPoolId {
    let made = subnet_pool::create(&cloud.cx, actor, vec![new]).await;
    made.unwrap()[0].resource.id
}

fn from_pool(network: NetworkId, pool: SubnetPoolId) -> NewSubnet {
    NewSubnet {
        cidr: None,
        subnet_pool_id: Some(pool),
        ..new_subnet(network, "0.0.0.0/0")
    }
}

fn grant(object_type: &str, object: impl ToString, target: &str, action: &str) -> NewRbacPolicy {
    NewRbacPolicy {
        project_id: None,
        object_type: object_type.to_owned(),
        object_id: object.to_string(),
        target: target.to_owned(),
        action: action.to_owned(),
    }
}

#[tokio::test]
async fn a_network_is_lent_and_taken_back_when_nobody_uses_it() {
    let cloud = Cloud::open().await;
    let (cx, ann, bob) = (&cloud.cx, member("ann"), member("bob"));
    let network = cloud.network(&ann).await;
    cloud.subnet(&ann, network, "10.0.0.0/24").await;
    let unseen = port::create(cx, &bob, vec![NewPort::on(network)]).await;
    assert_refused(unseen, Reason::NotFound, "NetworkNotFound");

    let to_bob = grant("network", network, "bob", SHARED);
    let policy = rbac_policy::create(cx, &ann, to_bob.clone()).await.unwrap();
    assert_refused(
        rbac_policy::create(cx, &ann, to_bob).await,
        Reason::Conflict,
        "DuplicateRbacPolicy",
    );
    assert!(network::show(cx, &bob, network).await.unwrap().shared);
    assert!(!network::show(cx, &ann, network).await.unwrap().shared);
    let port = cloud.port(&bob, network).await;
    assert_refused(
        rbac_policy::delete(cx, &ann, policy.id).await,
        Reason::Conflict,
        "RbacPolicyInUse",
    );
    let to_eve = Some("eve".to_owned());
    assert_refused(
        rbac_policy::update(cx, &ann, policy.id, to_eve.clone()).await,
        Reason::Conflict,
        "RbacPolicyInUse",
    );
    assert_refused(
        rbac_policy::delete(cx, &bob, policy.id).await,
        Reason::NotFound,
        "RbacPolicyNotFound",
    );
    port::delete(cx, &bob, port.id).await.unwrap();
    let moved = rbac_policy::update(cx, &ann, policy.id, to_eve)
        .await
        .unwrap();
    assert_eq!(moved.target, "eve");
    assert!(network::show(cx, &bob, network).await.is_err());
    assert!(network::show(cx, &member("eve"), network).await.is_ok());
    rbac_policy::delete(cx, &ann, policy.id).await.unwrap();
    assert!(network::show(cx, &member("eve"), network).await.is_err());
}

#[tokio::test]
async fn only_administrators_lend_to_everyone_and_a_networks_words_follow() {
    let cloud = Cloud::open().await;
    let (cx, ann, bob, root) = (&cloud.cx, member("ann"), member("bob"), admin());
    let network = cloud.network(&ann).await;
    for (target, action) in [("*", SHARED), ("bob", EXTERNAL)] {
        let outcome =
            rbac_policy::create(cx, &ann, grant("network", network, target, action)).await;
        let refused = network_fixture::refusal(outcome);
        assert_eq!(refused.reason, Reason::Forbidden, "{target} {action}");
    }
    let everyones = grant("network", network, "*", SHARED);
    let everyones = rbac_policy::create(cx, &root, everyones).await.unwrap();
    assert!(
        network::show(cx, &bob, network)
            .await
            .unwrap()
            .network
            .shared
    );
    let way_out = grant("network", network, "bob", EXTERNAL);
    let way_out = rbac_policy::create(cx, &root, way_out).await.unwrap();
    assert!(
        network::show(cx, &ann, network)
            .await
            .unwrap()
            .network
            .external
    );
    // A change of something else does not lend it to more.
    let change = NetworkChange {
        name: Some("other".to_owned()),
        ..NetworkChange::default()
    };
    network::update(cx, &ann, network, change).await.unwrap();
    assert_eq!(cloud.rows().await["rbac_policies"], 2);
    rbac_policy::delete(cx, &root, everyones.id).await.unwrap();
    rbac_policy::delete(cx, &root, way_out.id).await.unwrap();
    let now = network::show(cx, &ann, network).await.unwrap().network;
    assert!(!now.shared && !now.external);

    // The other way round: the words make the policies.
    let shared = NewNetwork {
        shared: true,
        external: true,
        ..NewNetwork::default()
    };
    let shared = cloud.network_of(&root, shared).await;
    assert_eq!(cloud.rows().await["rbac_policies"], 2);
    let change = NetworkChange {
        shared: Some(false),
        external: Some(false),
        ..NetworkChange::default()
    };
    network::update(cx, &root, shared, change).await.unwrap();
    assert_eq!(cloud.rows().await["rbac_policies"], 0);
    for nonsense in [
        grant("router", network, "bob", SHARED),
        grant("subnetpool", network, "bob", EXTERNAL),
        grant("network", network, "bob", "access_as_king"),
    ] {
        let refused = network_fixture::refusal(rbac_policy::create(cx, &root, nonsense).await);
        assert_eq!(refused.reason, Reason::Invalid);
    }
}

#[tokio::test]
async fn subnets_are_cut_from_a_pool_until_it_is_empty() {
    let cloud = Cloud::open().await;
    let (cx, ann) = (&cloud.cx, member("ann"));
    let network = cloud.network(&ann).await;
    let id = pool(&cloud, &ann, new_pool(&["10.0.0.0/23"])).await;
    let cut = async |new: NewSubnet| subnet::create(cx, &ann, vec![new]).await;
    let first = cut(from_pool(network, id)).await.unwrap().remove(0);
    let second = cut(from_pool(network, id)).await.unwrap().remove(0);
    assert_eq!(first.cidr.to_string(), "10.0.0.0/24");
    assert_eq!(second.cidr.to_string(), "10.0.1.0/24");
    assert_refused(
        cut(from_pool(network, id)).await,
        Reason::Conflict,
        "SubnetAllocationError",
    );
    let sized = |length: u8| NewSubnet {
        prefix_len: Some(length),
        ..from_pool(network, id)
    };
    assert_refused(
        cut(sized(7)).await,
        Reason::Invalid,
        "MinPrefixSubnetAllocationError",
    );
    let change = SubnetPoolChange {
        lengths: Lengths {
            max: Some(28),
            ..Lengths::default()
        },
        ..SubnetPoolChange::default()
    };
    subnet_pool::update(cx, &ann, id, change).await.unwrap();
    assert_refused(
        cut(sized(29)).await,
        Reason::Invalid,
        "MaxPrefixSubnetAllocationError",
    );
    assert_refused(
        subnet_pool::delete(cx, &ann, id).await,
        Reason::Invalid,
        "SubnetPoolDeleteError",
    );
    assert_refused(
        subnet_pool::remove_prefixes(cx, &ann, id, nets(&["10.0.1.0/25"])).await,
        Reason::Invalid,
        "IllegalSubnetPoolPrefixUpdate",
    );
    let shrunk = SubnetPoolChange {
        prefixes: Some(nets(&["10.0.0.0/24"])),
        ..SubnetPoolChange::default()
    };
    assert_refused(
        subnet_pool::update(cx, &ann, id, shrunk).await,
        Reason::Invalid,
        "IllegalSubnetPoolPrefixUpdate",
    );
    let all = subnet_pool::add_prefixes(cx, &ann, id, nets(&["10.0.2.0/23"])).await;
    assert_eq!(all.unwrap(), nets(&["10.0.0.0/22"]));
    let third = cut(from_pool(network, id)).await.unwrap().remove(0);
    assert_eq!(third.cidr.to_string(), "10.0.2.0/24");
    // A network's subnets of one version are of one pool.
    let other = pool(&cloud, &ann, new_pool(&["172.16.0.0/16"])).await;
    assert_refused(
        cut(from_pool(network, other)).await,
        Reason::Invalid,
        "NetworkSubnetPoolAffinityError",
    );
    for subnet in [first, second, third] {
        subnet::delete(cx, &ann, subnet.id).await.unwrap();
    }
    let left = subnet_pool::remove_prefixes(cx, &ann, id, nets(&["10.0.0.0/23"])).await;
    assert_eq!(left.unwrap(), nets(&["10.0.2.0/23"]));
    subnet_pool::delete(cx, &ann, id).await.unwrap();
}

#[tokio::test]
async fn a_pool_that_cannot_be_is_refused() {
    let cloud = Cloud::open().await;
    let (cx, ann) = (&cloud.cx, member("ann"));
    let lengths = |min, max, default| Lengths { min, max, default };
    #[rustfmt::skip]
    let cases = [
        (NewSubnetPool { prefixes: Vec::new(), ..new_pool(&["10.0.0.0/8"]) }, "EmptySubnetPoolPrefixList"),
        (new_pool(&["10.0.0.0/8", "fd00::/48"]), "PrefixVersionMismatch"),
        (NewSubnetPool { lengths: lengths(Some(33), None, None), ..new_pool(&["10.0.0.0/8"]) }, "UnsupportedMinSubnetPoolPrefix"),
        (NewSubnetPool { lengths: lengths(None, Some(33), None), ..new_pool(&["10.0.0.0/8"]) }, "IllegalSubnetPoolPrefixBounds"),
        (NewSubnetPool { lengths: lengths(Some(24), Some(20), None), ..new_pool(&["10.0.0.0/8"]) }, "IllegalSubnetPoolPrefixBounds"),
        (NewSubnetPool { lengths: lengths(Some(20), Some(24), Some(28)), ..new_pool(&["10.0.0.0/8"]) }, "IllegalSubnetPoolPrefixBounds"),
    ];
    for (new, name) in cases {
        let outcome = subnet_pool::create(cx, &ann, vec![new]).await;
        assert_refused(outcome, Reason::Invalid, name);
    }
    // One default of each family, chosen by the administrator.
    let default = || NewSubnetPool {
        is_default: true,
        shared: true,
        ..new_pool(&["10.0.0.0/16"])
    };
    let outcome = subnet_pool::create(cx, &ann, vec![default()]).await;
    assert_eq!(network_fixture::refusal(outcome).reason, Reason::Forbidden);
    let network = cloud.network(&ann).await;
    let by_default = || NewSubnet {
        subnet_pool_id: None,
        use_default_pool: true,
        ..from_pool(network, SubnetPoolId::random())
    };
    let outcome = subnet::create(cx, &ann, vec![by_default()]).await;
    assert_refused(outcome, Reason::Invalid, "BadRequest");
    let id = pool(&cloud, &admin(), default()).await;
    let outcome = subnet_pool::create(cx, &admin(), vec![default()]).await;
    assert_refused(outcome, Reason::Invalid, "InvalidInput");
    let made = subnet::create(cx, &ann, vec![by_default()]).await.unwrap();
    assert_eq!(made[0].subnet_pool_id, Some(id));
}

#[tokio::test]
async fn prefixes_of_an_address_scope_do_not_overlap() {
    let cloud = Cloud::open().await;
    let (cx, ann) = (&cloud.cx, member("ann"));
    let new = |ip_version| NewAddressScope {
        project_id: None,
        name: String::new(),
        shared: false,
        ip_version,
    };
    let four = address_scope::create(cx, &ann, new(4))
        .await
        .unwrap()
        .resource
        .id;
    let six = address_scope::create(cx, &ann, new(6))
        .await
        .unwrap()
        .resource
        .id;
    let within = |scope, prefixes: &[&str]| NewSubnetPool {
        address_scope_id: Some(scope),
        ..new_pool(prefixes)
    };
    let make = async |new| subnet_pool::create(cx, &ann, vec![new]).await;
    let id = pool(&cloud, &ann, within(four, &["10.0.0.0/16"])).await;
    assert_refused(
        make(within(four, &["10.0.128.0/17"])).await,
        Reason::Conflict,
        "AddressScopePrefixConflict",
    );
    assert_refused(
        make(within(six, &["10.1.0.0/16"])).await,
        Reason::Invalid,
        "IllegalSubnetPoolIpVersionAssociationToAddressScope",
    );
    assert_refused(
        address_scope::delete(cx, &ann, four).await,
        Reason::Conflict,
        "AddressScopeInUse",
    );
    let hidden =
        subnet_pool::create(cx, &member("bob"), vec![within(four, &["10.2.0.0/16"])]).await;
    assert_refused(hidden, Reason::NotFound, "AddressScopeNotFound");
    // A pool of another project joins when the scope is lent, and is in the way of its return.
    let lent = rbac_policy::create(cx, &ann, grant("address_scope", four, "bob", SHARED)).await;
    let lent = lent.unwrap().id;
    let of_bob = pool(&cloud, &member("bob"), within(four, &["10.2.0.0/16"])).await;
    assert_refused(
        rbac_policy::delete(cx, &ann, lent).await,
        Reason::Conflict,
        "RbacPolicyInUse",
    );
    // Who has no part in the scope cannot be lent the pool; nor does bob lend what is ann's.
    let to_eve = grant("subnetpool", of_bob, "eve", SHARED);
    assert_refused(
        rbac_policy::create(cx, &member("bob"), to_eve).await,
        Reason::Invalid,
        "InvalidInput",
    );
    let not_his = grant("address_scope", four, "eve", SHARED);
    assert_refused(
        rbac_policy::create(cx, &member("bob"), not_his).await,
        Reason::Invalid,
        "InvalidInput",
    );
    subnet_pool::delete(cx, &member("bob"), of_bob)
        .await
        .unwrap();
    subnet_pool::delete(cx, &ann, id).await.unwrap();
    address_scope::delete(cx, &ann, four).await.unwrap();
    assert_eq!(cloud.rows().await["rbac_policies"], 0);
}

#[tokio::test]
async fn rules_follow_an_address_group() {
    let cloud = Cloud::open().await;
    let (cx, ann) = (&cloud.cx, member("ann"));
    let new = NewAddressGroup {
        project_id: None,
        name: "friends".to_owned(),
        description: String::new(),
        addresses: nets(&["10.0.0.1/32"]),
    };
    let made = address_group::create(cx, &ann, vec![new]).await.unwrap();
    let id = made[0].resource.id;
    let told = async || {
        cloud.settle().await;
        match cloud.fabric.plans().remove(&Unit::AddressGroup(id)) {
            Some(Plan::AddressGroup(plan)) => plan.addresses,
            other => panic!("the fabric has {other:?}"),
        }
    };
    assert_eq!(told().await, nets(&["10.0.0.1/32"]));
    address_group::add_addresses(cx, &ann, id, nets(&["10.1.0.7/24"]))
        .await
        .unwrap();
    assert_eq!(told().await, nets(&["10.0.0.1/32", "10.1.0.0/24"]));
    assert_refused(
        address_group::remove_addresses(cx, &ann, id, nets(&["10.0.0.1/32", "10.9.0.0/24"])).await,
        Reason::NotFound,
        "AddressesNotFound",
    );
    address_group::remove_addresses(cx, &ann, id, nets(&["10.0.0.1/32"]))
        .await
        .unwrap();
    assert_eq!(told().await, nets(&["10.1.0.0/24"]));
    let network = cloud.network(&ann).await;
    let port = cloud.port(&ann, network).await;
    let rule = NewRule {
        project_id: None,
        security_group_id: *port.security_groups.iter().next().unwrap(),
        description: String::new(),
        direction: security_group::Direction::Ingress,
        ethertype: Ethertype::IPv4,
        protocol: None,
        port_min: None,
        port_max: None,
        remote_prefix: None,
        remote_group_id: None,
        remote_address_group_id: Some(id),
        tags: BTreeSet::new(),
    };
    let rule = security_group_rule::create(cx, &ann, vec![rule])
        .await
        .unwrap();
    assert_refused(
        address_group::delete(cx, &ann, id).await,
        Reason::Conflict,
        "AddressGroupInUse",
    );
    security_group_rule::delete(cx, &ann, rule[0].id)
        .await
        .unwrap();
    address_group::delete(cx, &ann, id).await.unwrap();
    cloud.settle().await;
    assert!(!cloud.fabric.plans().contains_key(&Unit::AddressGroup(id)));
}

#[tokio::test]
async fn a_qos_policy_reaches_every_port_that_follows_it() {
    let cloud = Cloud::open().await;
    let (cx, ann, root) = (&cloud.cx, member("ann"), admin());
    let new = |shared, is_default| NewQosPolicy {
        project_id: None,
        name: "slow".to_owned(),
        description: String::new(),
        shared,
        is_default,
        tags: BTreeSet::new(),
    };
    let outcome = qos_policy::create(cx, &ann, new(false, false)).await;
    assert_eq!(network_fixture::refusal(outcome).reason, Reason::Forbidden);
    let id = qos_policy::create(cx, &root, new(true, false))
        .await
        .unwrap();
    let id = id.resource.id;
    let by_network = cloud
        .network_of(
            &ann,
            NewNetwork {
                qos_policy_id: Some(id),
                ..NewNetwork::default()
            },
        )
        .await;
    let by_port = cloud.network(&ann).await;
    cloud.port(&ann, by_network).await;
    let own = NewPort {
        qos_policy_id: Some(id),
        ..NewPort::on(by_port)
    };
    let own = cloud.port_of(&ann, own).await;
    let limits = async |network| -> Vec<Bandwidth> {
        let plan = cloud.plan(network).await;
        plan.ports
            .into_iter()
            .flat_map(|port| port.bandwidth)
            .collect()
    };
    assert_eq!(limits(by_network).await, []);
    let limit = LimitChange {
        max_kbps: Some(1000),
        ..LimitChange::default()
    };
    let rule = qos_policy::add_limit(cx, &root, id, limit.clone())
        .await
        .unwrap();
    let wanted = |max_kbps| Bandwidth {
        direction: Direction::Egress,
        max_kbps,
        max_burst_kbps: 0,
    };
    assert_eq!(limits(by_network).await, [wanted(1000)]);
    assert_eq!(limits(by_port).await, [wanted(1000)]);
    assert_refused(
        qos_policy::add_limit(cx, &root, id, limit).await,
        Reason::Conflict,
        "QoSRulesConflict",
    );
    let faster = LimitChange {
        max_kbps: Some(2000),
        ..LimitChange::default()
    };
    qos_policy::update_limit(cx, &root, id, rule.id, faster)
        .await
        .unwrap();
    assert_eq!(limits(by_port).await, [wanted(2000)]);
    let unshare = QosPolicyChange {
        shared: Some(false),
        ..QosPolicyChange::default()
    };
    assert_refused(
        qos_policy::update(cx, &root, id, unshare).await,
        Reason::Conflict,
        "RbacPolicyInUse",
    );
    assert_refused(
        qos_policy::delete(cx, &root, id).await,
        Reason::Conflict,
        "QosPolicyInUse",
    );
    qos_policy::remove_limit(cx, &root, id, rule.id)
        .await
        .unwrap();
    assert_eq!(limits(by_port).await, []);
    let free = PortChange {
        qos_policy_id: Some(None),
        ..PortChange::default()
    };
    port::update(cx, &ann, own.id, free).await.unwrap();
    let free = NetworkChange {
        qos_policy_id: Some(None),
        ..NetworkChange::default()
    };
    network::update(cx, &ann, by_network, free).await.unwrap();
    qos_policy::delete(cx, &root, id).await.unwrap();
    // A project's default is what its new networks follow.
    let default = qos_policy::create(cx, &root, new(false, true))
        .await
        .unwrap();
    assert_refused(
        qos_policy::create(cx, &root, new(false, true)).await,
        Reason::Conflict,
        "QoSPolicyDefaultAlreadyExists",
    );
    let follower = cloud.network(&root).await;
    let follower = network::show(cx, &root, follower).await.unwrap();
    assert_eq!(follower.network.qos_policy_id, Some(default.resource.id));
}

#[tokio::test]
async fn quotas_hold_and_are_not_set_below_what_is_there() {
    let mut settings = Settings::default();
    settings.network_quota.networks = 1;
    let cloud = Cloud::with(settings).await;
    let (cx, ann, root) = (&cloud.cx, member("ann"), admin());
    let project = ann.project_id().unwrap().clone();
    cloud.network(&ann).await;
    let another = async || network::create(cx, &ann, vec![NewNetwork::default()]).await;
    assert_refused(another().await, Reason::Conflict, "OverQuota");
    let set = async |limit: i64, force| {
        let change = BTreeMap::from([("network".to_owned(), limit)]);
        quota::update(cx, &root, &project, change, force).await
    };
    set(2, false).await.unwrap();
    another().await.unwrap();
    assert_refused(set(1, false).await, Reason::Invalid, "InvalidQuotaValue");
    set(1, true).await.unwrap();
    let usage = quota::usage(cx, &ann, &project).await.unwrap();
    assert_eq!(usage["network"], quota::Usage { limit: 1, used: 2 });
    assert_eq!(quota::list(cx, &root).await.unwrap().len(), 1);
    quota::reset(cx, &root, &project).await.unwrap();
    assert_refused(
        quota::reset(cx, &root, &project).await,
        Reason::NotFound,
        "TenantQuotaNotFound",
    );
    let outcome = quota::reset(cx, &ann, &project).await;
    assert_eq!(network_fixture::refusal(outcome).reason, Reason::Forbidden);
    let found = network::list(cx, &ann, Narrow::default()).await.unwrap();
    assert_eq!(found.len(), 2);
}
