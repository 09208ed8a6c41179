//! What projects find when they begin: the rules of new security groups, a network for whoever asks for one, tags.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod network_fixture;

use corten_model::ids::NetworkId;
use corten_model::refusal::Reason;
use corten_operations::network::default_rule::{self, NewDefaultRule, RemoteGroup};
use corten_operations::network::network::{self, NewNetwork};
use corten_operations::network::port::{self, NewPort};
use corten_operations::network::security_group::{self, NewSecurityGroup, Shown};
use corten_operations::network::subnet_pool::{self, NewSubnetPool};
use corten_operations::network::subnet_pool_check::Lengths;
use corten_operations::network::{Narrow, auto_allocated, router, subnet, tag};
use corten_store::network::network::Network;
use corten_store::network::security_group::{Direction, Ethertype, Remote};
use network_fixture::{Cloud, admin, assert_refused, member, refusal};
use std::collections::BTreeSet;

fn ssh() -> NewDefaultRule {
    NewDefaultRule {
        description: "log in".to_owned(),
        direction: Direction::Ingress,
        ethertype: Ethertype::IPv4,
        protocol: Some("TCP".to_owned()),
        port_min: Some(22),
        port_max: Some(22),
        remote_prefix: None,
        remote_group: None,
        remote_address_group_id: None,
        in_default_groups: false,
        in_other_groups: true,
    }
}

async fn new_group(cloud: &Cloud, project: &str) -> Shown {
    let new = NewSecurityGroup {
        project_id: None,
        name: "web".to_owned(),
        description: String::new(),
        stateful: true,
        tags: BTreeSet::new(),
    };
    let made = security_group::create(&cloud.cx, &member(project), vec![new]).await;
    made.unwrap().remove(0)
}

async fn default_group(cloud: &Cloud, project: &str) -> Shown {
    let found = security_group::list(&cloud.cx, &member(project), Narrow::default()).await;
    let mut groups = found.unwrap().into_iter();
    groups.find(|shown| shown.group.is_default).unwrap()
}

#[tokio::test]
async fn groups_begin_with_what_the_administrator_chose() {
    let cloud = Cloud::open().await;
    let (cx, root) = (&cloud.cx, admin());
    let default = default_group(&cloud, "ann").await;
    let own = Remote::Group(default.group.id);
    let ways = |shown: &Shown| {
        let rules = shown.rules.iter();
        rules
            .map(|rule| (rule.direction, rule.remote))
            .collect::<Vec<_>>()
    };
    let (out, within) = (
        (Direction::Egress, Remote::Anyone),
        (Direction::Ingress, own),
    );
    let mut found = ways(&default);
    found.sort_by_key(|(direction, _)| direction.as_str());
    assert_eq!(found, [out, out, within, within]);
    assert_eq!(ways(&new_group(&cloud, "ann").await), [out, out]);

    assert_eq!(
        refusal(default_rule::create(cx, &member("ann"), ssh()).await).reason,
        Reason::Forbidden
    );
    let rule = default_rule::create(cx, &root, ssh()).await.unwrap();
    assert_refused(
        default_rule::create(cx, &root, ssh()).await,
        Reason::Conflict,
        "DefaultSecurityGroupRuleExists",
    );
    let made = new_group(&cloud, "ann").await;
    let added = made
        .rules
        .iter()
        .find(|rule| rule.port_min == Some(22))
        .unwrap();
    assert_eq!(added.protocol.as_deref(), Some("tcp"));
    assert_eq!(added.standard.description, "log in");
    assert_eq!(default_group(&cloud, "bob").await.rules.len(), 4);
    // The same for the other kind is another rule.
    let for_default = NewDefaultRule {
        in_default_groups: true,
        in_other_groups: false,
        remote_group: Some(RemoteGroup::Own),
        ..ssh()
    };
    default_rule::create(cx, &root, for_default).await.unwrap();
    let eve = default_group(&cloud, "eve").await;
    let added = eve.rules.iter().find(|rule| rule.port_min == Some(22));
    assert_eq!(added.unwrap().remote, Remote::Group(eve.group.id));
    // Groups that are there keep their rules, and new ones follow what is left.
    default_rule::delete(cx, &root, rule.id).await.unwrap();
    assert_refused(
        default_rule::delete(cx, &root, rule.id).await,
        Reason::NotFound,
        "DefaultSecurityGroupRuleNotFound",
    );
    let kept = security_group::show(cx, &member("ann"), made.group.id).await;
    assert_eq!(kept.unwrap().rules.len(), 3);
    assert_eq!(new_group(&cloud, "ann").await.rules.len(), 2);
    let nonsense = NewDefaultRule {
        port_min: Some(80),
        port_max: Some(79),
        ..ssh()
    };
    assert_refused(
        default_rule::create(cx, &root, nonsense).await,
        Reason::Invalid,
        "SecurityGroupInvalidPortRange",
    );
}

fn default_pool(prefix: &str, length: i64) -> NewSubnetPool {
    NewSubnetPool {
        project_id: None,
        name: String::new(),
        description: String::new(),
        shared: true,
        is_default: true,
        prefixes: vec![prefix.parse().unwrap()],
        lengths: Lengths {
            default: Some(length),
            ..Lengths::default()
        },
        default_quota: None,
        address_scope_id: None,
        tags: BTreeSet::new(),
    }
}

/// An external network with addresses that is everybody's way out.
async fn outside(cloud: &Cloud) -> NetworkId {
    let new = NewNetwork {
        external: true,
        is_default: true,
        ..NewNetwork::default()
    };
    let id = cloud.network_of(&admin(), new).await;
    cloud.subnet(&admin(), id, "203.0.113.0/24").await;
    id
}

#[tokio::test]
async fn a_project_that_asks_for_a_network_gets_one_and_the_same() {
    let cloud = Cloud::open().await;
    let (cx, ann) = (&cloud.cx, member("ann"));
    let project = ann.project_id().unwrap();
    let refused = async || {
        let outcome = auto_allocated::get(cx, &ann, project).await;
        assert_refused(outcome, Reason::Conflict, "AutoAllocationFailure");
    };
    refused().await;
    outside(&cloud).await;
    refused().await;
    assert_eq!(cloud.count::<Network>().await, 1, "nothing half done");
    let pools = vec![
        default_pool("10.0.0.0/16", 24),
        default_pool("fd00:1::/48", 64),
    ];
    subnet_pool::create(cx, &admin(), pools).await.unwrap();
    auto_allocated::check(cx, &ann, project).await.unwrap();
    assert_eq!(cloud.count::<Network>().await, 1, "a dry run makes nothing");

    let id = auto_allocated::get(cx, &ann, project).await.unwrap();
    assert_eq!(auto_allocated::get(cx, &ann, project).await.unwrap(), id);
    let subnets = subnet::list(cx, &ann, Narrow::default()).await.unwrap();
    let ranges: Vec<_> = subnets
        .iter()
        .map(|subnet| subnet.cidr.to_string())
        .collect();
    assert_eq!(ranges, ["10.0.0.0/24", "fd00:1::/64"]);
    let routers = router::list(cx, &ann, Narrow::default()).await.unwrap();
    assert!(routers[0].router.gateway.is_some());
    let port = cloud.port_of(&ann, NewPort::on(id)).await;
    assert_eq!(port.addresses.len(), 2);
    let other = auto_allocated::get(cx, &member("bob"), project).await;
    assert_eq!(refusal(other).reason, Reason::Forbidden);

    assert_refused(
        auto_allocated::delete(cx, &ann, project).await,
        Reason::Conflict,
        "NetworkInUse",
    );
    port::delete(cx, &ann, port.id).await.unwrap();
    auto_allocated::delete(cx, &ann, project).await.unwrap();
    assert!(network::show(cx, &ann, id).await.is_err());
    let routers = router::list(cx, &ann, Narrow::default()).await.unwrap();
    assert!(routers.is_empty());
    assert_refused(
        auto_allocated::delete(cx, &ann, project).await,
        Reason::NotFound,
        "AutoAllocatedTopologyNotFound",
    );
    let again = auto_allocated::get(cx, &ann, project).await.unwrap();
    assert_ne!(again, id);
}

#[tokio::test]
async fn tags_are_put_on_and_taken_off() {
    let cloud = Cloud::open().await;
    let (cx, ann) = (&cloud.cx, member("ann"));
    let id = cloud.network(&ann).await.to_string();
    let words = |words: &[&str]| -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    };
    let list = async || tag::list::<Network>(cx, &ann, &id).await.unwrap();
    let before = network::show(cx, &ann, id.parse().unwrap()).await.unwrap();
    let all = tag::replace::<Network>(cx, &ann, &id, words(&["red", "blue"])).await;
    assert_eq!(all.unwrap(), words(&["blue", "red"]));
    tag::add::<Network>(cx, &ann, &id, "a.b/c".to_owned())
        .await
        .unwrap();
    tag::check::<Network>(cx, &ann, &id, "a.b/c").await.unwrap();
    tag::remove::<Network>(cx, &ann, &id, "red").await.unwrap();
    assert_refused(
        tag::remove::<Network>(cx, &ann, &id, "red").await,
        Reason::NotFound,
        "TagNotFound",
    );
    assert_eq!(list().await, words(&["a.b/c", "blue"]));
    let after = network::show(cx, &ann, id.parse().unwrap()).await.unwrap();
    let revision = |shown: &network::Shown| shown.network.standard.revision;
    assert_eq!(revision(&after), revision(&before) + 3);
    // Nobody else reads or writes them, and there is an end to them.
    let bob = member("bob");
    assert_refused(
        tag::list::<Network>(cx, &bob, &id).await,
        Reason::NotFound,
        "NetworkNotFound",
    );
    let many: BTreeSet<String> = (0..51).map(|number| number.to_string()).collect();
    for wrong in [many, words(&[""]), words(&["x".repeat(256).as_str()])] {
        let outcome = tag::replace::<Network>(cx, &ann, &id, wrong).await;
        assert_eq!(refusal(outcome).reason, Reason::Invalid);
    }
    assert_eq!(list().await, words(&["a.b/c", "blue"]));
}
