//! Steps that a node's BMC carries out, over boots: BIOS settings and firmware.
//!
//! ```text
//!  tell the BMC ──▶ (its task ends) ──▶ the server is booted into the ramdisk anew ──▶ the BMC shows it: done
//! ```
//!
//! How far a step is stands in the node's row ([`StepProgress`]): a BMC is told once, and after a crash the work goes on.

use super::ramdisk::orders::Pending;
use super::steps::Ran;
use super::{machine, seen, work};
use crate::context::Context;
use corten_bmc::{
    AttributeValue, Attributes, BiosSettings, Bmc, BmcError, Effect, FirmwareItem, FirmwareUpdate,
    TaskRef, TaskState,
};
use corten_engine::{StepCx, StepError};
use corten_model::refusal::Refusal;
use corten_store::metal::Object;
use corten_store::metal::node::{Node, Step, StepProgress};
use serde_json::Value;
use url::Url;

const BIOS: &str = "bios";
const FIRMWARE: &str = "firmware";
const APPLY: &str = "apply_configuration";
const RESET: &str = "factory_reset";
const UPDATE: &str = "update";

/// What the BMC of a real server can be asked for.
pub const OF_BMC: &[(&str, &[&str])] = &[(BIOS, &[APPLY, RESET]), (FIRMWARE, &[UPDATE])];

/// The status of a BMC that knows no such thing.
const NOT_FOUND: u16 = 404;

/// A step with its arguments, read.
enum Wish {
    Apply(Attributes),
    Reset,
    Update(Vec<Flash>),
}

/// One firmware image.
struct Flash {
    component: String,
    image: Url,
}

/// Whether this is a step of the BMC's.
pub fn is_of_bmc(step: &Step) -> bool {
    let of_interface = OF_BMC.iter().find(|(name, _)| *name == step.interface);
    of_interface.is_some_and(|(_, steps)| steps.contains(&step.step.as_str()))
}

/// Whether the server was booted for the first of a node's steps, which has yet to be looked at.
pub fn was_booted(node: &Node) -> bool {
    let progress = node.steps.first().and_then(|step| step.progress.as_ref());
    progress.is_some_and(|progress| progress.booted)
}

/// Refuses arguments that mean nothing.
pub fn check(step: &Step) -> Result<(), Refusal> {
    read(step).map(|_| ())
}

fn read(step: &Step) -> Result<Wish, Refusal> {
    let refuse = |rule: &str| {
        Refusal::invalid(format!(
            "The step {}.{} {rule}; its args are {}.",
            step.interface,
            step.step,
            Value::from(step.args.clone())
        ))
    };
    match step.step.as_str() {
        RESET if step.args.is_empty() => Ok(Wish::Reset),
        RESET => Err(refuse("takes no arguments")),
        APPLY => {
            let rule = "needs the argument settings, a list of at least one {\"name\": NAME, \"value\": VALUE} where VALUE is a \
                        text, a number, true or false";
            let settings = settings(&step.args).ok_or_else(|| refuse(rule))?;
            let settings = settings.iter().map(attribute).collect::<Option<_>>();
            Ok(Wish::Apply(settings.ok_or_else(|| refuse(rule))?))
        }
        _ => {
            let rule = "needs the argument settings, a list of at least one {\"component\": NAME, \"url\": URL} where NAME is a \
                        component of the node's firmware, or bios or bmc, and URL an http or https address that the BMC \
                        reaches";
            let settings = settings(&step.args).ok_or_else(|| refuse(rule))?;
            let settings = settings.iter().map(flash).collect::<Option<_>>();
            Ok(Wish::Update(settings.ok_or_else(|| refuse(rule))?))
        }
    }
}

/// The one argument: a list that is not empty.
fn settings(args: &Object) -> Option<&Vec<Value>> {
    let settings = args.get("settings")?.as_array()?;
    (args.len() == 1 && !settings.is_empty()).then_some(settings)
}

fn attribute(setting: &Value) -> Option<(String, AttributeValue)> {
    let setting = setting.as_object().filter(|setting| setting.len() == 2)?;
    let name = setting.get("name")?.as_str()?;
    let value = setting.get("value").filter(|value| !value.is_null())?;
    let value = serde_json::from_value(value.clone()).ok()?;
    Some((name.to_owned(), value))
}

fn flash(setting: &Value) -> Option<Flash> {
    let setting = setting.as_object().filter(|setting| setting.len() == 2)?;
    let image = Url::parse(setting.get("url")?.as_str()?).ok()?;
    matches!(image.scheme(), "http" | "https").then_some(())?;
    Some(Flash {
        component: setting.get("component")?.as_str()?.to_owned(),
        image,
    })
}

/// Takes the first of a node's steps further.
pub async fn run(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    step: &Step,
) -> Result<Result<Ran, Pending>, StepError> {
    let wish = read(step).map_err(|refusal| StepError::Fail(refusal.message))?;
    let progress = step.progress.clone().unwrap_or_default();
    let bmc = work::reach(cx, node)?.bmc;
    let work = Work {
        bmc: bmc.as_ref(),
        progress,
    };
    let done = match &wish {
        Wish::Apply(wanted) => work.apply(wanted).await,
        Wish::Reset => work.reset().await,
        Wish::Update(images) => work.update(images).await,
    };
    let done = match done {
        Ok(None) => read_back(bmc.as_ref(), node, &wish, at).await.map(Ok),
        Ok(Some(pending)) => Ok(Err(pending)),
        Err(error) => Err(error),
    };
    bmc.close().await;
    done.map_err(machine::step_error)
}

/// What the BMC shows when a step is done, for the node's row.
async fn read_back(bmc: &dyn Bmc, node: &Node, wish: &Wish, at: &StepCx) -> Result<Ran, BmcError> {
    let mut ran = Ran::default();
    match wish {
        Wish::Apply(_) | Wish::Reset => {
            ran.bios = Some(seen::bios(bmc.bios().await?.current, at.now()));
        }
        Wish::Update(images) => {
            let mut shown = seen::firmware(node, bmc.firmware().await?, at.now());
            for component in &mut shown {
                if images
                    .iter()
                    .any(|flash| flash.component == component.component)
                {
                    component
                        .last_version_flashed
                        .clone_from(&component.current_version);
                }
            }
            ran.firmware = Some(shown);
        }
    }
    Ok(ran)
}

/// One look at how far a step is. `None`: it is done.
type Look = Result<Option<Pending>, BmcError>;

struct Work<'a> {
    bmc: &'a dyn Bmc,
    progress: StepProgress,
}

impl Work<'_> {
    fn boot(self, why: &str) -> Look {
        let progress = StepProgress {
            booted: true,
            ..self.progress
        };
        Ok(Some(Pending::Boot(progress, why.to_owned())))
    }

    async fn apply(self, wanted: &Attributes) -> Look {
        let shown = self.bmc.bios().await?;
        let wanted = typed(wanted, &shown);
        let differs = |held: &dyn Fn(&str) -> Option<AttributeValue>| {
            let mut wanted = wanted.iter();
            wanted.find_map(|(name, value)| {
                let held = held(name);
                (held.as_ref() != Some(value)).then(|| (name.clone(), value.clone(), held))
            })
        };
        let current = |name: &str| shown.current.get(name).cloned();
        let Some((name, value, held)) = differs(&current) else {
            return Ok(None);
        };
        if self.progress.booted {
            return Err(BmcError::TaskFailed {
                bmc: self.bmc.name().to_owned(),
                task: format!("the BIOS setting {name} = {value}"),
                state: "not applied".to_owned(),
                message: format!(
                    "after a boot it is {}",
                    held.map_or_else(|| "not there".to_owned(), |held| held.to_string())
                ),
            });
        }
        let then = |name: &str| shown.pending.get(name).cloned().or_else(|| current(name));
        if differs(&then).is_some() && self.bmc.set_bios(&wanted).await? == Effect::Now {
            return Ok(None);
        }
        self.boot("BIOS settings hold from the next boot on")
    }

    async fn reset(self) -> Look {
        if self.progress.booted {
            return Ok(None);
        }
        self.bmc.reset_bios().await?;
        self.boot("the BIOS is reset by the next boot")
    }

    async fn update(mut self, images: &[Flash]) -> Look {
        if let Some(pending) = self.tasks().await? {
            return Ok(Some(pending));
        }
        if self.progress.booted {
            return Ok(None);
        }
        let Some(flash) = images.get(self.progress.tasks.len()) else {
            return self.boot("new firmware holds from the next boot on");
        };
        let update = FirmwareUpdate {
            image: flash.image.clone(),
            targets: target(&flash.component, self.bmc.firmware().await?)?,
        };
        let task = self.bmc.update_firmware(&update).await?;
        self.progress.tasks.push(task.map(|task| task.0));
        let note = format!("the BMC installs {} on {}", flash.image, flash.component);
        Ok(Some(Pending::Begun(self.progress, note)))
    }

    /// Looks at the BMC's tasks. `None`: each has done what it could before a boot, and after one each is through.
    async fn tasks(&self) -> Look {
        for task in self.progress.tasks.iter().flatten() {
            let told = match self.bmc.task(&TaskRef(task.clone())).await {
                // Some forget a task when it is done, at the latest with their own update.
                Err(BmcError::Refused {
                    status: Some(NOT_FOUND),
                    ..
                }) => continue,
                told => told?,
            };
            match told.state {
                TaskState::Completed => {}
                TaskState::NeedsBoot if !self.progress.booted => {}
                TaskState::Running | TaskState::NeedsBoot => {
                    let percent = told.percent;
                    let percent = percent.map_or_else(String::new, |done| format!(" ({done} %)"));
                    let note = format!("the BMC is at its task {task}{percent}");
                    return Ok(Some(Pending::Running(note)));
                }
                TaskState::Failed | TaskState::Cancelled => {
                    return Err(BmcError::TaskFailed {
                        bmc: self.bmc.name().to_owned(),
                        task: task.clone(),
                        state: format!("{:?}", told.state),
                        message: told.messages.join("; "),
                    });
                }
            }
        }
        Ok(None)
    }
}

/// What an update names as its target: for a component that the BMC lists its id; for the two that each server has, the image tells.
fn target(component: &str, items: Vec<FirmwareItem>) -> Result<Vec<String>, BmcError> {
    let listed = items
        .iter()
        .find(|item| item.name.as_deref() == Some(component) || item.id == component);
    match listed {
        Some(item) => Ok(vec![item.id.clone()]),
        None if matches!(component, "bios" | "bmc") => Ok(Vec::new()),
        None => {
            let known = items.into_iter().map(|item| item.name.unwrap_or(item.id));
            Err(BmcError::Invalid {
                rule: "firmware is installed on a component that the BMC lists",
                value: component.to_owned(),
                fix: format!("name one of: {}", known.collect::<Vec<_>>().join(", ")),
            })
        }
    }
}

/// The values in the types that the BMC has for them: clients often send texts only.
fn typed(wanted: &Attributes, shown: &BiosSettings) -> Attributes {
    use AttributeValue::{Flag, Integer, Number, Text};
    let as_held = |name: &str, value: &AttributeValue| match (value, shown.current.get(name)) {
        (Text(text), Some(Flag(_))) => text.to_lowercase().parse().ok().map(Flag),
        (Text(text), Some(Integer(_))) => text.parse().ok().map(Integer),
        (Text(text), Some(Number(_))) => text.parse().ok().map(Number),
        (Flag(_) | Integer(_) | Number(_), Some(Text(_))) => Some(Text(value.to_string())),
        _ => None,
    };
    let wanted = wanted.iter().map(|(name, value)| {
        let value = as_held(name, value).unwrap_or_else(|| value.clone());
        (name.clone(), value)
    });
    wanted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(interface: &str, name: &str, args: Value) -> Step {
        Step {
            interface: interface.to_owned(),
            step: name.to_owned(),
            args: args.as_object().cloned().unwrap(),
            priority: 0,
            progress: None,
        }
    }

    #[test]
    fn arguments_that_mean_nothing_are_refused_with_the_rule() {
        let right = [
            (
                BIOS,
                APPLY,
                json!({"settings": [{"name": "Turbo", "value": true}]}),
            ),
            (BIOS, RESET, json!({})),
            (
                FIRMWARE,
                UPDATE,
                json!({"settings": [{"component": "bmc", "url": "https://files/bmc.bin"}]}),
            ),
        ];
        for (interface, name, args) in right {
            check(&step(interface, name, args)).unwrap();
        }
        let wrong = [
            (BIOS, APPLY, json!({}), "at least one"),
            (BIOS, APPLY, json!({"settings": []}), "at least one"),
            (
                BIOS,
                APPLY,
                json!({"settings": [{"name": "Turbo"}]}),
                "\"value\"",
            ),
            (
                BIOS,
                APPLY,
                json!({"settings": [{"name": "Turbo", "value": null}]}),
                "true or false",
            ),
            (BIOS, RESET, json!({"really": true}), "no arguments"),
            (
                FIRMWARE,
                UPDATE,
                json!({"settings": [{"component": "bmc", "url": "file:///etc/passwd"}]}),
                "http or https",
            ),
            (
                FIRMWARE,
                UPDATE,
                json!({"settings": [{"url": "https://files/bmc.bin"}]}),
                "\"component\"",
            ),
        ];
        for (interface, name, args, rule) in wrong {
            let refused = check(&step(interface, name, args)).unwrap_err();
            assert!(refused.message.contains(rule), "{}", refused.message);
        }
    }

    #[test]
    fn values_have_the_types_that_the_bmc_has() {
        let text = |text: &str| AttributeValue::Text(text.to_owned());
        let held = [
            ("Turbo", AttributeValue::Flag(true)),
            ("Cores", AttributeValue::Integer(4)),
            ("Mode", text("Uefi")),
        ];
        let shown = BiosSettings {
            current: held.map(|(name, value)| (name.to_owned(), value)).into(),
            ..BiosSettings::default()
        };
        let wanted = [
            ("Turbo", text("False")),
            ("Cores", text("8")),
            ("Mode", AttributeValue::Integer(1)),
            ("Unknown", text("x")),
        ];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value)).into();
        let expected = [
            ("Turbo", AttributeValue::Flag(false)),
            ("Cores", AttributeValue::Integer(8)),
            ("Mode", text("1")),
            ("Unknown", text("x")),
        ];
        let expected: Attributes = expected
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        assert_eq!(typed(&wanted, &shown), expected);
    }

    #[test]
    fn an_update_has_a_target_that_the_bmc_lists() {
        let item = FirmwareItem {
            id: "/redfish/v1/UpdateService/FirmwareInventory/Nic".to_owned(),
            name: Some("Network card".to_owned()),
            version: None,
            updateable: None,
        };
        let target = |component| target(component, vec![item.clone()]);
        assert_eq!(
            target("Network card").unwrap(),
            std::slice::from_ref(&item.id)
        );
        assert!(target("bios").unwrap().is_empty());
        let refused = target("disk").unwrap_err().to_string();
        assert!(refused.contains("Network card"), "{refused}");
    }
}
