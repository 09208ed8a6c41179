//! What rules do to a node, without a cloud around them.

use super::*;
use crate::metal::{Metal, driver, node::blank};
use corten_model::ids::NodePortId;
use corten_store::metal::inspection_rule::RuleStep;
use serde_json::json;

fn rule(conditions: Value, actions: Value) -> InspectionRule {
    let steps = |value| serde_json::from_value::<Vec<RuleStep>>(value).unwrap();
    InspectionRule {
        conditions: steps(conditions),
        actions: steps(actions),
        ..InspectionRule::blank(InspectionRuleId::random(), Timestamp::from_micros(0))
    }
}

fn metal() -> Metal {
    Metal::forgetful(None).unwrap()
}

fn subject() -> Subject {
    let driver = driver::find(&metal(), driver::REDFISH).unwrap();
    let now = Timestamp::from_micros(0);
    let mut node = blank(NodeId::random(), driver, now);
    node.inspection.inventory = Some(json!({
        "cpu": {"count": 8},
        "bmc_address": "10.0.0.7",
        "interfaces": [{"mac_address": "52:54:00:00:00:01"}],
    }));
    node.inspection.plugin_data = Some(json!({"source": "bmc"}));
    let address = "52:54:00:00:00:01".to_owned();
    let port = port::blank(NodePortId::random(), &node, address, now);
    Subject::new(node, vec![port])
}

fn applied(actions: Value) -> Result<Subject, Stop> {
    let mut subject = subject();
    let rule = rule(json!([]), actions);
    check(&rule).unwrap();
    subject.apply(&rule, &metal()).map(|_| subject)
}

#[test]
fn each_action_does_what_it_says() {
    let subject = applied(json!([
        {"op": "set-attribute", "args": {"path": "/driver_info/redfish_address", "value": "https://{inventory[bmc_address]}"}},
        {"op": "set-attribute", "args": ["properties.cpus", "{inventory[cpu][count]}"]},
        {"op": "set-attribute", "args": ["{{ /properties/model }}", "xyz"]},
        {"op": "set-attribute", "args": ["resource_class", "big"]},
        {"op": "set-attribute", "args": ["extra/a/b", {"cpus": "{{ inventory.cpu.count }}"}]},
        {"op": "extend-attribute", "args": {"path": "extra/list", "value": 1}},
        {"op": "extend-attribute", "args": {"path": "extra/list", "value": 1, "unique": true}},
        {"op": "extend-attribute", "args": ["extra/list", 2]},
        {"op": "set-attribute", "args": ["extra/gone", 1]},
        {"op": "del-attribute", "args": ["extra/gone"]},
        {"op": "del-attribute", "args": ["extra/never/there"]},
        {"op": "set-plugin-data", "args": {"path": "a.b", "value": "x"}},
        {"op": "extend-plugin-data", "args": {"path": ["a", "list"], "value": "y", "unique": true}},
        {"op": "unset-plugin-data", "args": {"path": "source"}},
        {"op": "set-port-attribute", "args": {"port_id": "{inventory[interfaces][0][mac_address]}", "path": "physical_network", "value": "rack"}},
        {"op": "extend-port-attribute", "args": {"port_id": "52:54:00:00:00:01", "path": "extra/seen", "value": "x"}},
        {"op": "set-port-attribute", "args": ["52:54:00:00:00:01", "pxe_enabled", false]},
        {"op": "set-port-attribute", "args": ["52:54:00:00:00:01", "extra/gone", 1]},
        {"op": "del-port-attribute", "args": ["52:54:00:00:00:01", "extra/gone"]},
        {"op": "add-trait", "args": {"name": "CUSTOM_A"}},
        {"op": "add-trait", "args": ["{item}"], "loop": ["CUSTOM_B", "CUSTOM_C"]},
        {"op": "remove-trait", "args": {"name": "CUSTOM_B"}},
        {"op": "set-capability", "args": {"name": "boot_mode", "value": "uefi"}},
        {"op": "set-capability", "args": {"name": "cpus", "value": "{inventory[cpu][count]}"}},
        {"op": "set-capability", "args": {"name": "gone", "value": 1}},
        {"op": "unset-capability", "args": {"name": "gone"}},
        {"op": "log", "args": {"msg": "Node {node.uuid}", "level": "debug"}},
    ]))
    .unwrap();
    let node = &subject.node;
    assert_eq!(
        node.driver_info["redfish_address"], "https://10.0.0.7",
        "{node:?}"
    );
    assert_eq!(
        Value::Object(node.properties.clone()),
        json!({"cpus": "8", "model": "xyz", "capabilities": "boot_mode:uefi,cpus:8"})
    );
    assert_eq!(node.resource_class.as_deref(), Some("big"));
    assert_eq!(
        Value::Object(node.standard.extra.clone()),
        json!({"a": {"b": {"cpus": 8}}, "list": [1, 2]})
    );
    assert_eq!(
        Value::Object(subject.plugin_data.clone()),
        json!({"a": {"b": "x", "list": ["y"]}})
    );
    let port = &subject.ports[0];
    assert_eq!(port.physical_network.as_deref(), Some("rack"));
    assert!(!port.pxe_enabled && subject.changed_ports.contains(&port.id));
    assert_eq!(
        Value::Object(port.standard.extra.clone()),
        json!({"seen": ["x"]})
    );
    let traits: Vec<_> = node.traits.iter().collect();
    assert_eq!(traits, ["CUSTOM_A", "CUSTOM_C"]);
}

#[test]
fn a_loop_of_objects_sets_several_attributes() {
    let subject = applied(json!([{
        "op": "set-attribute",
        "args": ["{item[path]}", "{item[value]}"],
        "loop": [
            {"path": "/driver_info/ipmi_username", "value": "admin"},
            {"path": "/driver_info/ipmi_address", "value": "{inventory[bmc_address]}"},
        ],
    }]))
    .unwrap();
    assert_eq!(
        Value::Object(subject.node.driver_info),
        json!({"ipmi_username": "admin", "ipmi_address": "10.0.0.7"})
    );
}

#[test]
fn another_driver_works_the_default_way() {
    let subject = applied(json!([
        {"op": "set-attribute", "args": ["/driver", "ipmi"]},
    ]))
    .unwrap();
    assert_eq!(subject.node.driver, "ipmi");
    let driver = driver::find(&metal(), driver::IPMI).unwrap();
    assert_eq!(subject.node.interfaces, driver.defaults());
}

#[test]
fn a_rule_whose_conditions_do_not_hold_changes_nothing() {
    let mut subject = subject();
    let before = subject.node.clone();
    let rule = rule(
        json!([{"op": "gt", "args": ["{inventory[cpu][count]}", 64]}]),
        json!([{"op": "fail", "args": ["too many"]}]),
    );
    assert_eq!(subject.apply(&rule, &metal()), Ok(false));
    assert_eq!(subject.node, before);
}

#[test]
fn a_rule_that_cannot_be_applied_stops_and_says_why() {
    let stopped = |actions: Value| applied(actions).unwrap_err();
    assert_eq!(
        stopped(json!([{"op": "fail", "args": {"msg": "no {node.driver} here"}}])),
        Stop::Asked("no redfish here".to_owned())
    );
    for (actions, word) in [
        (
            json!([{"op": "set-attribute", "args": ["extra/a", "{inventory[gpu]}"]}]),
            "did not find",
        ),
        (
            json!([{"op": "set-attribute", "args": ["driver", "other"]}]),
            "other",
        ),
        (
            json!([{"op": "set-port-attribute", "args": ["nobody", "extra/a", 1]}]),
            "no port",
        ),
        (
            json!([{"op": "set-attribute", "args": ["extra", 1]}]),
            "must be an object",
        ),
    ] {
        let Stop::Trouble(why) = stopped(actions) else {
            panic!("it was asked for");
        };
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn what_a_rule_cannot_do_is_refused_when_it_is_written_down() {
    for actions in [
        json!([]),
        json!([{"op": "api-call", "args": {"url": "http://a"}}]),
        json!([{"op": "dance", "args": {}}]),
        json!([{"op": "fail", "args": {}}]),
        json!([{"op": "log", "args": {"msg": "a", "level": "loud"}}]),
        json!([{"op": "set-attribute", "args": {"path": "/provision_state", "value": "active"}}]),
        json!([{"op": "set-attribute", "args": {"path": "/name/a", "value": 1}}]),
        json!([{"op": "set-attribute", "args": {"path": "/extra//a", "value": 1}}]),
        json!([{"op": "set-attribute", "args": {"path": "/extra/a", "value": "{item}"}}]),
        json!([{"op": "set-attribute", "args": ["{item}", 1], "loop": ["/extra/a", "/maintenance"]}]),
        json!([{"op": "set-port-attribute", "args": {"path": "/extra/a", "value": 1}}]),
        json!([{"op": "add-trait", "args": {"name": "no trait"}}]),
        json!([{"op": "set-capability", "args": ["a:b", 1]}]),
        json!([{"op": "log", "args": ["a"], "loop": [1], "multiple": "any"}]),
        json!([{"op": "log", "args": ["a"], "loop": "b"}]),
    ] {
        let refused = check(&rule(json!([]), actions.clone()));
        assert!(refused.is_err(), "{actions}");
    }
    for priority in [-1, 10_000] {
        let mut rule = rule(json!([]), json!([{"op": "log", "args": ["a"]}]));
        check(&rule).unwrap();
        rule.priority = priority;
        assert!(check(&rule).is_err());
    }
}

#[test]
fn a_sensitive_rule_that_fails_tells_no_value() {
    let mut rule = rule(json!([]), json!([]));
    let trouble = || Stop::Trouble("'calvin' is no object".to_owned());
    assert!(ended_by(&rule, trouble()).message.contains("calvin"));
    rule.sensitive = true;
    assert!(!ended_by(&rule, trouble()).message.contains("calvin"));
}

#[test]
fn a_password_that_a_rule_wrote_is_not_seen_by_the_next() {
    let subject = applied(json!([
        {"op": "set-attribute", "args": ["driver_info/redfish_password", "calvin"]},
        {"op": "set-attribute", "args": ["extra/copy", "{node.driver_info[redfish_username]}"]},
    ]));
    assert!(subject.is_err());
    let leak = applied(json!([
        {"op": "set-attribute", "args": ["driver_info/redfish_password", "calvin"]},
        {"op": "set-attribute", "args": ["extra/copy", "{node.driver_info[redfish_password]}"]},
    ]));
    assert!(leak.is_err());
}
