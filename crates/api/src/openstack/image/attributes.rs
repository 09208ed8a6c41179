//! The attributes of an image as JSON: which can be written, and what values they take.

use corten_model::refusal::Refusal;
use corten_operations::image::{Attribute, CONTAINER_FORMATS, DISK_FORMATS};
use corten_store::images::Visibility;
use serde_json::Value;

/// The longest text of names, tags and the names of properties.
const MAX_TEXT: usize = 255;
/// Glance keeps these numbers in 32 bits.
const MAX_MINIMUM: i64 = i32::MAX as i64;

const READ_ONLY: [&str; 14] = [
    "created_at",
    "updated_at",
    "status",
    "checksum",
    "size",
    "virtual_size",
    "direct_url",
    "self",
    "file",
    "schema",
    "id",
    "os_hash_algo",
    "os_hash_value",
    "stores",
];
const RESERVED: [&str; 3] = ["location", "deleted", "deleted_at"];
const RESERVED_PREFIX: &str = "os_glance_";
/// Those that every image has and that can be changed.
const BASE: [&str; 10] = [
    "name",
    "visibility",
    "owner",
    "protected",
    "os_hidden",
    "disk_format",
    "container_format",
    "min_disk",
    "min_ram",
    "tags",
];

/// An attribute that every image has, or a property that its owner made up.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    Base(Attribute),
    Property { name: String, value: String },
}

pub fn is_base(name: &str) -> bool {
    BASE.contains(&name)
}

/// Refuses what only the service itself writes.
pub fn check_writable(name: &str) -> Result<(), Refusal> {
    if READ_ONLY.contains(&name) {
        return Err(Refusal::forbidden(format!(
            "Attribute '{name}' is read-only."
        )));
    }
    if RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX) {
        return Err(Refusal::forbidden(format!(
            "Attribute '{name}' is reserved."
        )));
    }
    if name == "locations" {
        return Err(Refusal::forbidden(
            "It's not allowed to add, replace or remove locations: this cloud keeps the data of images itself. \
             Upload or import it.",
        ));
    }
    Ok(())
}

/// Reads the value of a writable attribute.
pub fn parse(name: &str, value: Value) -> Result<Parsed, Refusal> {
    let base = match name {
        "name" => Attribute::Name(optional_text(name, value)?),
        "visibility" => Attribute::Visibility(visibility(value)?),
        "owner" => Attribute::Owner(optional_text(name, value)?.map(Into::into)),
        "protected" => Attribute::Protected(truth(name, value)?),
        "os_hidden" => Attribute::Hidden(truth(name, value)?),
        "disk_format" => Attribute::DiskFormat(one_of(name, value, &DISK_FORMATS)?),
        "container_format" => Attribute::ContainerFormat(one_of(name, value, &CONTAINER_FORMATS)?),
        "min_disk" => Attribute::MinDiskGib(minimum(name, value)?),
        "min_ram" => Attribute::MinRamMib(minimum(name, value)?),
        "tags" => Attribute::Tags(tags(value)?),
        _ => return property(name, value),
    };
    Ok(Parsed::Base(base))
}

fn wrong(name: &str, value: &Value, rule: &str) -> Refusal {
    let shown: String = value.to_string().chars().take(80).collect();
    Refusal::invalid(format!(
        "Provided object does not match schema 'image': {shown} is not a value for '{name}': {rule}."
    ))
}

fn property(name: &str, value: Value) -> Result<Parsed, Refusal> {
    if name.is_empty() || name.chars().count() > MAX_TEXT {
        return Err(Refusal::invalid(format!(
            "The name of a custom property has 1 to {MAX_TEXT} characters; this one has {}.",
            name.chars().count()
        )));
    }
    match value {
        Value::String(value) => Ok(Parsed::Property {
            name: name.to_owned(),
            value,
        }),
        other => Err(wrong(name, &other, "a property is a string")),
    }
}

fn optional_text(name: &str, value: Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= MAX_TEXT => Ok(Some(text)),
        other => Err(wrong(
            name,
            &other,
            "it is null or a string of at most 255 characters",
        )),
    }
}

fn visibility(value: Value) -> Result<Visibility, Refusal> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        wrong(
            "visibility",
            &value,
            "it is community, public, private or shared",
        )
    })
}

fn truth(name: &str, value: Value) -> Result<bool, Refusal> {
    value
        .as_bool()
        .ok_or_else(|| wrong(name, &value, "it is true or false"))
}

fn one_of(name: &str, value: Value, known: &[&str]) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if known.contains(&text.as_str()) => Ok(Some(text)),
        other => Err(wrong(
            name,
            &other,
            &format!("it is null or one of {}", known.join(", ")),
        )),
    }
}

fn minimum(name: &str, value: Value) -> Result<i64, Refusal> {
    let number = value
        .as_i64()
        .filter(|number| (0..=MAX_MINIMUM).contains(number));
    number.ok_or_else(|| {
        wrong(
            name,
            &value,
            &format!("it is a whole number from 0 to {MAX_MINIMUM}"),
        )
    })
}

fn tags(value: Value) -> Result<std::collections::BTreeSet<String>, Refusal> {
    let Value::Array(items) = value else {
        return Err(wrong("tags", &value, "it is a list of strings"));
    };
    items
        .into_iter()
        .map(|item| match item {
            Value::String(tag) => tag_text(tag),
            other => Err(wrong("tags", &other, "a tag is a string")),
        })
        .collect()
}

/// A tag, in a list or in a path.
pub fn tag_text(tag: String) -> Result<String, Refusal> {
    if tag.chars().count() <= MAX_TEXT {
        return Ok(tag);
    }
    Err(Refusal::invalid(format!(
        "A tag has at most {MAX_TEXT} characters; this one has {}.",
        tag.chars().count()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::refusal::Reason;
    use serde_json::json;

    #[test]
    fn values_of_the_wrong_kind_are_refused_with_the_rule() {
        for (name, value) in [
            ("name", json!(7)),
            ("name", json!("x".repeat(256))),
            ("visibility", json!("secret")),
            ("protected", json!("yes")),
            ("disk_format", json!("wrong")),
            ("container_format", json!("wrong")),
            ("min_disk", json!(-1)),
            ("min_ram", json!(1_i64 << 40)),
            ("tags", json!("a")),
            ("tags", json!(["x".repeat(256)])),
            ("colour", json!(1)),
            ("colour", json!(null)),
        ] {
            let refusal = parse(name, value.clone()).unwrap_err();
            assert_eq!(refusal.reason, Reason::Invalid, "{name} = {value}");
        }
        assert_eq!(
            parse("disk_format", json!(null)).unwrap(),
            Parsed::Base(Attribute::DiskFormat(None))
        );
        assert!(matches!(
            parse("colour", json!("red")).unwrap(),
            Parsed::Property { .. }
        ));
    }

    #[test]
    fn what_the_service_writes_is_forbidden() {
        for name in [
            "id",
            "status",
            "size",
            "location",
            "deleted",
            "os_glance_foo",
            "locations",
            "stores",
        ] {
            assert_eq!(
                check_writable(name).unwrap_err().reason,
                Reason::Forbidden,
                "{name}"
            );
        }
        assert!(check_writable("os_distro").is_ok());
    }
}
