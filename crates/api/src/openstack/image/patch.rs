//! Patches: `application/openstack-images-v2.1-json-patch` and its elder sister v2.0, which follow drafts 10 and 4 of
//! JSON Patch, on the attributes of an image only.

use super::attributes::{self, Parsed};
use corten_model::refusal::Refusal;
use corten_operations::image::Change;
use serde_json::{Map, Value};

/// The media types, in the order in which `Accept-Patch` lists them.
pub const MEDIA_TYPES: [&str; 2] = [
    "application/openstack-images-v2.0-json-patch",
    "application/openstack-images-v2.1-json-patch",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draft {
    /// `{"replace": "/name", "value": "x"}`; an add of what is there is refused.
    Four,
    /// `{"op": "replace", "path": "/name", "value": "x"}`.
    Ten,
}

impl Draft {
    pub fn of(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        match media_type {
            "application/openstack-images-v2.0-json-patch" => Some(Self::Four),
            "application/openstack-images-v2.1-json-patch" => Some(Self::Ten),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Replace,
}

impl Op {
    const ALL: [(&str, Self); 3] = [
        ("add", Self::Add),
        ("remove", Self::Remove),
        ("replace", Self::Replace),
    ];

    fn of(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, op)| *op)
    }
}

/// Reads a patch.
pub fn changes(body: Value, draft: Draft) -> Result<Vec<Change>, Refusal> {
    let Value::Array(operations) = body else {
        return Err(Refusal::invalid(
            "Request body must be a JSON array of operation objects.",
        ));
    };
    operations
        .into_iter()
        .map(|operation| match operation {
            Value::Object(operation) => change(operation, draft),
            _ => Err(Refusal::invalid("Operations must be JSON objects.")),
        })
        .collect()
}

fn change(mut operation: Map<String, Value>, draft: Draft) -> Result<Change, Refusal> {
    let (op, pointer) = match draft {
        Draft::Four => draft_4(&operation)?,
        Draft::Ten => draft_10(&operation)?,
    };
    let name = attribute_of(&pointer)?;
    attributes::check_writable(&name)?;
    if op == Op::Remove {
        return if attributes::is_base(&name) {
            Err(Refusal::forbidden(format!(
                "Property {name} may not be removed."
            )))
        } else {
            Ok(Change::RemoveProperty { name })
        };
    }
    let value = operation.remove("value").ok_or_else(|| {
        Refusal::invalid(format!(
            "The operation on '{pointer}' requires a member named \"value\"."
        ))
    })?;
    Ok(match (attributes::parse(&name, value)?, op, draft) {
        (Parsed::Base(_), Op::Add, Draft::Four) => {
            return Err(Refusal::conflict(format!(
                "Property {name} already present: replace it instead."
            )));
        }
        (Parsed::Base(attribute), ..) => Change::Set(attribute),
        (Parsed::Property { name, value }, Op::Add, Draft::Four) => {
            Change::AddProperty { name, value }
        }
        (Parsed::Property { name, value }, Op::Add, Draft::Ten) => {
            Change::SetProperty { name, value }
        }
        (Parsed::Property { name, value }, ..) => Change::ReplaceProperty { name, value },
    })
}

fn draft_10(operation: &Map<String, Value>) -> Result<(Op, String), Refusal> {
    let op = operation.get("op").and_then(Value::as_str).ok_or_else(|| {
        Refusal::invalid(
            "Unable to find `op` in JSON Schema change. It must be one of: add, remove, replace.",
        )
    })?;
    let op = Op::of(op).ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid operation: `{op}`. It must be one of: add, remove, replace."
        ))
    })?;
    let path = operation.get("path").and_then(Value::as_str);
    let path =
        path.ok_or_else(|| Refusal::invalid("Unable to find 'path' in JSON Schema change."))?;
    Ok((op, path.to_owned()))
}

fn draft_4(operation: &Map<String, Value>) -> Result<(Op, String), Refusal> {
    let mut found = Op::ALL
        .iter()
        .filter_map(|(name, op)| Some((*op, operation.get(*name)?.as_str()?)));
    match (found.next(), found.next()) {
        (Some((op, path)), None) => Ok((op, path.to_owned())),
        _ => Err(Refusal::invalid(
            "Operation objects must contain exactly one member named \"add\", \"remove\", or \"replace\".",
        )),
    }
}

/// The attribute that a JSON pointer (RFC 6901) of one step names.
fn attribute_of(pointer: &str) -> Result<String, Refusal> {
    let invalid = |why: &str| Refusal::invalid(format!("Pointer `{pointer}` {why}."));
    let Some(path) = pointer.strip_prefix('/') else {
        return Err(invalid("does not start with \"/\""));
    };
    let root = path.split('/').next().unwrap_or_default();
    if root == "locations" {
        return Ok(root.to_owned());
    }
    if path.is_empty() || path.contains('/') {
        return Err(Refusal::invalid(format!(
            "Invalid JSON pointer for this resource: '{pointer}'."
        )));
    }
    let mut name = String::new();
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '~' => match characters.next() {
                Some('0') => name.push('~'),
                Some('1') => name.push('/'),
                _ => {
                    return Err(invalid(
                        "contains \"~\" not part of a recognized escape sequence",
                    ));
                }
            },
            other => name.push(other),
        }
    }
    Ok(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::refusal::Reason;
    use corten_operations::image::Attribute;
    use serde_json::json;

    fn ten(operation: Value) -> Result<Change, Refusal> {
        changes(json!([operation]), Draft::Ten).map(|mut changes| changes.remove(0))
    }

    fn four(operation: Value) -> Result<Change, Refusal> {
        changes(json!([operation]), Draft::Four).map(|mut changes| changes.remove(0))
    }

    #[test]
    fn both_drafts_say_the_same_thing() {
        let expected = Change::Set(Attribute::Name(Some("x".to_owned())));
        assert_eq!(
            ten(json!({"op": "replace", "path": "/name", "value": "x"})).unwrap(),
            expected
        );
        assert_eq!(
            four(json!({"replace": "/name", "value": "x"})).unwrap(),
            expected
        );
    }

    #[test]
    fn an_add_of_what_is_there_depends_on_the_draft() {
        let (name, value) = ("a".to_owned(), "b".to_owned());
        let operation = json!({"op": "add", "path": "/a", "value": "b"});
        assert_eq!(
            ten(operation).unwrap(),
            Change::SetProperty {
                name: name.clone(),
                value: value.clone()
            }
        );
        assert_eq!(
            four(json!({"add": "/a", "value": "b"})).unwrap(),
            Change::AddProperty { name, value }
        );
        assert_eq!(
            four(json!({"add": "/name", "value": "b"}))
                .unwrap_err()
                .reason,
            Reason::Conflict
        );
        assert!(ten(json!({"op": "add", "path": "/name", "value": "b"})).is_ok());
    }

    #[test]
    fn escapes_in_pointers_are_read() {
        let change = ten(json!({"op": "remove", "path": "/a~1b~0c"})).unwrap();
        assert_eq!(
            change,
            Change::RemoveProperty {
                name: "a/b~c".to_owned()
            }
        );
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        for operation in [
            json!({"op": "move", "path": "/name", "value": "x"}),
            json!({"path": "/name", "value": "x"}),
            json!({"op": "add", "value": "x"}),
            json!({"op": "add", "path": "/name"}),
            json!({"op": "add", "path": "name", "value": "x"}),
            json!({"op": "add", "path": "/", "value": "x"}),
            json!({"op": "add", "path": "/tags/-", "value": "x"}),
            json!({"op": "add", "path": "/a~2", "value": "x"}),
            json!({"op": "add", "path": "/a~", "value": "x"}),
            json!("add"),
        ] {
            assert_eq!(
                ten(operation.clone()).unwrap_err().reason,
                Reason::Invalid,
                "{operation}"
            );
        }
        assert!(changes(json!({}), Draft::Ten).is_err());
        assert!(four(json!({"add": "/a", "remove": "/a", "value": "b"})).is_err());
    }

    #[test]
    fn attributes_of_the_service_cannot_be_patched() {
        for path in [
            "/id",
            "/status",
            "/os_glance_foo",
            "/deleted",
            "/locations",
            "/locations/0",
            "/checksum",
        ] {
            let operation = json!({"op": "replace", "path": path, "value": "x"});
            assert_eq!(
                ten(operation).unwrap_err().reason,
                Reason::Forbidden,
                "{path}"
            );
        }
        assert_eq!(
            ten(json!({"op": "remove", "path": "/name"}))
                .unwrap_err()
                .reason,
            Reason::Forbidden
        );
    }
}
