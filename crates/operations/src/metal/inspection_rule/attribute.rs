//! What rules may change of a node and its ports: attributes as a document, changed at a path and put back.

use super::text::in_double_braces;
use crate::metal::{Metal, driver};
use corten_model::refusal::Refusal;
use corten_store::metal::Object;
use corten_store::metal::node::Node;
use corten_store::metal::port::NodePort;
use serde_json::{Map, Value, json};

/// What an attribute may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An object whose keys are anybody's.
    Object,
    Text,
    Truth,
}

/// Attributes by name; `_interface` stands for all parts of the driver.
pub(super) type Attributes = &'static [(&'static str, Kind)];

/// What rules may change of a node.
pub(super) const NODE: Attributes = &[
    ("driver", Kind::Text),
    ("driver_info", Kind::Object),
    ("properties", Kind::Object),
    ("extra", Kind::Object),
    ("instance_info", Kind::Object),
    ("resource_class", Kind::Text),
    ("description", Kind::Text),
    ("conductor_group", Kind::Text),
    ("owner", Kind::Text),
    ("lessee", Kind::Text),
    ("_interface", Kind::Text),
];

/// What rules may change of a port.
pub(super) const PORT: Attributes = &[
    ("extra", Kind::Object),
    ("local_link_connection", Kind::Object),
    ("pxe_enabled", Kind::Truth),
    ("physical_network", Kind::Text),
    ("description", Kind::Text),
    ("vendor", Kind::Text),
    ("category", Kind::Text),
];

fn kind_of(attributes: Attributes, name: &str) -> Option<Kind> {
    let part = name.strip_suffix("_interface");
    let is_part = part.is_some_and(|part| driver::KINDS.iter().any(|(kind, _)| *kind == part));
    attributes
        .iter()
        .find(|(known, _)| *known == name || (*known == "_interface" && is_part))
        .map(|(_, kind)| *kind)
}

/// A path as its names: slashes between them, or dots where there is no slash.
pub(super) fn names(path: &str) -> Vec<String> {
    let path = in_double_braces(path).unwrap_or(path).trim();
    let separator = if path.contains('/') { '/' } else { '.' };
    path.trim_matches('/')
        .split(separator)
        .map(str::to_owned)
        .collect()
}

/// The names of a path to an attribute that rules may change.
pub(super) fn path(attributes: Attributes, text: &str) -> Result<Vec<String>, String> {
    let names = names(text);
    if names.iter().any(String::is_empty) {
        return Err(format!("the path '{text}' has a name that is empty"));
    }
    match kind_of(attributes, &names[0]) {
        None => {
            let known: Vec<_> = attributes.iter().map(|(name, _)| *name).collect();
            Err(format!(
                "the attribute '{}' cannot be changed by a rule: it is one of {}",
                names[0],
                known.join(", ").replace("_interface", "*_interface")
            ))
        }
        Some(Kind::Text | Kind::Truth) if names.len() > 1 => Err(format!(
            "the path '{text}' leads into '{}', which is no object",
            names[0]
        )),
        Some(_) => Ok(names),
    }
}

/// Puts a value at a path. Objects on the way are made.
pub(super) fn set(document: &mut Object, names: &[String], value: Value) -> Result<(), String> {
    let (place, last) = place(document, names)?;
    place.insert(last.to_owned(), value);
    Ok(())
}

/// Adds a value to the list at a path, which is made.
pub(super) fn extend(
    document: &mut Object,
    names: &[String],
    value: Value,
    unique: bool,
) -> Result<(), String> {
    let (place, last) = place(document, names)?;
    let list = place.entry(last.to_owned()).or_insert_with(|| json!([]));
    match list {
        Value::Null => *list = Value::Array(vec![value]),
        Value::Array(list) if unique && list.contains(&value) => {}
        Value::Array(list) => list.push(value),
        _ => {
            return Err(format!(
                "what is at '{}' is no list, so nothing can be added to it",
                names.join("/")
            ));
        }
    }
    Ok(())
}

/// Takes away what is at a path; nothing there is fine.
pub(super) fn remove(document: &mut Object, names: &[String]) {
    let Some((last, between)) = names.split_last() else {
        return;
    };
    let mut place = document;
    for name in between {
        match place.get_mut(name) {
            Some(Value::Object(inner)) => place = inner,
            _ => return,
        }
    }
    place.remove(last);
}

fn place<'a, 'n>(
    document: &'a mut Object,
    names: &'n [String],
) -> Result<(&'a mut Object, &'n str), String> {
    let (last, between) = names.split_last().ok_or("the path is empty")?;
    let mut place = document;
    for name in between {
        let inner = place
            .entry(name.clone())
            .or_insert_with(|| Value::Object(Map::new()));
        if inner.is_null() {
            *inner = Value::Object(Map::new());
        }
        match inner {
            Value::Object(inner) => place = inner,
            _ => {
                return Err(format!(
                    "'{name}' in the path '{}' is no object",
                    names.join("/")
                ));
            }
        }
    }
    Ok((place, last))
}

/// The attributes of a node that rules may change.
pub(super) fn of_node(node: &Node) -> Object {
    let mut document = Map::from_iter([
        ("driver".to_owned(), json!(node.driver)),
        ("driver_info".to_owned(), json!(node.driver_info)),
        ("properties".to_owned(), json!(node.properties)),
        ("extra".to_owned(), json!(node.standard.extra)),
        ("instance_info".to_owned(), json!(node.instance_info)),
        ("resource_class".to_owned(), json!(node.resource_class)),
        ("description".to_owned(), json!(node.description)),
        ("conductor_group".to_owned(), json!(node.conductor_group)),
        ("owner".to_owned(), json!(node.owner)),
        ("lessee".to_owned(), json!(node.lessee)),
    ]);
    for (part, way) in &node.interfaces {
        document.insert(format!("{part}_interface"), json!(way));
    }
    document
}

/// A node with the attributes of a document. With another driver its parts work the default way.
pub(super) fn put_node(node: &mut Node, mut document: Object, metal: &Metal) -> Result<(), String> {
    let say = |refusal: Refusal| refusal.message;
    let name = text(&mut document, "driver")?.unwrap_or_default();
    let known = driver::of_node(metal, &name).map_err(say)?;
    if node.driver == name {
        for (part, way) in &mut node.interfaces {
            let wanted = text(&mut document, &format!("{part}_interface"))?;
            let wanted = wanted.unwrap_or_else(|| known.default_way(part).to_owned());
            if *way != wanted {
                known.check(part, &wanted).map_err(say)?;
                *way = wanted;
            }
        }
    } else {
        node.interfaces = known.defaults();
        node.driver = name;
    }
    node.driver_info = object(&mut document, "driver_info")?;
    node.properties = object(&mut document, "properties")?;
    node.standard.extra = object(&mut document, "extra")?;
    node.instance_info = object(&mut document, "instance_info")?;
    node.resource_class = text(&mut document, "resource_class")?;
    node.description = text(&mut document, "description")?;
    node.conductor_group = text(&mut document, "conductor_group")?.unwrap_or_default();
    node.owner = text(&mut document, "owner")?;
    node.lessee = text(&mut document, "lessee")?;
    Ok(())
}

/// The attributes of a port that rules may change.
pub(super) fn of_port(port: &NodePort) -> Object {
    Map::from_iter([
        ("extra".to_owned(), json!(port.standard.extra)),
        (
            "local_link_connection".to_owned(),
            json!(port.local_link_connection),
        ),
        ("pxe_enabled".to_owned(), json!(port.pxe_enabled)),
        ("physical_network".to_owned(), json!(port.physical_network)),
        ("description".to_owned(), json!(port.description)),
        ("vendor".to_owned(), json!(port.vendor)),
        ("category".to_owned(), json!(port.category)),
    ])
}

/// A port with the attributes of a document.
pub(super) fn put_port(port: &mut NodePort, mut document: Object) -> Result<(), String> {
    port.standard.extra = object(&mut document, "extra")?;
    port.local_link_connection = object(&mut document, "local_link_connection")?;
    // Without a word a port can be booted from.
    port.pxe_enabled = truth(&mut document, "pxe_enabled")?.unwrap_or(true);
    port.physical_network = text(&mut document, "physical_network")?;
    port.description = text(&mut document, "description")?;
    port.vendor = text(&mut document, "vendor")?;
    port.category = text(&mut document, "category")?;
    Ok(())
}

fn object(document: &mut Object, name: &str) -> Result<Object, String> {
    match document.remove(name).unwrap_or_default() {
        Value::Null => Ok(Object::new()),
        Value::Object(object) => Ok(object),
        other => Err(format!("'{name}' must be an object, and would be {other}")),
    }
}

fn text(document: &mut Object, name: &str) -> Result<Option<String>, String> {
    match document.remove(name).unwrap_or_default() {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        other => Err(format!("'{name}' must be a text, and would be {other}")),
    }
}

fn truth(document: &mut Object, name: &str) -> Result<Option<bool>, String> {
    match document.remove(name).unwrap_or_default() {
        Value::Null => Ok(None),
        Value::Bool(truth) => Ok(Some(truth)),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        other => Err(format!(
            "'{name}' must be true or false, and would be {other}"
        )),
    }
}
