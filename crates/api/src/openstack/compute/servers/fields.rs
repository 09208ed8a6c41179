//! Checks of single fields that several requests about servers share.

use crate::openstack::compute::input::{self, Sent};
use crate::openstack::compute::microversion::Microversion;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_model::refusal::Refusal;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The most user data, in characters of base64.
const MAX_USER_DATA: usize = 65_535;

/// For a field that may be left out but not be null: `#[serde(default, deserialize_with = "fields::given")]`.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For an object. Derived code would take a list of the values, too.
pub fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_map(Object(PhantomData))
}

fn wrong(field: &str, value: &str, rule: &str) -> Refusal {
    let shown: String = value.chars().take(80).collect();
    Refusal::invalid(format!(
        "Invalid input for field/attribute {field}. Value: {shown}. {rule}"
    ))
}

/// A description: `Some(None)` takes it away.
pub fn description(sent: Sent<String>) -> Result<Option<Option<String>>, Refusal> {
    Ok(match sent {
        Sent::Absent => None,
        Sent::Null => Some(None),
        Sent::Value(text) => Some(Some(input::description("description", &text, 255)?)),
    })
}

/// A host name (2.90): 2 to 63 letters, digits and `-`; from 2.94 a domain name of up to 255 characters.
pub fn hostname(mv: Microversion, text: &str) -> Result<String, Refusal> {
    if mv.at_least(94) {
        return domain_name("hostname", text);
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !(2..=63).contains(&text.len())
        || !text.chars().all(legal)
        || text.starts_with('-')
        || text.ends_with('-')
    {
        return Err(wrong(
            "hostname",
            text,
            "A host name has 2 to 63 letters, digits and '-', which is not at an end",
        ));
    }
    Ok(text.to_owned())
}

/// A domain name, as leniently as Nova takes one: 1 to 255 letters, digits and `-._`.
pub fn domain_name(field: &str, text: &str) -> Result<String, Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !(1..=255).contains(&text.len()) || !text.chars().all(legal) {
        return Err(wrong(
            field,
            text,
            "A domain name has 1 to 255 letters, digits, '-', '.' and '_'",
        ));
    }
    Ok(text.to_owned())
}

pub fn disk_config(text: String) -> Result<String, Refusal> {
    match text.as_str() {
        "AUTO" | "MANUAL" => Ok(text),
        other => Err(wrong(
            "OS-DCF:diskConfig",
            other,
            "It is either AUTO or MANUAL",
        )),
    }
}

/// An access address, as it is shown: the shortest form of IPv6 (RFC 5952).
pub fn address_v4(text: &str) -> Result<String, Refusal> {
    let address: Ipv4Addr = text
        .parse()
        .map_err(|_| wrong("accessIPv4", text, "It is not an IPv4 address"))?;
    Ok(address.to_string())
}

pub fn address_v6(text: &str) -> Result<String, Refusal> {
    let address: Ipv6Addr = text
        .parse()
        .map_err(|_| wrong("accessIPv6", text, "It is not an IPv6 address"))?;
    Ok(address.to_string())
}

/// Metadata: keys of 1 to 255 characters of a limited set, text values of at most 255.
pub fn metadata(items: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Refusal> {
    items
        .into_iter()
        .map(|(key, value)| Ok((metadata_key(&key)?, metadata_value(&key, value)?)))
        .collect()
}

pub fn metadata_key(key: &str) -> Result<String, Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_:. ".contains(c);
    if key.is_empty() || key.chars().count() > 255 || !key.chars().all(legal) {
        return Err(wrong(
            "metadata",
            key,
            "A key has 1 to 255 letters, digits, spaces or -_:.",
        ));
    }
    Ok(key.to_owned())
}

fn metadata_value(key: &str, value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) if text.chars().count() <= 255 => Ok(text),
        Value::String(_) => Err(wrong(
            "metadata",
            key,
            "Its value is longer than 255 characters",
        )),
        other => Err(wrong(
            "metadata",
            &other.to_string(),
            &format!("The value of '{key}' is not text"),
        )),
    }
}

fn base64(field: &str, text: String) -> Result<String, Refusal> {
    match STANDARD.decode(text.split_whitespace().collect::<String>()) {
        Ok(_) => Ok(text),
        Err(_) => Err(wrong(field, &text, "It is not base64")),
    }
}

/// Base64 user data, as sent.
pub fn user_data(text: String) -> Result<String, Refusal> {
    if text.len() > MAX_USER_DATA {
        return Err(wrong(
            "user_data",
            &text,
            &format!("It is longer than {MAX_USER_DATA} characters"),
        ));
    }
    base64("user_data", text)
}

/// A file for the config drive; what is left out is empty.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Personality {
    #[serde(default)]
    path: String,
    #[serde(default)]
    contents: String,
}

/// The files of a body: paths and base64 content.
pub fn personality(files: Vec<Personality>) -> Result<Vec<(String, String)>, Refusal> {
    files
        .into_iter()
        .map(|Personality { path, contents }| Ok((path, base64("contents", contents)?)))
        .collect()
}

/// Ids of the certificates that an image must be signed with; null asks for none. Signatures are not checked here, so
/// none can be promised.
pub fn certificates(ids: Sent<Vec<String>>) -> Result<Option<Option<Vec<String>>>, Refusal> {
    match ids {
        Sent::Absent => Ok(None),
        Sent::Null => Ok(Some(None)),
        Sent::Value(ids) => Err(wrong(
            "trusted_image_certificates",
            &ids.join(","),
            "This cloud does not check the signatures of images: leave it out",
        )),
    }
}

/// One tag: 1 to 60 characters without `/` and `,`.
pub fn tag(text: &str) -> Result<String, Refusal> {
    let length = text.chars().count();
    if length == 0 || length > 60 || text.contains(['/', ',']) {
        return Err(wrong(
            "tag",
            text,
            "A tag has 1 to 60 characters, none of them '/' or ','",
        ));
    }
    Ok(text.to_owned())
}
