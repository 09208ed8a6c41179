//! Inspection rules in a cloud: they are applied when an inspection ends, by priority; one that fails fails the inspection
//! and leaves nothing behind; passwords are sealed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use corten_iam::actor::{Actor, Scope};
use corten_model::ids::{InspectionRuleId, NodeId};
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_operations::metal::inspection_rule;
use corten_operations::metal::node::{self, Edit};
use corten_operations::metal::provision::{self, Wish};
use corten_operations::metal::rotate_key::rotate;
use corten_operations::metal::{Ident, driver, machine};
use corten_store::metal::inspection_rule::{InspectionRule, RuleStep};
use corten_store::metal::node::Node;
use corten_store::metal::port::of_node;
use corten_store::record;
use harness::{Cloud, member};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn operator() -> Actor {
    let mut actor = member();
    actor.scope = Scope::System;
    actor.roles.insert("admin".to_owned());
    actor
}

/// A node that has been through these verbs.
async fn after(cloud: &Cloud, verbs: &[NodeVerb]) -> NodeId {
    let driver = driver::of_node(&cloud.cx.metal, driver::FAKE).unwrap();
    let edit = Edit {
        node: node::blank(NodeId::random(), driver, cloud.cx.now()),
        secrets: BTreeMap::new(),
    };
    let made = node::create(&cloud.cx, &operator(), edit, false).await;
    let id = made.unwrap().id;
    for verb in verbs {
        ask(cloud, id, *verb).await;
    }
    id
}

async fn ask(cloud: &Cloud, id: NodeId, verb: NodeVerb) {
    let wish = Wish {
        verb,
        steps: None,
        runbook: None,
        config_drive: None,
        rescue_password: None,
    };
    provision::set(&cloud.cx, &operator(), &Ident::id(id), wish)
        .await
        .unwrap();
    cloud.drain().await;
}

async fn node_of(cloud: &Cloud, id: NodeId) -> Node {
    let mut tx = cloud.cx.store.read().await.unwrap();
    record::get(&mut tx, id).await.unwrap().unwrap()
}

async fn write_down(
    cloud: &Cloud,
    priority: i64,
    sensitive: bool,
    conditions: Value,
    actions: Value,
) -> InspectionRuleId {
    let steps = |value| serde_json::from_value::<Vec<RuleStep>>(value).unwrap();
    let rule = InspectionRule {
        priority,
        sensitive,
        conditions: steps(conditions),
        actions: steps(actions),
        ..InspectionRule::blank(InspectionRuleId::random(), cloud.cx.now())
    };
    let made = inspection_rule::create(&cloud.cx, &operator(), rule).await;
    made.unwrap().id
}

#[tokio::test]
async fn rules_are_applied_by_priority_when_an_inspection_ends() {
    let cloud = Cloud::open().await;
    let value = |value: &str| json!([{"op": "set-attribute", "args": ["extra/last", value]}]);
    write_down(&cloud, 1, false, json!([]), value("low")).await;
    write_down(&cloud, 9, false, json!([]), value("high")).await;
    let big = json!([
        {"op": "ge", "args": ["{inventory[cpu][count]}", 16]},
        {"op": "eq", "args": ["{inventory[system_vendor][manufacturer]}", "Corten"]},
    ]);
    let actions = json!([
        {"op": "add-trait", "args": ["CUSTOM_BIG"]},
        {"op": "set-attribute", "args": ["resource_class", "big"]},
        {"op": "set-capability", "args": ["cpus", "{inventory[cpu][count]}"]},
        {"op": "set-plugin-data", "args": ["class", "big"]},
        {"op": "set-port-attribute", "args": ["{inventory[interfaces][0][mac_address]}", "physical_network", "rack"]},
    ]);
    write_down(&cloud, 5, false, big, actions).await;
    let small = json!([{"op": "lt", "args": ["{inventory[memory][physical_mb]}", 1024]}]);
    let fail = json!([{"op": "fail", "args": ["too small"]}]);
    write_down(&cloud, 5, false, small, fail).await;

    let id = after(&cloud, &[NodeVerb::Manage, NodeVerb::Inspect]).await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Manageable);
    assert_eq!(node.standard.extra["last"], "low", "the lowest runs last");
    assert!(node.traits.contains("CUSTOM_BIG"));
    assert_eq!(node.resource_class.as_deref(), Some("big"));
    assert_eq!(node.properties["capabilities"], "cpus:16");
    assert_eq!(
        node.inspection.plugin_data,
        Some(json!({"source": "bmc", "class": "big"}))
    );
    let mut tx = cloud.cx.store.read().await.unwrap();
    let ports = of_node(&mut tx, id).await.unwrap();
    assert_eq!(ports[0].physical_network.as_deref(), Some("rack"));
}

#[tokio::test]
async fn a_rule_that_fails_fails_the_inspection_and_leaves_nothing() {
    let cloud = Cloud::open().await;
    let actions = json!([
        {"op": "add-trait", "args": ["CUSTOM_HALF"]},
        {"op": "fail", "args": ["{node.driver} is not welcome"]},
    ]);
    write_down(&cloud, 0, false, json!([]), actions).await;
    let id = after(&cloud, &[NodeVerb::Manage, NodeVerb::Inspect]).await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::InspectFailed);
    let error = node.last_error.unwrap();
    assert!(error.contains("fake-hardware is not welcome"), "{error}");
    assert!(node.traits.is_empty() && node.properties.is_empty());
}

#[tokio::test]
async fn a_password_in_a_sensitive_rule_is_sealed_from_end_to_end() {
    let cloud = Cloud::open().await;
    let actions = json!([{"op": "set-attribute", "args": ["driver_info/fake_password", "calvin"]}]);
    let rule = write_down(&cloud, 0, true, json!([]), actions).await;
    let row = async || {
        let mut tx = cloud.cx.store.read().await.unwrap();
        let row: InspectionRule = record::get(&mut tx, rule).await.unwrap().unwrap();
        row
    };
    let before = row().await;
    assert!(!serde_json::to_string(&before).unwrap().contains("calvin"));

    // A new key seals rules too.
    rotate(&cloud.cx.store, &cloud.cx.metal.vault)
        .await
        .unwrap();
    assert_ne!(row().await.sealed, before.sealed);

    let id = after(&cloud, &[NodeVerb::Manage, NodeVerb::Inspect]).await;
    let node = node_of(&cloud, id).await;
    assert_eq!(node.provision.state, ProvisionState::Manageable);
    assert!(!serde_json::to_string(&node).unwrap().contains("calvin"));
    let place = "driver_info/fake_password";
    let opened = machine::secret(&cloud.cx, &node, place).unwrap();
    assert_eq!(opened.as_deref(), Some("calvin"));

    // It can be changed without being seen, and not be laid open.
    let ident = Ident::id(rule);
    let change = |priority, sensitive| {
        move |before: &InspectionRule| {
            assert_eq!(before.actions.len(), 1, "who changes it has all of it");
            Ok(InspectionRule {
                priority,
                sensitive,
                ..before.clone()
            })
        }
    };
    inspection_rule::update(&cloud.cx, &operator(), &ident, change(7, true))
        .await
        .unwrap();
    let refused = inspection_rule::update(&cloud.cx, &operator(), &ident, change(7, false)).await;
    assert!(refused.unwrap_err().to_string().contains("sensitive"));
    let after = row().await;
    assert_eq!(after.priority, 7);
    assert!(after.actions.is_empty() && after.sealed.is_some());
}
