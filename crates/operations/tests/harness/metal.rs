//! Nodes in the fault harness: verbs, what an operator sees at their end, and what must hold whatever happened.

use super::{Cloud, Disturbance, image_id, member};
use corten_iam::actor::{Actor, Scope};
use corten_model::ids::{FlavorId, InstanceId, NodeId};
use corten_model::lifecycle::InstanceClass;
use corten_model::lifecycle::node::{NodeStateKind, NodeVerb, ProvisionState};
use corten_operations::instance::new;
use corten_operations::metal::node::{self, Edit};
use corten_operations::metal::provision::{self, Wish};
use corten_operations::metal::{Ident, driver};
use corten_store::flavors::Flavor;
use corten_store::metal::node::{Node, SUBJECT, Step};
use corten_store::metal::wipe::{self, Wipe};
use corten_store::operations::{self, Filter};
use corten_store::{record, transitions};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

pub fn operator() -> Actor {
    let mut actor = member();
    actor.scope = Scope::System;
    actor.roles.insert("admin".to_owned());
    actor
}

/// A simulated server. `booted`: it is worked on from within as a real one is, by a ramdisk that must be booted.
pub async fn enroll(cloud: &Cloud, booted: bool) -> NodeId {
    let driver = driver::of_node(&cloud.cx.metal, driver::FAKE).unwrap();
    let mut node = node::blank(NodeId::random(), driver, cloud.cx.now());
    if booted {
        let key = "fake_ramdisk".to_owned();
        node.driver_info.insert(key, true.into());
    }
    let edit = Edit {
        node,
        secrets: BTreeMap::new(),
    };
    let made = node::create(&cloud.cx, &operator(), edit, false).await;
    made.unwrap().id
}

pub fn wish(verb: NodeVerb) -> Wish {
    let by_hand = matches!(verb, NodeVerb::Clean | NodeVerb::Service);
    let step = |name: &str, args: serde_json::Value| Step {
        interface: "bios".to_owned(),
        step: name.to_owned(),
        args: args.as_object().cloned().unwrap(),
        priority: 0,
        booted: false,
    };
    Wish {
        verb,
        steps: by_hand.then(|| {
            let off = json!({"settings": [{"name": "ProcVirtualization", "value": "Disabled"}]});
            vec![
                step("factory_reset", json!({})),
                step("apply_configuration", off),
            ]
        }),
        runbook: None,
        config_drive: None,
        rescue_password: (verb == NodeVerb::Rescue).then(|| "secret".to_owned()),
    }
}

/// The step that installs this firmware: component and image.
pub fn firmware(verb: NodeVerb, settings: &[(&str, &str)]) -> Wish {
    let settings = settings.iter().map(|(component, image)| {
        json!({"component": component, "url": format!("http://127.0.0.1/{image}")})
    });
    let settings: Vec<_> = settings.collect();
    with_args(verb, &json!({"settings": settings}))
}

/// The same with arguments of any form.
pub fn with_args(verb: NodeVerb, args: &serde_json::Value) -> Wish {
    with_step(verb, "firmware", "update", args.clone())
}

/// One step, asked for with a verb.
pub fn with_step(verb: NodeVerb, interface: &str, name: &str, args: serde_json::Value) -> Wish {
    let step = Step {
        interface: interface.to_owned(),
        step: name.to_owned(),
        args: args.as_object().cloned().unwrap(),
        priority: 50,
        booted: false,
    };
    Wish {
        steps: Some(vec![step]),
        ..wish(verb)
    }
}

pub async fn ask(cloud: &Cloud, id: NodeId, verb: NodeVerb) {
    let ident = Ident::id(id);
    provision::set(&cloud.cx, &operator(), &ident, wish(verb))
        .await
        .unwrap();
}

/// A node that has been through these verbs.
pub async fn after(cloud: &Cloud, booted: bool, verbs: &[NodeVerb]) -> NodeId {
    let id = enroll(cloud, booted).await;
    for verb in verbs {
        ask(cloud, id, *verb).await;
        cloud.drain().await;
    }
    id
}

pub async fn node_of(cloud: &Cloud, id: NodeId) -> Node {
    let mut tx = cloud.cx.store.read().await.unwrap();
    record::get(&mut tx, id).await.unwrap().unwrap()
}

/// What an operator would see.
#[derive(Debug, PartialEq)]
pub struct End {
    pub state: ProvisionState,
    pub power: Option<&'static str>,
    pub failed: bool,
    pub disks: Vec<Option<String>>,
    pub rescue: bool,
    pub wiped: bool,
    /// The images of firmware that its BMC was told to install.
    pub flashes: Vec<String>,
}

pub async fn end(cloud: &Cloud, id: NodeId) -> End {
    let node = node_of(cloud, id).await;
    let machine = cloud.machines.get(&id.to_string());
    End {
        state: node.provision.state,
        power: node.power.seen.map(|power| power.as_str()),
        failed: node.last_error.is_some(),
        disks: machine.disks(),
        rescue: machine.runs_rescue_system(),
        wiped: node.wiped.is_some(),
        flashes: machine.flashes(),
    }
}

pub async fn assert_sound(cloud: &Cloud, id: NodeId, context: &str) {
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
    let known = node.flashes.iter().all(|flash| flash.lost_at.is_some());
    assert!(known, "{context}: firmware is left in flight");
    let flashes = cloud.machines.get(&id.to_string()).flashes();
    let different: BTreeSet<_> = flashes.iter().collect();
    assert_eq!(
        flashes.len(),
        different.len(),
        "{context}: flashed twice: {flashes:?}"
    );
    if state == ProvisionState::Available {
        let wipes: Vec<Wipe> = wipe::of_node(&mut tx, id).await.unwrap();
        let last = wipes.first().map(|wipe| wipe.id);
        assert!(last.is_some(), "{context}: no wipe is on record");
        assert_eq!(node.wiped, last, "{context}: not the last wipe");
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
pub async fn survive<P, A>(prepare: P, ask: A)
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
        for way in moment.ways() {
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

/// The flavor for whole servers.
pub const BARE_METAL: &str = "bm";

/// Has a flavor for whole servers of the class `bm.small`, with these specs too.
pub async fn offer(cloud: &Cloud, specs: &[(&str, &str)]) {
    let mut tx = cloud.cx.store.write().await.unwrap();
    let small: Flavor = record::get(&mut tx, "1").await.unwrap().unwrap();
    let of_class = [("resources:CUSTOM_BM_SMALL", "1"), ("resources:VCPU", "0")];
    let specs = of_class.iter().chain(specs);
    let flavor = Flavor {
        id: FlavorId::from(BARE_METAL),
        name: "bm.small".to_owned(),
        class: InstanceClass::Metal,
        extra_specs: specs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..small
    };
    record::insert(&mut tx, &flavor).await.unwrap();
    tx.commit().await.unwrap();
}

/// A node of that class that the next tenant may get.
pub async fn ready(cloud: &Cloud, booted: bool) -> NodeId {
    let id = after(cloud, booted, &[NodeVerb::Manage, NodeVerb::Provide]).await;
    change(cloud, id, |node| {
        node.resource_class = Some("bm.small".to_owned());
    })
    .await;
    id
}

/// Changes a node's row behind everybody's back.
pub async fn change(cloud: &Cloud, id: NodeId, change: impl FnOnce(&mut Node)) {
    let mut tx = cloud.cx.store.write().await.unwrap();
    let mut node: Node = record::lock(&mut tx, id).await.unwrap().unwrap();
    change(&mut node);
    record::update(&mut tx, &node).await.unwrap();
    tx.commit().await.unwrap();
}

/// A tenant asks for a whole server.
pub async fn rent(cloud: &Cloud) -> InstanceId {
    let request = new::NewInstances {
        name: "server".to_owned(),
        flavor_id: Some(FlavorId::from(BARE_METAL)),
        image_id: Some(image_id()),
        min_count: 1,
        max_count: 1,
        ..new::NewInstances::default()
    };
    let made = new::create(&cloud.cx, &member(), request).await;
    made.unwrap().instances[0].id
}
