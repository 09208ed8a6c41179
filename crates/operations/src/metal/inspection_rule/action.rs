//! Actions of rules, on a node, its ports and what plugins found, all in memory.

use super::args::{Args, Names, items};
use super::attribute::{self, Attributes};
use super::subject::Subject;
use super::text::{self, Absent, Data, Filling, shown};
use crate::metal::{Metal, traits};
use corten_store::metal::inspection_rule::RuleStep;
use corten_store::metal::port::NodePort;
use serde_json::{Value, json};

/// What is written becomes text, as Ironic does it.
const FILLING: Filling = Filling {
    typed: false,
    absent: Absent::Refused,
};
/// What is said to people says so when something was not found.
const SAYING: Filling = Filling {
    typed: false,
    absent: Absent::Written,
};
const LEVELS: [&str; 5] = ["debug", "info", "warning", "error", "critical"];
const CAPABILITIES: &str = "capabilities";

/// One action that was read.
#[derive(Debug)]
pub(super) struct Action {
    what: What,
    items: Option<Vec<Value>>,
}

#[derive(Debug)]
enum What {
    Fail { msg: Value },
    Log { msg: Value, level: String },
    Change { on: On, path: Value, change: Change },
    AddTrait(Value),
    RemoveTrait(Value),
    SetCapability { name: Value, value: Value },
    UnsetCapability(Value),
}

#[derive(Debug)]
enum On {
    Node,
    /// By its id or MAC address.
    Port(Value),
    PluginData,
}

#[derive(Debug)]
enum Change {
    Set(Value),
    Extend { value: Value, unique: bool },
    Remove,
}

/// Why an action ends an inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// The rule asks for it.
    Asked(String),
    /// It cannot be done.
    Trouble(String),
}

impl From<String> for Stop {
    fn from(trouble: String) -> Self {
        Self::Trouble(trouble)
    }
}

impl Action {
    /// Reads an action, or says what of it this cloud cannot do.
    pub(super) fn read(step: &RuleStep) -> Result<Self, String> {
        if step.multiple.is_some() {
            return Err(format!(
                "'{}' is an action, and 'multiple' belongs to conditions",
                step.op
            ));
        }
        let items = items(step)?;
        let what = What::read(step, items.is_some())?;
        what.check_known(items.as_deref())?;
        Ok(Self { what, items })
    }

    /// Does it, once or for each item.
    pub(super) fn run(&self, subject: &mut Subject, metal: &Metal) -> Result<(), Stop> {
        let Some(items) = &self.items else {
            return self.what.run(subject, None, metal);
        };
        for item in items {
            let item = text::fill(item, &subject.view().data(None), FILLING)?;
            self.what.run(subject, Some(&item), metal)?;
        }
        Ok(())
    }
}

impl On {
    fn attributes(&self) -> Option<Attributes> {
        match self {
            Self::Node => Some(attribute::NODE),
            Self::Port(_) => Some(attribute::PORT),
            Self::PluginData => None,
        }
    }
}

const SET: Names = &[("path", true), ("value", true)];
const EXTEND: Names = &[("path", true), ("value", true), ("unique", false)];
const DEL: Names = &[("path", true)];
const SET_PORT: Names = &[("port_id", true), ("path", true), ("value", true)];
const EXTEND_PORT: Names = &[
    ("port_id", true),
    ("path", true),
    ("value", true),
    ("unique", false),
];
const DEL_PORT: Names = &[("port_id", true), ("path", true)];

impl What {
    fn read(step: &RuleStep, in_loop: bool) -> Result<Self, String> {
        let args = |names: Names| Args::read(step, names);
        Ok(match step.op.as_str() {
            "fail" => Self::Fail {
                msg: args(&[("msg", true)])?.filled("msg", in_loop)?,
            },
            "log" => log(args(&[("msg", true), ("level", false)])?, in_loop)?,
            "set-attribute" => change(args(SET)?, in_loop, |_| Ok(On::Node), set)?,
            "extend-attribute" => change(args(EXTEND)?, in_loop, |_| Ok(On::Node), extend)?,
            "del-attribute" => change(args(DEL)?, in_loop, |_| Ok(On::Node), del)?,
            "set-plugin-data" => change(args(SET)?, in_loop, |_| Ok(On::PluginData), set)?,
            "extend-plugin-data" => change(args(EXTEND)?, in_loop, |_| Ok(On::PluginData), extend)?,
            "unset-plugin-data" => change(args(DEL)?, in_loop, |_| Ok(On::PluginData), del)?,
            "set-port-attribute" => change(args(SET_PORT)?, in_loop, port(in_loop), set)?,
            "extend-port-attribute" => change(args(EXTEND_PORT)?, in_loop, port(in_loop), extend)?,
            "del-port-attribute" => change(args(DEL_PORT)?, in_loop, port(in_loop), del)?,
            "add-trait" => Self::AddTrait(args(&[("name", true)])?.filled("name", in_loop)?),
            "remove-trait" => Self::RemoveTrait(args(&[("name", true)])?.filled("name", in_loop)?),
            "set-capability" => {
                let mut args = args(&[("name", true), ("value", true)])?;
                Self::SetCapability {
                    name: args.filled("name", in_loop)?,
                    value: args.filled("value", in_loop)?,
                }
            }
            "unset-capability" => {
                Self::UnsetCapability(args(&[("name", true)])?.filled("name", in_loop)?)
            }
            "api-call" => {
                return Err(
                    "'api-call' is not supported: this cloud fetches nothing for a rule".to_owned(),
                );
            }
            other => {
                return Err(format!(
                    "'{other}' is no action: it is one of fail, log, set-attribute, extend-attribute, del-attribute, \
                     set-plugin-data, extend-plugin-data, unset-plugin-data, set-port-attribute, extend-port-attribute, \
                     del-port-attribute, add-trait, remove-trait, set-capability, unset-capability"
                ));
            }
        })
    }

    /// Refuses what is wrong whatever an inspection finds.
    fn check_known(&self, items: Option<&[Value]>) -> Result<(), String> {
        let nothing = json!({});
        let items = items.map_or_else(|| vec![None], |items| items.iter().map(Some).collect());
        for item in items {
            let data = Data {
                node: &nothing,
                inventory: &nothing,
                plugin_data: &nothing,
                item,
            };
            match self {
                Self::Change { on, path, .. } => match (path, on.attributes()) {
                    (Value::Array(_), Some(_)) => {
                        return Err(format!("the path {path} is no text"));
                    }
                    (Value::String(_), Some(attributes)) => {
                        if let Some(text) = known(path, &data)? {
                            attribute::path(attributes, &text)?;
                        }
                    }
                    (Value::Array(names), None) if names.iter().all(Value::is_string) => {}
                    (Value::String(_), None) => {}
                    _ => return Err(format!("the path is {path}: give a text such as /extra/a")),
                },
                Self::AddTrait(name) => {
                    if let Some(name) = known(name, &data)? {
                        traits::check(&name).map_err(|refusal| refusal.message)?;
                    }
                }
                Self::SetCapability { name, .. } | Self::UnsetCapability(name) => {
                    if let Some(name) = known(name, &data)? {
                        check_capability(&name)?;
                    }
                }
                Self::Fail { .. } | Self::Log { .. } | Self::RemoveTrait(_) => {}
            }
        }
        Ok(())
    }

    fn run(&self, subject: &mut Subject, item: Option<&Value>, metal: &Metal) -> Result<(), Stop> {
        let view = subject.view();
        let data = view.data(item);
        let text = |value: &Value| said(value, &data, FILLING);
        match self {
            Self::Fail { msg } => return Err(Stop::Asked(said(msg, &data, SAYING)?)),
            Self::Log { msg, level } => {
                let msg = said(msg, &data, SAYING)?;
                subject.log(level, &msg);
            }
            Self::Change { on, path, change } => {
                let names = names(on, path, &data)?;
                let change = change.filled(&data)?;
                let port = match on {
                    On::Port(id) => Some(text(id)?),
                    On::Node | On::PluginData => None,
                };
                subject.change(on, port.as_deref(), &names, change, metal)?;
            }
            Self::AddTrait(name) => {
                let name = text(name)?;
                traits::check(&name).map_err(|refusal| refusal.message)?;
                subject.node.traits.insert(name);
            }
            Self::RemoveTrait(name) => {
                let name = text(name)?;
                subject.node.traits.remove(&name);
            }
            Self::SetCapability { name, value } => {
                let (name, value) = (text(name)?, text(value)?);
                check_capability(&name)?;
                subject.set_capability(&name, Some(&value));
            }
            Self::UnsetCapability(name) => {
                let name = text(name)?;
                subject.set_capability(&name, None);
            }
        }
        Ok(())
    }
}

fn log(mut args: Args, in_loop: bool) -> Result<What, String> {
    let msg = args.filled("msg", in_loop)?;
    let level = match args.take("level") {
        Value::Null => "info".to_owned(),
        Value::String(level) if LEVELS.contains(&level.to_ascii_lowercase().as_str()) => {
            level.to_ascii_lowercase()
        }
        other => {
            return Err(format!(
                "the level is {other}: it is one of {}",
                LEVELS.join(", ")
            ));
        }
    };
    Ok(What::Log { msg, level })
}

fn change(
    mut args: Args,
    in_loop: bool,
    on: impl FnOnce(&mut Args) -> Result<On, String>,
    read: fn(&mut Args, bool) -> Result<Change, String>,
) -> Result<What, String> {
    Ok(What::Change {
        on: on(&mut args)?,
        path: args.take("path"),
        change: read(&mut args, in_loop)?,
    })
}

fn port(in_loop: bool) -> impl FnOnce(&mut Args) -> Result<On, String> {
    move |args| Ok(On::Port(args.filled("port_id", in_loop)?))
}

fn set(args: &mut Args, in_loop: bool) -> Result<Change, String> {
    Ok(Change::Set(args.filled("value", in_loop)?))
}

fn extend(args: &mut Args, in_loop: bool) -> Result<Change, String> {
    Ok(Change::Extend {
        value: args.filled("value", in_loop)?,
        unique: args.truth("unique")?,
    })
}

fn del(_: &mut Args, _: bool) -> Result<Change, String> {
    Ok(Change::Remove)
}

/// A text that is known before any inspection; `None`: it is not.
fn known(value: &Value, data: &Data<'_>) -> Result<Option<String>, String> {
    match value {
        // Outside loops a path is taken as it stands.
        Value::String(text) if data.item.is_none() => Ok(Some(text.clone())),
        Value::String(_) if text::is_known(value) => {
            let item = data.item.is_none_or(text::is_known);
            let filled = text::fill(value, data, FILLING)?;
            Ok(item.then(|| shown(&filled)))
        }
        Value::String(_) => Ok(None),
        other => Err(format!("{other} must be a text")),
    }
}

/// The names of a path. Only in a loop it may have references.
fn names(on: &On, path: &Value, data: &Data<'_>) -> Result<Vec<String>, String> {
    let path = match data.item {
        Some(_) => text::fill(path, data, FILLING)?,
        None => path.clone(),
    };
    match (&path, on.attributes()) {
        (Value::Array(names), None) => Ok(names.iter().map(shown).collect()),
        (Value::String(text), Some(attributes)) => attribute::path(attributes, text),
        (Value::String(text), None) => Ok(attribute::names(text)),
        _ => Err(format!("the path {path} is no text")),
    }
}

fn said(value: &Value, data: &Data<'_>, how: Filling) -> Result<String, String> {
    Ok(shown(&text::fill(value, data, how)?))
}

fn check_capability(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains([':', ',']) {
        return Err(format!(
            "'{name}' is no name of a capability: it is not empty and has no ':' and no ','"
        ));
    }
    Ok(())
}

impl Change {
    fn filled(&self, data: &Data<'_>) -> Result<Self, String> {
        let fill = |value: &Value| text::fill(value, data, FILLING);
        Ok(match self {
            Self::Set(value) => Self::Set(fill(value)?),
            Self::Extend { value, unique } => Self::Extend {
                value: fill(value)?,
                unique: *unique,
            },
            Self::Remove => Self::Remove,
        })
    }

    fn apply(
        self,
        document: &mut corten_store::metal::Object,
        names: &[String],
    ) -> Result<(), String> {
        match self {
            Self::Set(value) => attribute::set(document, names, value),
            Self::Extend { value, unique } => attribute::extend(document, names, value, unique),
            Self::Remove => {
                attribute::remove(document, names);
                Ok(())
            }
        }
    }
}

impl Subject {
    fn change(
        &mut self,
        on: &On,
        port: Option<&str>,
        names: &[String],
        change: Change,
        metal: &Metal,
    ) -> Result<(), String> {
        match on {
            On::PluginData => change.apply(&mut self.plugin_data, names),
            On::Node => {
                if let ([object, key], Change::Remove | Change::Set(_)) = (names, &change) {
                    // A secret is in the node's row under its place, until another takes it.
                    self.node.secrets.remove(&format!("{object}/{key}"));
                }
                let mut document = attribute::of_node(&self.node);
                change.apply(&mut document, names)?;
                attribute::put_node(&mut self.node, document, metal)
            }
            On::Port(_) => {
                let port = self.port(port.unwrap_or_default())?;
                let mut document = attribute::of_port(port);
                change.apply(&mut document, names)?;
                attribute::put_port(port, document)
            }
        }
    }

    fn port(&mut self, id: &str) -> Result<&mut NodePort, String> {
        let found = self.ports.iter_mut().find(|port| {
            port.id.to_string() == id || port.address.eq_ignore_ascii_case(&id.replace('-', ":"))
        });
        let (port, changed) = (
            found.ok_or_else(|| format!("the node has no port '{id}'"))?,
            &mut self.changed_ports,
        );
        changed.insert(port.id);
        Ok(port)
    }

    fn set_capability(&mut self, name: &str, value: Option<&str>) {
        let before = self.node.properties.get(CAPABILITIES);
        let before = before.and_then(Value::as_str).unwrap_or_default();
        let mut pairs: Vec<(&str, &str)> = before
            .split(',')
            .filter_map(|pair| pair.split_once(':'))
            .filter(|(other, _)| *other != name)
            .collect();
        pairs.extend(value.map(|value| (name, value)));
        let text: Vec<_> = pairs
            .iter()
            .map(|(name, value)| format!("{name}:{value}"))
            .collect();
        let text = text.join(",");
        if text.is_empty() {
            self.node.properties.remove(CAPABILITIES);
        } else {
            self.node
                .properties
                .insert(CAPABILITIES.to_owned(), text.into());
        }
    }
}
