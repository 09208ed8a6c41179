//! The `networks` of a create, as of its microversion, in the words of the floor below.

use crate::openstack::compute::microversion::Microversion;
use corten_model::ids::NetworkId;
use corten_model::refusal::Refusal;
use corten_operations::instance::networks::{Asked, Networks};
use serde_json::{Map, Value};
use std::net::IpAddr;
use uuid::Uuid;

fn wrong(value: &Value, rule: &str) -> Refusal {
    Refusal::invalid(format!(
        "Invalid input for field/attribute networks. Value: {value}. {rule}"
    ))
}

/// Reads what is asked for; what is not well formed is refused. From 2.37 on the field is required.
pub fn read(mv: Microversion, networks: Option<Value>) -> Result<Networks, Refusal> {
    let words = mv.at_least(37);
    let list = match networks {
        None if words => {
            return Err(Refusal::invalid(
                "Invalid input for field/attribute server. 'networks' is a required property since 2.37",
            ));
        }
        None => return Ok(Networks::Unsaid),
        Some(Value::String(word)) if words && word == "none" => return Ok(Networks::None),
        Some(Value::String(word)) if words && word == "auto" => return Ok(Networks::Auto),
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(wrong(
                &other,
                "It is a list, or from 2.37 on 'none' or 'auto'",
            ));
        }
    };
    if list.is_empty() {
        return Ok(Networks::Unsaid);
    }
    let asked = list.iter().map(|entry| read_entry(mv, entry));
    Ok(Networks::These(asked.collect::<Result<_, _>>()?))
}

fn read_entry(mv: Microversion, entry: &Value) -> Result<Asked, Refusal> {
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
    check_names_one(entry, fields)?;
    let text = |field: &str| fields.get(field).and_then(Value::as_str);
    let port_id = text("port").and_then(|id| id.parse().ok());
    Ok(Asked {
        network_id: match text("uuid") {
            Some(id) if port_id.is_none() => Some(network_id(entry, id)?),
            _ => None,
        },
        port_id,
        fixed_ip: text("fixed_ip").and_then(|ip| ip.parse().ok()),
        tag: text("tag").map(str::to_owned),
    })
}

/// Before 2.37 the form of an id was not checked with the rest of the body.
fn network_id(entry: &Value, text: &str) -> Result<NetworkId, Refusal> {
    text.parse().map_err(|_| {
        wrong(
            entry,
            &format!("Bad networks format: network uuid is not in proper format ({text})"),
        )
    })
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

pub(super) fn is_tag(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| (1..=60).contains(&text.chars().count()) && !text.contains([',', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(minor: u16, networks: Value) -> String {
        read(Microversion::of(minor), Some(networks))
            .unwrap_err()
            .message
    }

    fn taken(minor: u16, networks: Value) -> Vec<Asked> {
        match read(Microversion::of(minor), Some(networks)).unwrap() {
            Networks::These(asked) => asked,
            other => panic!("a list was sent: {other:?}"),
        }
    }

    #[test]
    fn none_and_auto_are_words_of_2_37() {
        let as_of = |minor| Microversion::of(minor);
        assert_eq!(read(as_of(1), None).unwrap(), Networks::Unsaid);
        assert!(read(as_of(37), None).is_err());
        let none = read(as_of(37), Some(json!("none"))).unwrap();
        assert_eq!(none, Networks::None);
        let auto = read(as_of(37), Some(json!("auto"))).unwrap();
        assert_eq!(auto, Networks::Auto);
        assert!(refused(36, json!("none")).contains("It is a list"));
        assert!(refused(96, json!(null)).contains("It is a list"));
        let empty = read(as_of(96), Some(json!([]))).unwrap();
        assert_eq!(empty, Networks::Unsaid);
    }

    #[test]
    fn an_entry_is_checked_field_by_field() {
        let id = "5d6a0f2e-8d3b-4a52-9f0e-1c2d3e4f5a6b";
        let network_id = Some(id.parse().unwrap());
        assert_eq!(taken(1, json!([{"uuid": id}]))[0].network_id, network_id);
        assert!(refused(37, json!([{"uuid": "x"}])).contains("'uuid' is not well formed"));
        assert!(refused(1, json!([{"uuid": "x"}])).contains("not in proper format"));
        assert!(refused(37, json!([{"uuid": id, "tag": "a"}])).contains("'tag' was unexpected"));
        let tagged = taken(
            42,
            json!([{"uuid": id, "tag": "a", "fixed_ip": "10.0.0.9"}]),
        );
        assert_eq!(tagged[0].tag.as_deref(), Some("a"));
        assert_eq!(tagged[0].fixed_ip, Some("10.0.0.9".parse().unwrap()));
        let port = taken(42, json!([{"uuid": id, "port": id}]));
        assert_eq!(
            (port[0].network_id, port[0].port_id),
            (None, Some(id.parse().unwrap()))
        );
        assert!(
            refused(42, json!([{"uuid": id, "colour": 1}])).contains("'colour' was unexpected")
        );
        assert!(refused(42, json!([{"fixed_ip": "10.0.0.1"}])).contains("by its uuid"));
        assert!(refused(42, json!([{"port": id, "fixed_ip": "10.0.0.1"}])).contains("has its own"));
        assert!(refused(42, json!(["x"])).contains("Each entry is an object"));
    }
}
