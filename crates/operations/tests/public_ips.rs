//! Public IPs of instances: the ephemeral kind lasts as long as the instance runs, the static kind is the project's; who
//! may set them, and what the log says they cost (K69, K70, K140 to K144).
#![allow(clippy::unwrap_used, clippy::panic)]

mod harness;

use corten_model::ids::{FloatingIpId, InstanceId, NetworkId};
use corten_model::lifecycle::Command;
use corten_model::refusal::{Reason, Refusal};
use corten_operations::instance::public_ip::{self, Wanted};
use corten_operations::instance::{command, interface, new};
use corten_operations::network::floating_ip::{self, FloatingIpChange, NewFloatingIp};
use corten_store::network::floating_ip::FloatingIp;
use corten_store::{Failure, transitions};
use harness::network::{given_id, lead_outside, own_admin, public_ips, two_cards};
use harness::{Cloud, image_id, member, survive_everything};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// An instance with an ephemeral public IP, accepted.
async fn asked_for(cloud: &Cloud) -> InstanceId {
    lead_outside(cloud).await;
    cloud
        .create_with(&own_admin(), Some(Wanted::Ephemeral))
        .await
}

/// The same, and it runs.
async fn running(cloud: &Cloud) -> InstanceId {
    let id = asked_for(cloud).await;
    cloud.drain().await;
    assert_eq!(cloud.end(id).await.ephemeral_ips, [true]);
    id
}

async fn of(cloud: &Cloud, id: InstanceId) -> Vec<FloatingIp> {
    let instance = cloud.instance(id).await;
    let mut found = public_ip::of(&cloud.cx, &[instance]).await.unwrap();
    found.remove(&id).unwrap_or_default()
}

fn refusal<T: Debug>(result: Result<T, Failure>) -> Refusal {
    match result {
        Err(Failure::Refused(refusal)) => refusal,
        other => panic!("a refusal was expected: {other:?}"),
    }
}

/// The states that a public IP went through.
async fn log_of(cloud: &Cloud, id: FloatingIpId) -> Vec<String> {
    let mut tx = cloud.store.read().await.unwrap();
    let id = id.to_string();
    let log = transitions::of_subject(&mut tx, "floating_ip", &id);
    log.await.unwrap().into_iter().map(|line| line.to).collect()
}

async fn held_by_the_project(cloud: &Cloud, network_id: NetworkId) -> FloatingIp {
    let new = NewFloatingIp {
        project_id: None,
        description: String::new(),
        network_id,
        subnet_id: None,
        address: None,
        port_id: None,
        fixed_address: None,
        tags: BTreeSet::new(),
    };
    let made = floating_ip::create(&cloud.cx, &own_admin(), vec![new]).await;
    made.unwrap().remove(0).floating
}

/// K140: the user decides at the create; whatever goes wrong, the address is led to the instance or given back.
#[tokio::test]
async fn create_with_an_ephemeral_public_ip() {
    survive_everything(asked_for, async |_, _| {}).await;
}

/// K141: it stays until stop.
#[tokio::test]
async fn stop_gives_an_ephemeral_public_ip_back() {
    let ask = async |cloud: &Cloud, id| cloud.simple(id, Command::Stop).await;
    survive_everything(running, ask).await;
}

/// K69, K144: what a stop gave back no start brings again, and the log says when it was held.
#[tokio::test]
async fn an_instance_that_starts_again_has_no_public_ip_until_it_is_given_one() {
    let cloud = Cloud::open().await;
    let id = running(&cloud).await;
    let first = of(&cloud, id).await.remove(0);
    assert_eq!(log_of(&cloud, first.id).await, ["Held"]);
    cloud.simple(id, Command::Stop).await;
    cloud.drain().await;
    assert_eq!(of(&cloud, id).await, []);
    assert_eq!(log_of(&cloud, first.id).await, ["Held", "Released"]);

    let attach = async || public_ip::attach(&cloud.cx, &own_admin(), id, Wanted::Ephemeral).await;
    let early = refusal(attach().await);
    assert_eq!(early.reason, Reason::Conflict);
    assert!(early.message.contains("Stopped"), "{}", early.message);
    cloud.simple(id, Command::Start).await;
    cloud.drain().await;
    assert_eq!(of(&cloud, id).await, []);
    let given = attach().await.unwrap();
    assert!(given.ephemeral);
    assert_eq!(of(&cloud, id).await, std::slice::from_ref(&given));

    public_ip::detach(&cloud.cx, &own_admin(), id, given.address)
        .await
        .unwrap();
    assert_eq!(log_of(&cloud, given.id).await, ["Held", "Released"]);
    let gone = public_ip::detach(&cloud.cx, &own_admin(), id, given.address).await;
    assert_eq!(refusal(gone).reason, Reason::NotFound);
    cloud.drain().await;
    cloud.assert_nothing_leaked("detached").await;
}

/// K142, K143: a static one survives the instance, and moves by detach and attach.
#[tokio::test]
async fn a_static_public_ip_moves_by_detach_and_attach() {
    let cloud = Cloud::open().await;
    let outside = lead_outside(&cloud).await;
    let held = held_by_the_project(&cloud, outside).await;
    let wanted = Wanted::Static(held.id);
    let first = cloud.create_with(&own_admin(), Some(wanted)).await;
    let second = cloud.running().await;
    assert_eq!(of(&cloud, first).await[0].id, held.id);
    let attach = async || public_ip::attach(&cloud.cx, &own_admin(), second, wanted).await;
    assert_eq!(refusal(attach().await).reason, Reason::Conflict);
    public_ip::detach(&cloud.cx, &own_admin(), first, held.address)
        .await
        .unwrap();
    assert_eq!(attach().await.unwrap().id, held.id);
    assert_eq!(of(&cloud, first).await, []);

    command::delete(&cloud.cx, &member(), second).await.unwrap();
    cloud.drain().await;
    let left = public_ips(&cloud).await;
    assert_eq!((left[0].id, left[0].target), (held.id, None));
    assert_eq!(log_of(&cloud, held.id).await, ["Held"]);
    cloud.assert_nothing_leaked("deleted").await;
}

/// K69: an ephemeral public IP does not outlive its place: it is no static one in disguise.
#[tokio::test]
async fn an_ephemeral_public_ip_does_not_move() {
    let cloud = Cloud::open().await;
    let id = running(&cloud).await;
    let floating = of(&cloud, id).await.remove(0);
    let other = cloud.running().await;
    let port = cloud.instance(other).await.intent.nics[0].port_id;
    for port_id in [None, Some(port)] {
        let change = FloatingIpChange {
            port_id: Some(port_id),
            ..FloatingIpChange::default()
        };
        let moved = floating_ip::update(&cloud.cx, &own_admin(), floating.id, change).await;
        let refused = refusal(moved);
        assert_eq!(refused.reason, Reason::Conflict);
        assert!(
            refused.message.contains("is ephemeral"),
            "{}",
            refused.message
        );
    }
    // What Nova calls removeFloatingIp gives it back.
    public_ip::part(&cloud.cx, &own_admin(), id, floating.address)
        .await
        .unwrap();
    assert_eq!(public_ips(&cloud).await, []);
}

/// It goes with the card that it leads to, also where the card's port is the project's own and stays.
#[tokio::test]
async fn a_card_that_is_detached_takes_its_ephemeral_public_ip_along() {
    let cloud = Cloud::open().await;
    lead_outside(&cloud).await;
    let id = cloud.running().await;
    let own = cloud.instance(id).await.intent.nics[0].port_id;
    let detach = async |port| {
        let detached = interface::detach(&cloud.cx, &member(), id, port).await;
        detached.unwrap();
        cloud.drain().await;
    };
    detach(own).await;
    let attached = public_ip::attach(&cloud.cx, &own_admin(), id, Wanted::Ephemeral).await;
    let target = attached.unwrap().target.unwrap();
    assert_eq!(target.port_id, given_id());
    detach(given_id()).await;
    assert_eq!(public_ips(&cloud).await, []);
    cloud.assert_nothing_leaked("detached").await;
    let bare = public_ip::attach(&cloud.cx, &own_admin(), id, Wanted::Ephemeral).await;
    assert_eq!(refusal(bare).reason, Reason::Conflict);
}

/// K70: only a project's administrator sets a public IP; what is refused leaves nothing.
#[tokio::test]
async fn what_cannot_have_a_public_ip_is_refused_and_holds_none() {
    let cloud = Cloud::open().await;
    let create = async |actor, public_ip, count| {
        let request = new::NewInstances {
            name: "guest".to_owned(),
            flavor_id: Some("1".into()),
            image_id: Some(image_id()),
            networks: two_cards(&cloud.cx).await,
            public_ip: Some(public_ip),
            min_count: count,
            max_count: count,
            ..new::NewInstances::default()
        };
        refusal(new::create(&cloud.cx, &actor, request).await).reason
    };
    // No router leads outside.
    let no_way = create(own_admin(), Wanted::Ephemeral, 1).await;
    assert_eq!(no_way, Reason::Conflict);
    let outside = lead_outside(&cloud).await;
    let held = held_by_the_project(&cloud, outside).await;
    let by_member = create(member(), Wanted::Ephemeral, 1).await;
    assert_eq!(by_member, Reason::Forbidden);
    let by_member = create(member(), Wanted::Static(held.id), 1).await;
    assert_eq!(by_member, Reason::Forbidden);
    let unknown = create(own_admin(), Wanted::Static(FloatingIpId::random()), 1).await;
    assert_eq!(unknown, Reason::Invalid);
    let for_two = create(own_admin(), Wanted::Static(held.id), 2).await;
    assert_eq!(for_two, Reason::Invalid);

    let id = cloud.running().await;
    let attach = public_ip::attach(&cloud.cx, &member(), id, Wanted::Ephemeral).await;
    assert_eq!(refusal(attach).reason, Reason::Forbidden);
    let detach = public_ip::detach(&cloud.cx, &member(), id, held.address).await;
    assert_eq!(refusal(detach).reason, Reason::Forbidden);
    assert_eq!(public_ips(&cloud).await, [held]);
    cloud.assert_nothing_leaked("refused").await;
}
