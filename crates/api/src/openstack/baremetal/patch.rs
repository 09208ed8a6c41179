//! JSON patches (RFC 6902) as Ironic takes them: `add`, `replace` and `remove` on one document.

use corten_model::refusal::Refusal;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A list of changes, applied all or none.
#[derive(Debug)]
pub struct Patch(Vec<Change>);

#[derive(Debug)]
struct Change {
    operation: Operation,
    path: Vec<String>,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Replace,
    Remove,
}

fn invalid(message: impl std::fmt::Display) -> Refusal {
    Refusal::invalid(format!("Invalid patch: {message}."))
}

impl Patch {
    pub fn read(body: Value) -> Result<Self, Refusal> {
        let Value::Array(changes) = body else {
            return Err(invalid("it is no list of changes"));
        };
        if changes.is_empty() {
            return Err(invalid("it holds no change"));
        }
        changes
            .into_iter()
            .map(Change::read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The attributes that it is about.
    pub fn touched(&self) -> BTreeSet<&str> {
        self.0
            .iter()
            .filter_map(|change| change.path.first())
            .map(String::as_str)
            .collect()
    }

    /// What attributes it takes away or sets to null.
    pub fn removes(&self, attribute: &str) -> bool {
        self.0.iter().any(|change| {
            change.path == [attribute]
                && (change.operation == Operation::Remove || change.value.is_null())
        })
    }

    /// The document after it. An attribute that is removed is null.
    pub fn apply(&self, mut document: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
        for change in &self.0 {
            change.apply(&mut document)?;
        }
        Ok(document)
    }
}

impl Change {
    fn read(change: Value) -> Result<Self, Refusal> {
        let Value::Object(mut change) = change else {
            return Err(invalid(format!("{change} is no change")));
        };
        let text = |field: &str| {
            change
                .get(field)
                .and_then(Value::as_str)
                .ok_or_else(|| invalid(format!("a change has no '{field}'")))
        };
        let operation = match text("op")? {
            "add" => Operation::Add,
            "replace" => Operation::Replace,
            "remove" => Operation::Remove,
            other => {
                return Err(invalid(format!(
                    "'{other}' is none of add, replace and remove"
                )));
            }
        };
        let path = text("path")?.to_owned();
        let Some(rest) = path.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
            return Err(invalid(format!(
                "the path '{path}' does not begin with '/' and a name"
            )));
        };
        let value = change.remove("value");
        if operation != Operation::Remove && value.is_none() {
            return Err(invalid(format!("the change of {path} has no value")));
        }
        Ok(Self {
            operation,
            path: rest
                .split('/')
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect(),
            value: value.unwrap_or_default(),
        })
    }

    fn missing(&self) -> Refusal {
        invalid(format!("there is no /{}", self.path.join("/")))
    }

    fn apply(&self, document: &mut Map<String, Value>) -> Result<(), Refusal> {
        let Some((name, inner)) = self.path.split_first() else {
            return Err(self.missing());
        };
        let attribute = document.get_mut(name).ok_or_else(|| self.missing())?;
        let Some((last, between)) = inner.split_last() else {
            *attribute = match self.operation {
                Operation::Remove => Value::Null,
                Operation::Add | Operation::Replace => self.value.clone(),
            };
            return Ok(());
        };
        if attribute.is_null() && self.operation == Operation::Add {
            *attribute = Value::Object(Map::new());
        }
        let mut place = attribute;
        for part in between {
            place = match place {
                Value::Object(object) => object.get_mut(part),
                Value::Array(list) => part
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| list.get_mut(index)),
                _ => None,
            }
            .ok_or_else(|| self.missing())?;
        }
        match place {
            Value::Object(object) => self.apply_to_object(object, last),
            Value::Array(list) => self.apply_to_list(list, last),
            _ => Err(self.missing()),
        }
    }

    fn apply_to_object(&self, object: &mut Map<String, Value>, key: &str) -> Result<(), Refusal> {
        match self.operation {
            Operation::Remove => {
                object.remove(key).ok_or_else(|| self.missing())?;
            }
            Operation::Replace if !object.contains_key(key) => return Err(self.missing()),
            Operation::Add | Operation::Replace => {
                object.insert(key.to_owned(), self.value.clone());
            }
        }
        Ok(())
    }

    fn apply_to_list(&self, list: &mut Vec<Value>, key: &str) -> Result<(), Refusal> {
        if key == "-" && self.operation == Operation::Add {
            list.push(self.value.clone());
            return Ok(());
        }
        let index: usize = key.parse().map_err(|_| self.missing())?;
        match self.operation {
            Operation::Add if index <= list.len() => list.insert(index, self.value.clone()),
            Operation::Replace if index < list.len() => list[index] = self.value.clone(),
            Operation::Remove if index < list.len() => {
                list.remove(index);
            }
            _ => return Err(self.missing()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(document: Value, patch: Value) -> Result<Value, String> {
        let Value::Object(document) = document else {
            panic!("no object");
        };
        let apply = || Patch::read(patch)?.apply(document);
        apply()
            .map(Value::Object)
            .map_err(|refusal| refusal.message)
    }

    #[test]
    fn changes_are_applied_one_after_the_other() {
        let before = json!({"name": "a", "extra": {"x": 1}, "steps": [1, 2], "data": null});
        let patch = json!([
            {"op": "replace", "path": "/name", "value": "b"},
            {"op": "add", "path": "/extra/y~1z", "value": 2},
            {"op": "remove", "path": "/extra/x"},
            {"op": "add", "path": "/steps/1", "value": 9},
            {"op": "remove", "path": "/steps/0"},
            {"op": "add", "path": "/steps/-", "value": 7},
            {"op": "add", "path": "/data/k", "value": true},
        ]);
        assert_eq!(
            patched(before, patch).unwrap(),
            json!({"name": "b", "extra": {"y/z": 2}, "steps": [9, 2, 7], "data": {"k": true}})
        );
        let removed = json!([{"op": "remove", "path": "/name"}]);
        assert_eq!(
            patched(json!({"name": "a"}), removed).unwrap(),
            json!({"name": null})
        );
    }

    #[test]
    fn what_is_not_there_is_neither_replaced_nor_removed() {
        for change in [
            json!({"op": "replace", "path": "/other", "value": 1}),
            json!({"op": "add", "path": "/other", "value": 1}),
            json!({"op": "remove", "path": "/extra/y"}),
            json!({"op": "replace", "path": "/extra/y", "value": 1}),
            json!({"op": "remove", "path": "/steps/5"}),
            json!({"op": "test", "path": "/extra", "value": {}}),
            json!({"op": "add", "path": "/extra/y"}),
            json!({"op": "add", "path": "extra", "value": 1}),
            json!({"path": "/extra", "value": 1}),
        ] {
            let before = json!({"extra": {"x": 1}, "steps": [1]});
            assert!(patched(before, json!([change])).is_err(), "{change}");
        }
        assert!(patched(json!({}), json!([])).is_err());
        assert!(patched(json!({}), json!({})).is_err());
    }
}
