//! The scheduler hints of a create. Hints that nobody knows are kept and shown, as in Nova.

use corten_model::refusal::Refusal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use uuid::Uuid;

/// Refuses a known hint that is not well formed.
pub fn check(hints: &BTreeMap<String, Value>) -> Result<(), Refusal> {
    for (name, value) in hints {
        let well_formed = match name.as_str() {
            "group" | "different_host" => one_or_more(value, is_uuid),
            // A single word is looked up as it is; only a list is checked.
            "same_host" => value.is_string() || value.is_array() && one_or_more(value, is_uuid),
            "different_cell" => one_or_more(value, |_| true),
            "query" => value.is_string() || value.is_object(),
            "target_cell" => value.is_string(),
            "build_near_host_ip" => value
                .as_str()
                .is_some_and(|text| text.parse::<IpAddr>().is_ok()),
            "cidr" => value.as_str().is_some_and(is_prefix_length),
            _ => true,
        };
        if !well_formed {
            return Err(Refusal::invalid(format!(
                "Invalid input for field/attribute {name}. Value: {value}. The hint '{name}' is not well formed"
            )));
        }
    }
    Ok(())
}

/// One text, or a list of texts, each of which `is_right`.
fn one_or_more(value: &Value, is_right: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => is_right(text),
        Value::Array(list) => list
            .iter()
            .all(|entry| entry.as_str().is_some_and(&is_right)),
        _ => false,
    }
}

fn is_uuid(text: &str) -> bool {
    text.parse::<Uuid>().is_ok()
}

fn is_prefix_length(text: &str) -> bool {
    let digits = text.strip_prefix('/').unwrap_or_default();
    !digits.is_empty()
        && digits
            .chars()
            .all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase() || ".:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn is_accepted(name: &str, value: Value) -> bool {
        check(&BTreeMap::from([(name.to_owned(), value)])).is_ok()
    }

    #[test]
    fn known_hints_are_checked_and_others_pass() {
        let id = "5d6a0f2e-8d3b-4a52-9f0e-1c2d3e4f5a6b";
        assert!(is_accepted("group", json!(id)) && is_accepted("different_host", json!([id])));
        assert!(!is_accepted("group", json!("web")) && !is_accepted("different_host", json!(7)));
        assert!(
            !is_accepted("same_host", json!(["web"]))
                && !is_accepted("build_near_host_ip", json!("near"))
        );
        assert!(is_accepted("cidr", json!("/24")) && !is_accepted("cidr", json!("24")));
        assert!(is_accepted("colour", json!({"red": 1})));
    }
}
