//! The `networks` of a create. There are no networks yet: only none at all can be kept as a promise.

use crate::openstack::compute::microversion::Microversion;
use corten_model::refusal::Refusal;
use serde_json::{Map, Value};
use std::net::IpAddr;
use uuid::Uuid;

fn wrong(value: &Value, rule: &str) -> Refusal {
    Refusal::invalid(format!(
        "Invalid input for field/attribute networks. Value: {value}. {rule}"
    ))
}

/// Refuses what is not well formed, then what asks for a network. From 2.37 on the field is required.
pub fn check(mv: Microversion, networks: Option<Value>) -> Result<(), Refusal> {
    let words = mv.at_least(37);
    let list = match networks {
        None if words => {
            return Err(Refusal::invalid(
                "Invalid input for field/attribute server. 'networks' is a required property since 2.37",
            ));
        }
        None => return Ok(()),
        Some(Value::String(word)) if words && matches!(word.as_str(), "none" | "auto") => {
            return Ok(());
        }
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(wrong(
                &other,
                "It is a list, or from 2.37 on 'none' or 'auto'",
            ));
        }
    };
    for entry in &list {
        check_entry(mv, entry)?;
    }
    if list.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(
        "Network not found: this cloud has no networks yet. Use \"networks\": \"none\" (--nic none).",
    ))
}

fn check_entry(mv: Microversion, entry: &Value) -> Result<(), Refusal> {
    let Value::Object(fields) = entry else {
        return Err(wrong(entry, "Each entry is an object"));
    };
    let has_tag = mv.at_least(42) || (mv.at_least(32) && !mv.at_least(37));
    for (name, value) in fields {
        let well_formed = match name.as_str() {
            "uuid" if !mv.at_least(37) => value.is_string(),
            "uuid" => is_uuid(value),
            "port" => value.is_null() || is_uuid(value),
            "fixed_ip" => value
                .as_str()
                .is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            "tag" if has_tag => is_tag(value),
            _ => {
                return Err(wrong(
                    entry,
                    &format!("Additional properties are not allowed ('{name}' was unexpected)"),
                ));
            }
        };
        if !well_formed {
            return Err(wrong(entry, &format!("'{name}' is not well formed")));
        }
    }
    check_names_one(entry, fields)
}

fn check_names_one(entry: &Value, fields: &Map<String, Value>) -> Result<(), Refusal> {
    let named = |field: &str| fields.get(field).is_some_and(|value| !value.is_null());
    if named("port") && named("fixed_ip") {
        return Err(wrong(
            entry,
            "Specified Fixed IP address cannot be used with a port: the port has its own",
        ));
    }
    if !named("port") && !named("uuid") {
        return Err(wrong(
            entry,
            "Each entry names a network by its uuid, or a port",
        ));
    }
    Ok(())
}

fn is_uuid(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.parse::<Uuid>().is_ok())
}

fn is_tag(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| (1..=60).contains(&text.chars().count()) && !text.contains([',', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(minor: u16, networks: Value) -> String {
        check(Microversion::of(minor), Some(networks))
            .unwrap_err()
            .message
    }

    #[test]
    fn none_and_auto_are_words_of_2_37() {
        assert!(check(Microversion::of(1), None).is_ok());
        assert!(check(Microversion::of(37), None).is_err());
        assert!(check(Microversion::of(37), Some(json!("none"))).is_ok());
        assert!(refused(36, json!("none")).contains("It is a list"));
        assert!(refused(96, json!(null)).contains("It is a list"));
        assert!(check(Microversion::of(96), Some(json!([]))).is_ok());
    }

    #[test]
    fn an_entry_is_checked_field_by_field() {
        let id = "5d6a0f2e-8d3b-4a52-9f0e-1c2d3e4f5a6b";
        assert!(refused(1, json!([{"uuid": id}])).contains("no networks yet"));
        assert!(refused(37, json!([{"uuid": "x"}])).contains("'uuid' is not well formed"));
        assert!(refused(37, json!([{"uuid": id, "tag": "a"}])).contains("'tag' was unexpected"));
        assert!(refused(42, json!([{"uuid": id, "tag": "a"}])).contains("no networks yet"));
        assert!(
            refused(42, json!([{"uuid": id, "colour": 1}])).contains("'colour' was unexpected")
        );
        assert!(refused(42, json!([{"fixed_ip": "10.0.0.1"}])).contains("by its uuid"));
        assert!(refused(42, json!(["x"])).contains("Each entry is an object"));
    }
}
