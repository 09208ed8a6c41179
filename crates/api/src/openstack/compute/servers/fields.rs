//! Checks of single fields that several requests about servers share.

use crate::openstack::compute::input::{self, Sent};
use crate::openstack::compute::microversion::Microversion;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_model::refusal::Refusal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The most user data, before base64, in bytes.
const MAX_USER_DATA_BYTES: usize = 65_535;

fn wrong(field: &str, value: &str, rule: &str) -> Refusal {
    let shown: String = value.chars().take(80).collect();
    Refusal::invalid(format!("Invalid input for field/attribute {field}. Value: {shown}. {rule}"))
}

/// A server's name: before 2.1 was strict white space was trimmed; it still is refused at the ends.
pub fn server_name(_: Microversion, name: &str) -> Result<String, Refusal> {
    input::name("name", name)
}

/// A description: `Some(None)` takes it away.
pub fn description(sent: Sent<String>) -> Result<Option<Option<String>>, Refusal> {
    Ok(match sent {
        Sent::Absent => None,
        Sent::Null => Some(None),
        Sent::Value(text) => Some(Some(input::description("description", &text, 255)?)),
    })
}

/// A host name (2.90): letters, digits and `-`, at most 63 characters; from 2.94 a domain name of up to 255.
pub fn hostname(mv: Microversion, text: &str) -> Result<String, Refusal> {
    let (longest, dots) = if mv.at_least(94) { (255, true) } else { (63, false) };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<_> = text.split('.').collect();
    if text.len() > longest || (labels.len() > 1 && !dots) || !labels.into_iter().all(label) {
        let rule = format!(
            "A host name has letters, digits and '-'{}, at most {longest} characters",
            if dots { " in parts separated by '.'" } else { "" }
        );
        return Err(wrong("hostname", text, &rule));
    }
    Ok(text.to_owned())
}

pub fn disk_config(text: String) -> Result<String, Refusal> {
    match text.as_str() {
        "AUTO" | "MANUAL" => Ok(text),
        other => Err(wrong("OS-DCF:diskConfig", other, "It is either AUTO or MANUAL")),
    }
}

/// An access address: `Some("")` takes it away.
pub fn address(field: &str, sent: Sent<String>) -> Result<Option<String>, Refusal> {
    let text = match sent {
        Sent::Absent => return Ok(None),
        Sent::Null => return Ok(Some(String::new())),
        Sent::Value(text) => text,
    };
    let v4 = field.ends_with('4');
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) if v4 => Ok(Some(text)),
        Ok(IpAddr::V6(_)) if !v4 => Ok(Some(text)),
        _ => Err(wrong(field, &text, if v4 { "It is not an IPv4 address" } else { "It is not an IPv6 address" })),
    }
}

/// Metadata: keys of 1 to 255 characters of a limited set, text values of at most 255.
pub fn metadata(items: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Refusal> {
    items.into_iter().map(|(key, value)| Ok((metadata_key(&key)?, metadata_value(&key, value)?))).collect()
}

pub fn metadata_key(key: &str) -> Result<String, Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_:. ".contains(c);
    if key.is_empty() || key.chars().count() > 255 || !key.chars().all(legal) {
        return Err(wrong("metadata", key, "A key has 1 to 255 letters, digits, spaces or -_:."));
    }
    Ok(key.to_owned())
}

fn metadata_value(key: &str, value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) if text.chars().count() <= 255 => Ok(text),
        Value::String(_) => Err(wrong("metadata", key, "Its value is longer than 255 characters")),
        other => Err(wrong("metadata", &other.to_string(), &format!("The value of '{key}' is not text"))),
    }
}

/// Base64 user data, as sent.
pub fn user_data(text: String) -> Result<String, Refusal> {
    match STANDARD.decode(text.split_whitespace().collect::<String>()) {
        Err(_) => Err(wrong("user_data", &text, "It is not base64")),
        Ok(bytes) if bytes.len() > MAX_USER_DATA_BYTES => {
            Err(wrong("user_data", "…", &format!("It is longer than {MAX_USER_DATA_BYTES} bytes")))
        }
        Ok(_) => Ok(text),
    }
}

/// One tag: 1 to 60 characters without `/` and `,`.
pub fn tag(text: &str) -> Result<String, Refusal> {
    let length = text.chars().count();
    if length == 0 || length > 60 || text.contains(['/', ',']) {
        return Err(wrong("tag", text, "A tag has 1 to 60 characters, none of them '/' or ','"));
    }
    Ok(text.to_owned())
}

/// An administrator's password for the guest, as the caller wants it.
pub fn admin_pass(text: String) -> Result<String, Refusal> {
    if text.chars().count() > 255 {
        return Err(wrong("adminPass", "…", "It is longer than 255 characters"));
    }
    Ok(text)
}
