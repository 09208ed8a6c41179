//! Texts of rules with references in braces: `{inventory[cpu][count]}`, `{node.driver}`, `{item}`.
//!
//! Names are joined by dots or stand in brackets. `{{` and `}}` are braces; but a text that is a reference in double
//! braces as a whole, `{{ inventory.cpu.count }}`, is what it names, with its type.

use serde_json::Value;

/// What references name.
#[derive(Clone, Copy)]
pub(super) struct Data<'a> {
    pub(super) node: &'a Value,
    pub(super) inventory: &'a Value,
    pub(super) plugin_data: &'a Value,
    /// What a loop is at.
    pub(super) item: Option<&'a Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Node,
    Inventory,
    PluginData,
    Item,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reference {
    root: Root,
    steps: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Reference(Reference),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parsed {
    pieces: Vec<Piece>,
    /// It was written in double braces.
    typed: bool,
}

/// What becomes of a reference to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// The text is null.
    Null,
    /// The reference stays as it was written.
    Written,
    Refused,
}

/// How references are filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling {
    /// A text that is one reference keeps the type of what it names; else it becomes a text.
    pub(super) typed: bool,
    pub(super) absent: Absent,
}

/// Fields of a node that references name.
pub(super) const NODE_FIELDS: &[&str] = &[
    "uuid",
    "name",
    "driver",
    "driver_info",
    "properties",
    "extra",
    "instance_info",
    "instance_uuid",
    "resource_class",
    "traits",
    "conductor_group",
    "owner",
    "lessee",
    "description",
    "chassis_uuid",
    "shard",
    "maintenance",
    "maintenance_reason",
    "protected",
    "retired",
    "provision_state",
    "power_state",
    "boot_mode",
    "secure_boot",
];

impl Reference {
    fn read(text: &str, in_loop: bool) -> Result<Self, String> {
        let text = text.trim();
        if text.contains([':', '!']) {
            return Err(format!(
                "'{{{text}}}' has a format or a conversion, which are not supported: write the name alone"
            ));
        }
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (root, mut rest) = text.split_at(end);
        let root = match root {
            "node" => Root::Node,
            "inventory" => Root::Inventory,
            "plugin_data" => Root::PluginData,
            "item" if in_loop => Root::Item,
            "item" => return Err("'item' is named, and there is no loop".to_owned()),
            other => {
                return Err(format!(
                    "'{{{other}}}' names none of node, inventory, plugin_data and item; write {{{{ and }}}} for braces"
                ));
            }
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
                inner
                    .split_once(']')
                    .ok_or_else(|| format!("'{{{text}}}' has a bracket that is not closed"))?
            } else {
                let inner = rest.strip_prefix('.').unwrap_or(rest);
                inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
            };
            if step.is_empty() {
                return Err(format!("'{{{text}}}' has a name that is empty"));
            }
            steps.push(step.to_owned());
            rest = after;
        }
        match steps.first() {
            Some(field) if root == Root::Node && !is_node_field(field) => {
                Err(format!("a node has no field '{field}' that rules see"))
            }
            _ => Ok(Self { root, steps }),
        }
    }

    fn find<'a>(&self, data: &Data<'a>) -> Option<&'a Value> {
        let start = match self.root {
            Root::Node => data.node,
            Root::Inventory => data.inventory,
            Root::PluginData => data.plugin_data,
            Root::Item => data.item?,
        };
        self.steps
            .iter()
            .try_fold(start, |place, step| match place {
                Value::Object(object) => object.get(step),
                Value::Array(list) => list.get(step.parse::<usize>().ok()?),
                _ => None,
            })
    }
}

fn is_node_field(field: &str) -> bool {
    let part = field.strip_suffix("_interface");
    NODE_FIELDS.contains(&field)
        || part.is_some_and(|part| {
            crate::metal::driver::KINDS
                .iter()
                .any(|(kind, _)| *kind == part)
        })
}

/// What stands in double braces, if the text is that as a whole.
pub(super) fn in_double_braces(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains(['{', '}'])).then_some(inner.trim())
}

fn parse(text: &str, in_loop: bool) -> Result<Parsed, String> {
    if let Some(inner) = in_double_braces(text)
        && let Ok(reference) = Reference::read(inner, in_loop)
    {
        return Ok(Parsed {
            pieces: vec![Piece::Reference(reference)],
            typed: true,
        });
    }
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        let (inner, after) = rest
            .split_once('}')
            .filter(|_| brace == "{")
            .ok_or_else(|| {
                format!(
                    "'{text}' has a brace without its other half; write {{{{ and }}}} for braces"
                )
            })?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Reference(Reference::read(inner, in_loop)?));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(Parsed {
        pieces,
        typed: false,
    })
}

/// Refuses a value with a text in it that cannot be read.
pub(super) fn check(value: &Value, in_loop: bool) -> Result<(), String> {
    match value {
        Value::String(text) => parse(text, in_loop).map(|_| ()),
        Value::Array(list) => list.iter().try_for_each(|value| check(value, in_loop)),
        Value::Object(object) => object.values().try_for_each(|value| check(value, in_loop)),
        _ => Ok(()),
    }
}

/// Whether a value is a text that is one reference and nothing else.
pub(super) fn is_reference(value: &Value) -> bool {
    let parsed = value.as_str().and_then(|text| parse(text, true).ok());
    parsed.is_some_and(|parsed| matches!(parsed.pieces.as_slice(), [Piece::Reference(_)]))
}

/// Whether every reference in a value is to the item of a loop, so that it is known without an inspection.
pub(super) fn is_known(value: &Value) -> bool {
    match value {
        Value::String(text) => parse(text, true).is_ok_and(|parsed| {
            parsed.pieces.iter().all(|piece| match piece {
                Piece::Literal(_) => true,
                Piece::Reference(reference) => reference.root == Root::Item,
            })
        }),
        Value::Array(list) => list.iter().all(is_known),
        Value::Object(object) => object.values().all(is_known),
        _ => true,
    }
}

/// A value with all references in its texts filled in.
pub(super) fn fill(value: &Value, data: &Data<'_>, how: Filling) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => fill_text(text, data, how)?,
        Value::Array(list) => {
            let filled = list.iter().map(|value| fill(value, data, how));
            Value::Array(filled.collect::<Result<_, _>>()?)
        }
        Value::Object(object) => {
            let filled = object
                .iter()
                .map(|(key, value)| Ok((key.clone(), fill(value, data, how)?)));
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn fill_text(text: &str, data: &Data<'_>, how: Filling) -> Result<Value, String> {
    let Parsed { pieces, typed } = parse(text, data.item.is_some())?;
    if let ([Piece::Reference(reference)], true) = (pieces.as_slice(), typed || how.typed)
        && let Some(found) = reference.find(data)
    {
        return Ok(found.clone());
    }
    let mut filled = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => filled.push_str(&literal),
            Piece::Reference(reference) => match (reference.find(data), how.absent) {
                (Some(found), _) => filled.push_str(&shown(found)),
                (None, Absent::Null) => return Ok(Value::Null),
                (None, Absent::Written) => return Ok(text.into()),
                (None, Absent::Refused) => {
                    return Err(format!("'{text}' names what the inspection did not find"));
                }
            },
        }
    }
    Ok(filled.into())
}

/// A value within a text, as Ironic writes it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(text: &str, typed: bool) -> Result<Value, String> {
        let node = json!({"uuid": "n", "driver": "fake", "maintenance": false});
        let inventory = json!({"cpu": {"count": 8}, "disks": [{"size": 1}, {"size": 2}]});
        let data = Data {
            node: &node,
            inventory: &inventory,
            plugin_data: &json!({}),
            item: Some(&json!({"path": "/extra/a"})),
        };
        let how = Filling {
            typed,
            absent: Absent::Refused,
        };
        fill(&text.into(), &data, how)
    }

    #[test]
    fn references_are_filled_in_with_dots_and_with_brackets() {
        assert_eq!(filled("{inventory[cpu][count]}", true).unwrap(), 8);
        assert_eq!(filled("{inventory.cpu.count}", false).unwrap(), "8");
        assert_eq!(filled("{{ inventory.cpu.count }}", false).unwrap(), 8);
        assert_eq!(filled("{inventory[disks][1][size]}", true).unwrap(), 2);
        assert_eq!(
            filled("{node.driver}: {node.maintenance} {{x}}", true).unwrap(),
            "fake: False {x}"
        );
        assert_eq!(filled("{item[path]}", false).unwrap(), "/extra/a");
        assert!(filled("{inventory[bmc]}", false).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "{",
            "}",
            "{other}",
            "{node.nothing}",
            "{node.uuid!r}",
            "{inventory[cpu}",
            "{inventory..cpu}",
        ] {
            assert!(check(&text.into(), true).is_err(), "{text}");
        }
        assert!(check(&json!("{item}"), false).is_err(), "without a loop");
        check(&json!(["{{ /properties/a }}", {"a": "{item}"}, 1]), true).unwrap();
    }
}
