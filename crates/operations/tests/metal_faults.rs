//! Every operation on a bare-metal node, disturbed at every point of every step in every way (K145, K150, K152, K157).
//! Whatever happens: the node rests in a state of its life cycle, nothing runs any more, and it is available only with
//! the proof of a wipe and blank disks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_engine::Point;
use corten_iam::actor::{Actor, Scope};
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodePowerTarget, NodeStateKind, NodeVerb, ProvisionState};
use corten_operations::metal::node::{self, Edit};
use corten_operations::metal::provision::{self, Wish};
use corten_operations::metal::{Ident, driver, power_node};
use corten_store::metal::node::{Node, SUBJECT, Step};
use corten_store::metal::wipe::{self, Wipe};
use corten_store::operations::{self, Filter};
use corten_store::{record, transitions};
use harness::{Cloud, Disturbance, member};
use std::collections::BTreeMap;

fn operator() -> Actor {
    let mut actor = member();
    actor.scope = Scope::System;
    actor.roles.insert("admin".to_owned());
    actor
}

async fn enroll(cloud: &Cloud) -> NodeId {
    let driver = driver::of_node(&cloud.cx.metal, driver::FAKE).unwrap();
    let node = node::blank(NodeId::random(), driver, cloud.cx.now());
    let edit = Edit {
        node,
        secrets: BTreeMap::new(),
    };
    let made = node::create(&cloud.cx, &operator(), edit, false).await;
    made.unwrap().id
}

fn wish(verb: NodeVerb) -> Wish {
    let by_hand = matches!(verb, NodeVerb::Clean | NodeVerb::Service);
    let step = |name: &str| Step {
        interface: "bios".to_owned(),
        step: name.to_owned(),
        args: serde_json::Map::new(),
        priority: 0,
    };
    Wish {
        verb,
        steps: by_hand.then(|| vec![step("factory_reset"), step("apply_configuration")]),
        runbook: None,
        config_drive: None,
        rescue_password: (verb == NodeVerb::Rescue).then(|| "secret".to_owned()),
    }
}

async fn ask(cloud: &Cloud, id: NodeId, verb: NodeVerb) {
    let ident = Ident::id(id);
    provision::set(&cloud.cx, &operator(), &ident, wish(verb))
        .await
        .unwrap();
}

/// A node that has been through these verbs.
async fn after(cloud: &Cloud, verbs: &[NodeVerb]) -> NodeId {
    let id = enroll(cloud).await;
    for verb in verbs {
        ask(cloud, id, *verb).await;
        cloud.drain().await;
    }
    id
}

async fn node_of(cloud: &Cloud, id: NodeId) -> Node {
    let mut tx = cloud.cx.store.read().await.unwrap();
    record::get(&mut tx, id).await.unwrap().unwrap()
}

/// What an operator would see.
#[derive(Debug, PartialEq)]
struct End {
    state: ProvisionState,
    power: Option<&'static str>,
    failed: bool,
    disks: Vec<Option<String>>,
    rescue: bool,
    wiped: bool,
}

async fn end(cloud: &Cloud, id: NodeId) -> End {
    let node = node_of(cloud, id).await;
    let machine = cloud.machines.get(&id.to_string());
    End {
        state: node.provision.state,
        power: node.power.seen.map(|power| power.as_str()),
        failed: node.last_error.is_some(),
        disks: machine.disks(),
        rescue: machine.runs_rescue_system(),
        wiped: node.wiped.is_some(),
    }
}

async fn assert_sound(cloud: &Cloud, id: NodeId, context: &str) {
    let mut tx = cloud.cx.store.read().await.unwrap();
    let filter = Filter {
        running: true,
        ..Filter::default()
    };
    let running = operations::list(&mut tx, filter).await.unwrap();
    assert!(running.is_empty(), "{context}: an operation is left");
    let node: Node = record::get(&mut tx, id).await.unwrap().unwrap();
    let state = node.provision.state;
    let kind = state.row().unwrap().kind;
    assert!(
        matches!(
            kind,
            NodeStateKind::Rests | NodeStateKind::Failed | NodeStateKind::Holds
        ),
        "{context}: the node is stuck in {state}"
    );
    assert_eq!(node.provision.target, None, "{context}");
    assert_eq!(node.power.target, None, "{context}");
    if state == ProvisionState::Available {
        let wipes: Vec<Wipe> = wipe::of_node(&mut tx, id).await.unwrap();
        let last = wipes.first().expect("a wipe on record");
        assert_eq!(node.wiped, Some(last.id), "{context}: not the last wipe");
        let disks = cloud.machines.get(&id.to_string()).disks();
        assert!(disks.iter().all(Option::is_none), "{context}: {disks:?}");
    }
    let mut before: Option<String> = None;
    let log = transitions::of_subject(&mut tx, SUBJECT, &id.to_string()).await;
    for transition in log.unwrap() {
        let (from, to) = (transition.from.unwrap(), transition.to);
        assert!(
            before.is_none() || before.as_ref() == Some(&from),
            "{context}: the log has a gap before {to}"
        );
        let from: ProvisionState = from.parse().unwrap();
        let row = from.row().unwrap();
        let next: ProvisionState = to.parse().unwrap();
        let lawful = row.verbs.iter().any(|(_, state)| *state == next)
            || row.events.iter().any(|(_, state)| *state == next);
        assert!(lawful, "{context}: {from} must not become {next}");
        before = Some(to);
    }
}

/// Runs an operation once undisturbed, then with one disturbance at each point of each step.
async fn survive<P, A>(prepare: P, ask: A)
where
    P: AsyncFn(&Cloud) -> NodeId,
    A: AsyncFn(&Cloud, NodeId),
{
    let cloud = Cloud::open().await;
    let id = prepare(&cloud).await;
    cloud.forget_moments();
    ask(&cloud, id).await;
    cloud.drain().await;
    assert_sound(&cloud, id, "undisturbed").await;
    let wanted = end(&cloud, id).await;
    assert!(!wanted.failed, "{:?}", node_of(&cloud, id).await.last_error);
    let moments = cloud.moments();
    assert!(moments.len() >= 3, "the harness saw no step");
    for (index, moment) in moments.iter().enumerate() {
        let ways: &[Disturbance] = match moment.point {
            Point::BeforeStep => &[
                Disturbance::Kill,
                Disturbance::Trouble,
                Disturbance::Delay,
                Disturbance::Failure,
            ],
            Point::BeforeCommit => &[
                Disturbance::Kill,
                Disturbance::Trouble,
                Disturbance::Failure,
            ],
            Point::AfterCommit => &[Disturbance::Kill],
        };
        for way in ways {
            let context = format!("{way:?} at {moment:?}");
            let cloud = Cloud::open().await;
            let id = prepare(&cloud).await;
            cloud.plan(index, way.clone());
            ask(&cloud, id).await;
            cloud.drain().await;
            assert_sound(&cloud, id, &context).await;
            if *way != Disturbance::Failure {
                assert_eq!(end(&cloud, id).await, wanted, "{context}");
            }
        }
    }
}

use NodeVerb::{
    Active, Adopt, Clean, Deleted, Inspect, Manage, Provide, Rebuild, Rescue, Service, Unrescue,
};

async fn verb_after(before: &[NodeVerb], verb: NodeVerb) {
    survive(
        async |cloud| after(cloud, before).await,
        async |cloud, id| ask(cloud, id, verb).await,
    )
    .await;
}

#[tokio::test]
async fn manage() {
    verb_after(&[], Manage).await;
}

#[tokio::test]
async fn inspect() {
    verb_after(&[Manage], Inspect).await;
}

#[tokio::test]
async fn provide() {
    let prepare = async |cloud: &Cloud| {
        let id = after(cloud, &[Manage]).await;
        cloud.machines.get(&id.to_string()).leave("a tenant's data");
        id
    };
    survive(prepare, async |cloud, id| ask(cloud, id, Provide).await).await;
}

#[tokio::test]
async fn clean_by_hand() {
    verb_after(&[Manage], Clean).await;
}

#[tokio::test]
async fn adopt() {
    verb_after(&[Manage], Adopt).await;
}

#[tokio::test]
async fn deploy() {
    verb_after(&[Manage, Provide], Active).await;
}

#[tokio::test]
async fn rebuild() {
    verb_after(&[Manage, Provide, Active], Rebuild).await;
}

#[tokio::test]
async fn undeploy() {
    verb_after(&[Manage, Provide, Active], Deleted).await;
}

#[tokio::test]
async fn rescue() {
    verb_after(&[Manage, Provide, Active], Rescue).await;
}

#[tokio::test]
async fn unrescue() {
    verb_after(&[Manage, Provide, Active, Rescue], Unrescue).await;
}

#[tokio::test]
async fn service() {
    verb_after(&[Manage, Provide, Active], Service).await;
}

#[tokio::test]
async fn power_on() {
    let ask = async |cloud: &Cloud, id| {
        let ident = Ident::id(id);
        power_node::set(&cloud.cx, &operator(), &ident, NodePowerTarget::On, None)
            .await
            .unwrap();
    };
    survive(async |cloud| enroll(cloud).await, ask).await;
}

/// A disk that cannot be wiped keeps its server from everybody.
#[tokio::test]
async fn a_server_that_cannot_be_wiped_is_given_to_nobody() {
    let cloud = Cloud::open().await;
    let id = after(&cloud, &[Manage]).await;
    let machine = cloud.machines.get(&id.to_string());
    machine.leave("a tenant's data");
    let broken = corten_bmc::BmcError::Refused {
        bmc: "sim".to_owned(),
        request: "wipe".to_owned(),
        status: None,
        message: "the disk is dead".to_owned(),
    };
    machine.fail_next(corten_sim::Touch::Wipe, 100, broken);
    ask(&cloud, id, Provide).await;
    cloud.drain().await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::CleanFailed);
    assert!(node.maintenance && node.wiped.is_none());
    assert!(node.last_error.unwrap().contains("the disk is dead"));
    assert_sound(&cloud, id, "a dead disk").await;
}
