//! BIOS settings of a Redfish system: the document `Bios`, the settings object beside it, and the jobs that apply it.

use super::Redfish;
use super::document::Document;
use crate::bios::{AttributeValue, Attributes, BiosSettings};
use crate::bmc::Bmc;
use crate::boot::Effect;
use crate::capability::Capability;
use crate::error::BmcError;
use serde_json::{Value, json};

/// What a task can still be stopped in.
const UNFINISHED: &[&str] = &[
    "New",
    "Starting",
    "Running",
    "Pending",
    "Suspended",
    "Service",
];

struct Bios {
    current: Document,
    /// What is changed. Without a settings object that is the first document, and changes hold at once.
    settings: Document,
}

impl Bios {
    /// Some take settings for the next boot and do not tell them.
    fn tells_pending(&self) -> bool {
        self.settings.has("Attributes")
    }
}

impl Redfish {
    async fn bios_documents(&self) -> Result<Bios, BmcError> {
        let current = self.of_system("Bios").await?;
        let current = current.ok_or_else(|| self.lacks(Capability::BiosSettings))?;
        let settings = match current.link("@Redfish.Settings/SettingsObject") {
            Some(path) => {
                let settings = self.transport.get_part(&path).await?;
                let oddities = self.transport.oddities.clone();
                settings.unwrap_or_else(|| Document::new(&path, Value::Null, None, oddities))
            }
            None => current.clone(),
        };
        Ok(Bios { current, settings })
    }

    pub(super) async fn read_bios(&self) -> Result<BiosSettings, BmcError> {
        let bios = self.bios_documents().await?;
        Ok(self.settings_in(&bios))
    }

    fn settings_in(&self, bios: &Bios) -> BiosSettings {
        let current = self.attributes_in(&bios.current);
        let pending = self.attributes_in(&bios.settings);
        BiosSettings {
            pending: pending
                .into_iter()
                .filter(|(name, value)| current.get(name) != Some(value))
                .collect(),
            current,
            registry: bios.current.text("AttributeRegistry"),
        }
    }

    /// Those with values that an attribute can have.
    fn attributes_in(&self, document: &Document) -> Attributes {
        let Some(Value::Object(attributes)) = document.value("Attributes") else {
            return Attributes::new();
        };
        let read = attributes.iter().filter_map(|(name, value)| {
            let read = attribute(value);
            if read.is_none() {
                self.transport.oddities.note(
                    format!("{}#/Attributes/{name}", document.path),
                    "a text, a number, true or false",
                    value.to_string(),
                );
            }
            Some((name.clone(), read?))
        });
        read.collect()
    }

    pub(super) async fn write_bios(&self, wanted: &Attributes) -> Result<Effect, BmcError> {
        let bios = self.bios_documents().await?;
        let BiosSettings {
            current, pending, ..
        } = self.settings_in(&bios);
        check(wanted, &current)?;
        let is_known = !wanted.keys().any(|name| is_hidden(&current, name));
        if is_known && let Some(effect) = effect(wanted, &current, &pending) {
            return Ok(effect);
        }
        let mut body = json!({"Attributes": wanted});
        let times = bios.current.texts("@Redfish.Settings/SupportedApplyTimes");
        if times.iter().any(|time| time == "OnReset") {
            body["@Redfish.SettingsApplyTime"] = json!({"ApplyTime": "OnReset"});
        }
        self.transport.patch(&bios.settings, &body).await?;
        // A password is never shown; what it is set to must not be told either.
        let shown_ones = wanted
            .iter()
            .filter(|(name, _)| !is_hidden(&current, name))
            .map(|(name, value)| format!("{name}={value}"));
        let asked: Vec<String> = shown_ones.collect();
        let mut settle = self.settle("the BIOS settings", asked.join(", "));
        loop {
            let bios = self.bios_documents().await?;
            let seen = self.settings_in(&bios);
            if let Some(effect) = effect(wanted, &seen.current, &seen.pending) {
                return Ok(effect);
            }
            if !bios.tells_pending() {
                let place = format!("{}#/Attributes", bios.settings.path);
                let oddities = &self.transport.oddities;
                oddities.note(place, "what was set for the next boot", "nothing");
                return Ok(Effect::NextBoot);
            }
            settle.wait(shown(wanted, &seen)).await?;
        }
    }

    pub(super) async fn ask_bios_reset(&self) -> Result<(), BmcError> {
        let bios = self.bios_documents().await?;
        let action = bios.current.action("Bios.ResetBios");
        let action = action.ok_or_else(|| self.lacks(Capability::BiosReset))?;
        self.transport.post(&action.target, &json!({})).await?;
        Ok(())
    }

    pub(super) async fn forget_jobs(&self) -> Result<(), BmcError> {
        let layout = self.layout().await?;
        if let Some(clear) = &layout.quirks.clear_jobs {
            let manager = layout.managers.first();
            let manager = manager.ok_or_else(|| self.lacks(Capability::ClearJobs))?;
            let path = clear.action.replace("{manager}", manager);
            self.transport.post(&path, &clear.body).await?;
            return Ok(());
        }
        let service = match layout.root.link("Tasks") {
            Some(path) => self.transport.get_if_there(&path).await?,
            None => None,
        };
        let service = service.ok_or_else(|| self.lacks(Capability::ClearJobs))?;
        for task in self.collection(&service, "Tasks").await? {
            let state = task.text("TaskState").unwrap_or_default();
            if UNFINISHED.contains(&state.as_str()) {
                match self.transport.delete(&task.path).await {
                    Ok(_)
                    | Err(BmcError::Refused {
                        status: Some(404), ..
                    }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn attribute(value: &Value) -> Option<AttributeValue> {
    Some(match value {
        Value::Null => AttributeValue::Unset,
        Value::Bool(flag) => AttributeValue::Flag(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => AttributeValue::Integer(integer),
            None => AttributeValue::Number(number.as_f64()?),
        },
        Value::String(text) => AttributeValue::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// Attributes that this BMC does not have, or has in another type.
fn check(wanted: &Attributes, current: &Attributes) -> Result<(), BmcError> {
    if wanted.is_empty() {
        return Err(BmcError::Invalid {
            rule: "BIOS settings are changed by at least one attribute",
            value: String::new(),
            fix: "name an attribute and its value".to_owned(),
        });
    }
    for (name, value) in wanted {
        let fix = match current.get(name) {
            None => nearest(name, current),
            Some(AttributeValue::Unset) => continue,
            Some(now) if std::mem::discriminant(now) == std::mem::discriminant(value) => continue,
            Some(now) => format!("give a value like the one that it has, {now}"),
        };
        return Err(BmcError::Invalid {
            rule: "a BIOS attribute is one that the BMC lists, with a value of its type",
            value: format!("{name}={value}"),
            fix,
        });
    }
    Ok(())
}

fn nearest(name: &str, current: &Attributes) -> String {
    let same = current
        .keys()
        .find(|other| other.eq_ignore_ascii_case(name) || other.contains(name));
    match same {
        Some(other) => format!("did you mean {other}?"),
        None => format!("read the {} attributes that it lists", current.len()),
    }
}

/// Whether an attribute's value is kept back, as passwords are.
fn is_hidden(current: &Attributes, name: &str) -> bool {
    current.get(name) == Some(&AttributeValue::Unset)
}

/// When all that is wanted holds; `None` if a part of it never does.
fn effect(wanted: &Attributes, current: &Attributes, pending: &Attributes) -> Option<Effect> {
    let mut effect = Effect::Now;
    for (name, value) in wanted {
        match (pending.get(name), current.get(name)) {
            (Some(AttributeValue::Unset) | None, Some(AttributeValue::Unset)) => {
                effect = Effect::NextBoot;
            }
            (Some(later), _) if later == value && current.get(name) != Some(value) => {
                effect = Effect::NextBoot;
            }
            (Some(later), _) if later != value => return None,
            (_, Some(now)) if now == value => {}
            _ => return None,
        }
    }
    Some(effect)
}

/// What is seen of what is wanted.
fn shown(wanted: &Attributes, seen: &BiosSettings) -> String {
    let values = wanted.keys().map(|name| {
        let value = seen.pending.get(name).or_else(|| seen.current.get(name));
        match value {
            Some(value) => format!("{name}={value}"),
            None => format!("{name} unknown"),
        }
    });
    values.collect::<Vec<_>>().join(", ")
}
