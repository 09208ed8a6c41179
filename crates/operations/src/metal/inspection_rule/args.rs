//! The arguments of a condition or an action: by name, or in order, as Ironic takes them.

use super::text;
use corten_store::metal::inspection_rule::RuleStep;
use serde_json::{Map, Value};

/// Names of arguments with whether each must be given.
pub(super) type Names = &'static [(&'static str, bool)];

/// Arguments by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Args(Map<String, Value>);

impl Args {
    pub(super) fn read(step: &RuleStep, names: Names) -> Result<Self, String> {
        let op = &step.op;
        let given = match &step.args {
            Value::Object(object) => object.clone(),
            // Values that are compared are a list themselves.
            Value::Array(list) if names.first().is_some_and(|(name, _)| *name == "values") => {
                let values = match list.as_slice() {
                    [Value::Array(values)] => values.clone(),
                    _ => list.clone(),
                };
                Map::from_iter([("values".to_owned(), Value::Array(values))])
            }
            Value::Array(list) if list.len() > names.len() => {
                return Err(format!(
                    "'{op}' has {} arguments and takes {}: {}",
                    list.len(),
                    names.len(),
                    listed(names)
                ));
            }
            Value::Array(list) => names
                .iter()
                .zip(list)
                .map(|((name, _), value)| ((*name).to_owned(), value.clone()))
                .collect(),
            other => {
                return Err(format!(
                    "the args of '{op}' are {other}: give an object, or a list"
                ));
            }
        };
        if let Some(unknown) = given
            .keys()
            .find(|given| names.iter().all(|(name, _)| name != given))
        {
            return Err(format!(
                "'{op}' has no argument '{unknown}': it takes {}",
                listed(names)
            ));
        }
        if let Some((missing, _)) = names
            .iter()
            .find(|(name, needed)| *needed && !given.contains_key(*name))
        {
            return Err(format!("'{op}' needs the argument '{missing}'"));
        }
        Ok(Self(given))
    }

    pub(super) fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or_default()
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, String> {
        match self.take(name) {
            Value::String(text) => Ok(text),
            other => Err(format!("'{name}' is {other} and must be a text")),
        }
    }

    /// False where it is not given.
    pub(super) fn truth(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name) {
            Value::Null => Ok(false),
            Value::Bool(truth) => Ok(truth),
            other => Err(format!("'{name}' is {other} and must be true or false")),
        }
    }

    /// A value whose texts may have references.
    pub(super) fn filled(&mut self, name: &str, in_loop: bool) -> Result<Value, String> {
        let value = self.take(name);
        text::check(&value, in_loop)?;
        Ok(value)
    }
}

fn listed(names: Names) -> String {
    let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// What a step is done for; `None`: it is done once, without an item.
pub(super) fn items(step: &RuleStep) -> Result<Option<Vec<Value>>, String> {
    let items = match &step.items {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        // An object is one item.
        Some(Value::Object(object)) if object.is_empty() => Vec::new(),
        Some(Value::Object(object)) => vec![Value::Object(object.clone())],
        Some(other) => {
            return Err(format!(
                "the loop of '{}' is {other}: give a list, or an object",
                step.op
            ));
        }
    };
    items.iter().try_for_each(|item| text::check(item, false))?;
    Ok(Some(items).filter(|items| !items.is_empty()))
}
