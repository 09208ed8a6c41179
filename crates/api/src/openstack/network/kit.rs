//! What the resources of the network service share: bodies of one or many, their values, and the attributes that every
//! resource shows.

pub use super::collection::{Collection, narrow};

use crate::params::parse_truth;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use corten_model::refusal::Refusal;
use corten_store::network::{Resource, Standard};
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::str::FromStr;

/// A create's body: one thing under its name, or several under the name of the collection.
pub struct Creates<T> {
    pub items: Vec<T>,
    pub is_bulk: bool,
}

/// Reads a create's body.
pub fn creates<T: DeserializeOwned>(
    mut body: Map<String, Value>,
    one: &str,
    many: &str,
) -> Result<Creates<T>, Refusal> {
    let (single, list) = (body.remove(one), body.remove(many));
    if let Some(other) = body.keys().next() {
        return Err(Refusal::invalid(format!(
            "Unrecognized attribute(s) '{other}': the body holds '{one}' or '{many}'."
        )));
    }
    // Older clients name each member of a list again.
    let bare = |item: Value| match item {
        Value::Object(mut fields) if fields.len() == 1 && fields.contains_key(one) => {
            fields.remove(one).unwrap_or_default()
        }
        item => item,
    };
    match (single, list) {
        (Some(item), None) => Ok(Creates {
            items: vec![read(item, one)?],
            is_bulk: false,
        }),
        (None, Some(Value::Array(items))) if !items.is_empty() => Ok(Creates {
            items: items
                .into_iter()
                .map(|item| read(bare(item), one))
                .collect::<Result<_, _>>()?,
            is_bulk: true,
        }),
        (None, Some(_)) => Err(Refusal::invalid(format!(
            "'{many}' is not a list of things to make."
        ))),
        _ => Err(Refusal::invalid(format!(
            "Unable to find '{one}' in request body"
        ))),
    }
}

/// Reads the one thing that an update's body, or an action's, holds.
pub fn only<T: DeserializeOwned>(mut body: Map<String, Value>, name: &str) -> Result<T, Refusal> {
    let item = body
        .remove(name)
        .ok_or_else(|| Refusal::invalid(format!("Unable to find '{name}' in request body")))?;
    match body.keys().next() {
        None => read(item, name),
        Some(other) => Err(Refusal::invalid(format!(
            "Unrecognized attribute(s) '{other}': the body holds '{name}'."
        ))),
    }
}

/// Reads a JSON value; the refusal names the attribute.
pub fn read<T: DeserializeOwned>(value: Value, name: &str) -> Result<T, Refusal> {
    if !value.is_object() {
        return Err(Refusal::invalid(format!("'{name}' is not an object.")));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let place = error.path().to_string();
        let cause = error.into_inner().to_string();
        match cause.strip_prefix("unknown field `") {
            Some(rest) => {
                let field = rest.split('`').next().unwrap_or_default();
                Refusal::invalid(format!("Unrecognized attribute(s) '{field}'"))
            }
            None if place == "." => {
                Refusal::invalid(format!("Invalid input for {name}. Reason: {cause}."))
            }
            None => Refusal::invalid(format!("Invalid input for {place}. Reason: {cause}.")),
        }
    })
}

/// What was made: one under its name, or all under the name of the collection.
pub fn created(views: Vec<Value>, is_bulk: bool, one: &str, many: &str) -> Response {
    let body = if is_bulk {
        json!({ many: views })
    } else {
        json!({ one: views.into_iter().next() })
    };
    (StatusCode::CREATED, Json(body)).into_response()
}

/// An id in a path. What is no id is a thing that does not exist.
pub fn id_of<T: Resource, I: FromStr>(text: &str) -> Result<I, Refusal> {
    text.parse()
        .map_err(|_| Refusal::no_such(T::KIND, text).named(T::MISSING))
}

/// Truth as Neutron takes it: JSON's, its spellings as text, 0 and 1.
pub fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let truth = match &value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => parse_truth(text),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        _ => None,
    };
    match truth {
        Some(truth) => Ok(Some(truth)),
        None => Err(serde::de::Error::custom(format!(
            "'{}' cannot be converted to boolean",
            plain(&value)
        ))),
    }
}

/// A whole number, also as text.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(serde::de::Error::custom(format!(
            "'{}' is not an integer",
            plain(&value)
        ))),
    }
}

/// Tells an attribute that was set to null from one that was not sent.
pub fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A list where null stands for an empty one.
pub fn list_or_null<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(|list| Some(list.unwrap_or_default()))
}

pub(super) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The longest name and description, in characters.
const TEXT_MAX: usize = 255;

/// A text that is not too long.
pub fn text(field: &str, value: Option<String>) -> Result<Option<String>, Refusal> {
    match &value {
        Some(text) if text.chars().count() > TEXT_MAX => Err(Refusal::invalid(format!(
            "Invalid input for {field}. Reason: '{text}' exceeds maximum length of {TEXT_MAX}."
        ))),
        _ => Ok(value),
    }
}

/// A range of addresses, or one address; bits of hosts may be set, as in `10.0.0.7/24`.
pub fn range(field: &str, text: &str) -> Result<IpNet, Refusal> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(alone).ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid input for {field}. Reason: '{text}' is not a valid IP subnet. It is ADDRESS/PREFIX, as in 192.0.2.0/24 or \
             2001:db8::/64, with a prefix of at most 32 for IPv4 and 128 for IPv6."
        ))
    })
}

/// 4 or 6, which must be said.
pub fn ip_version(value: Option<i64>) -> Result<u8, Refusal> {
    match value {
        Some(4) => Ok(4),
        Some(6) => Ok(6),
        Some(other) => Err(Refusal::invalid(format!(
            "Invalid input for ip_version. Reason: '{other}' is not in [4, 6]."
        ))),
        None => Err(Refusal::invalid(
            "Failed to parse request. Required attribute 'ip_version' not specified",
        )),
    }
}

/// Several of them, none twice.
pub fn ranges(field: &str, texts: &[String]) -> Result<Vec<IpNet>, Refusal> {
    let mut ranges = Vec::new();
    for text in texts {
        if !text.contains('/') {
            return Err(Refusal::invalid(format!(
                "Invalid input for {field}. Reason: '{text}' is not a valid IP subnet: it has no prefix length."
            )));
        }
        let range = range(field, text)?;
        if ranges.contains(&range) {
            return Err(Refusal::invalid(format!(
                "Invalid input for {field}. Reason: Duplicate items in the list: '{text}'."
            )));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

/// The project that a body names, under its new name or its old one.
pub fn project(
    project_id: Option<corten_model::ids::ProjectId>,
    tenant_id: Option<corten_model::ids::ProjectId>,
) -> Result<Option<corten_model::ids::ProjectId>, Refusal> {
    let named = [&project_id, &tenant_id].into_iter().flatten();
    if let Some(long) = named.map(|id| id.as_str()).find(|id| id.len() > TEXT_MAX) {
        return Err(Refusal::invalid(format!(
            "Invalid input for project_id. Reason: '{long}' exceeds maximum length of {TEXT_MAX}."
        )));
    }
    match (project_id, tenant_id) {
        (Some(project), Some(tenant)) if project != tenant => Err(Refusal::invalid(
            "'project_id' and 'tenant_id' do not match",
        )),
        (project, tenant) => Ok(project.or(tenant)),
    }
}

/// A resource's own attributes with those that all of them have.
pub fn with_standard(mut view: Value, standard: &Standard) -> Value {
    let Standard {
        project_id,
        name,
        description,
        tags,
        revision,
        created_at,
        updated_at,
    } = standard;
    let common = json!({
        "project_id": project_id,
        "tenant_id": project_id,
        "name": name,
        "description": description,
        "tags": tags,
        "revision_number": revision,
        "created_at": created_at.seconds_z(),
        "updated_at": updated_at.seconds_z(),
    });
    if let (Value::Object(view), Value::Object(common)) = (&mut view, common) {
        for (field, value) in common {
            view.entry(field).or_insert(value);
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[serde(default, deserialize_with = "truth")]
        admin_state_up: Option<bool>,
        #[serde(default, deserialize_with = "nullable")]
        gateway: Option<Option<String>>,
    }

    fn body(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn bodies_hold_one_or_many_and_say_what_is_wrong() {
        let one = creates::<Thing>(
            body(r#"{"thing": {"admin_state_up": "False"}}"#),
            "thing",
            "things",
        )
        .unwrap();
        assert!(!one.is_bulk && one.items[0].admin_state_up == Some(false));
        assert_eq!(one.items[0].gateway, None);
        let many = creates::<Thing>(
            body(r#"{"things": [{}, {"gateway": null}]}"#),
            "thing",
            "things",
        )
        .unwrap();
        assert!(many.is_bulk && many.items[1].gateway == Some(None));
        let wrong = |text: &str| {
            creates::<Thing>(body(text), "thing", "things")
                .map(|_| ())
                .unwrap_err()
                .message
        };
        assert_eq!(
            wrong(r#"{"thing": {"colour": 1}}"#),
            "Unrecognized attribute(s) 'colour'"
        );
        assert!(
            wrong(r#"{"thing": {"admin_state_up": "maybe"}}"#)
                .contains("cannot be converted to boolean")
        );
        assert!(wrong(r#"{"things": []}"#).contains("not a list"));
        assert!(wrong(r#"{"other": {}}"#).contains("Unrecognized"));
        assert!(wrong("{}").contains("Unable to find 'thing'"));
    }
}
