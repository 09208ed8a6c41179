//! Steps on BIOS settings, which a node's BMC carries out over a boot.
//!
//! ```text
//!  tell the BMC ──▶ the server is booted into the ramdisk anew ──▶ the BMC shows the settings: done
//! ```
//!
//! That the server was booted for a step stands in the node's row ([`Step::booted`]). Telling a BMC twice does no harm.

use super::ramdisk::orders::Pending;
use super::steps::Ran;
use super::{machine, seen, work};
use crate::context::Context;
use corten_bmc::{AttributeValue, Attributes, BiosSettings, Bmc, BmcError, Effect};
use corten_engine::{StepCx, StepError};
use corten_model::refusal::Refusal;
use corten_store::metal::Object;
use corten_store::metal::node::{Node, Step};
use serde_json::Value;

const BIOS: &str = "bios";
const APPLY: &str = "apply_configuration";
const RESET: &str = "factory_reset";

/// What the BMC of a real server can be asked for.
pub const OF_BMC: &[(&str, &[&str])] = &[(BIOS, &[APPLY, RESET])];

/// A step with its arguments, read.
enum Wish {
    Apply(Attributes),
    Reset,
}

/// Whether this is a step of the BMC's.
pub fn is_of_bmc(step: &Step) -> bool {
    let is_it = |(interface, steps): &(&str, &[&str])| {
        *interface == step.interface && steps.contains(&step.step.as_str())
    };
    OF_BMC.iter().any(is_it)
}

/// Refuses arguments that mean nothing.
pub fn check(step: &Step) -> Result<(), Refusal> {
    read(step).map(|_| ())
}

fn read(step: &Step) -> Result<Wish, Refusal> {
    let refuse =
        |rule: &str| Refusal::invalid(format!("The step {}.{} {rule}.", step.interface, step.step));
    match step.step.as_str() {
        RESET if step.args.is_empty() => Ok(Wish::Reset),
        RESET => Err(refuse("takes no arguments")),
        _ => settings(&step.args).map(Wish::Apply).ok_or_else(|| {
            refuse(
                "needs the argument settings and no other, a list of at least one {\"name\": NAME, \"value\": VALUE} where \
                 VALUE is a text, a number, true or false",
            )
        }),
    }
}

/// The one argument: a list that is not empty.
fn settings(args: &Object) -> Option<Attributes> {
    let settings = args.get("settings")?.as_array()?;
    if args.len() != 1 || settings.is_empty() {
        return None;
    }
    settings.iter().map(attribute).collect()
}

fn attribute(setting: &Value) -> Option<(String, AttributeValue)> {
    let setting = setting.as_object().filter(|setting| setting.len() == 2)?;
    let name = setting.get("name")?.as_str()?;
    let value = setting.get("value").filter(|value| !value.is_null())?;
    let value = serde_json::from_value(value.clone()).ok()?;
    Some((name.to_owned(), value))
}

/// Takes the first of a node's steps further.
pub async fn run(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    step: &Step,
) -> Result<Result<Ran, Pending>, StepError> {
    let wish = read(step).map_err(|refusal| StepError::Fail(refusal.message))?;
    let bmc = work::reach(cx, node)?.bmc;
    let done = carry_out(bmc.as_ref(), &wish, step.booted).await;
    bmc.close().await;
    let done = done.map_err(machine::step_error)?;
    Ok(done.map(|shown| Ran {
        bios: Some(seen::bios(shown, at.now())),
        ..Ran::default()
    }))
}

/// The settings that the BMC shows at the end, or that a boot is needed first.
async fn carry_out(
    bmc: &dyn Bmc,
    wish: &Wish,
    booted: bool,
) -> Result<Result<Attributes, Pending>, BmcError> {
    let boot = |why: &str| Ok(Err(Pending::Boot(why.to_owned())));
    let wanted = match wish {
        Wish::Apply(wanted) => wanted,
        Wish::Reset if booted => return Ok(Ok(bmc.bios().await?.current)),
        Wish::Reset => {
            bmc.reset_bios().await?;
            return boot("the BIOS is reset by the next boot");
        }
    };
    let shown = bmc.bios().await?;
    let wanted = typed(wanted, &shown);
    check_not_hidden(bmc, &wanted, &shown)?;
    let Some((name, value)) = missing(&wanted, &shown.current) else {
        return Ok(Ok(shown.current));
    };
    if booted {
        return Err(not_applied(bmc, name, value, shown.current.get(name)));
    }
    let mut then = shown.current;
    then.extend(shown.pending);
    if missing(&wanted, &then).is_some() && bmc.set_bios(&wanted).await? == Effect::Now {
        return Ok(Ok(bmc.bios().await?.current));
    }
    boot("BIOS settings hold from the next boot on")
}

/// The first setting that is not as it should be.
fn missing<'a>(
    wanted: &'a Attributes,
    held: &Attributes,
) -> Option<(&'a String, &'a AttributeValue)> {
    wanted
        .iter()
        .find(|(name, value)| held.get(*name) != Some(*value))
}

/// A setting that the BMC hides is a password. Arguments of steps are kept and shown, so it must not come as one.
fn check_not_hidden(
    bmc: &dyn Bmc,
    wanted: &Attributes,
    shown: &BiosSettings,
) -> Result<(), BmcError> {
    let hidden = |name: &&String| shown.current.get(*name) == Some(&AttributeValue::Unset);
    match wanted.keys().find(hidden) {
        None => Ok(()),
        Some(name) => Err(BmcError::Invalid {
            rule: "a BIOS setting that the BMC hides is set at the BMC itself, since arguments of steps are shown",
            value: name.clone(),
            fix: format!("leave it out of the step, and set it at {}", bmc.name()),
        }),
    }
}

fn not_applied(
    bmc: &dyn Bmc,
    name: &str,
    value: &AttributeValue,
    shown: Option<&AttributeValue>,
) -> BmcError {
    let shown = shown.map_or_else(|| "not there".to_owned(), ToString::to_string);
    BmcError::TaskFailed {
        bmc: bmc.name().to_owned(),
        task: format!("the BIOS setting {name} = {value}"),
        state: "not applied".to_owned(),
        message: format!("after a boot it is {shown}"),
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

    fn step(name: &str, args: Value) -> Step {
        Step {
            interface: BIOS.to_owned(),
            step: name.to_owned(),
            args: args.as_object().cloned().unwrap(),
            priority: 0,
            booted: false,
        }
    }

    #[test]
    fn arguments_that_mean_nothing_are_refused_with_the_rule() {
        let setting = json!({"settings": [{"name": "Turbo", "value": true}]});
        check(&step(APPLY, setting)).unwrap();
        check(&step(RESET, json!({}))).unwrap();
        let wrong = [
            (APPLY, json!({}), "at least one"),
            (APPLY, json!({"settings": []}), "at least one"),
            (APPLY, json!({"settings": [{"name": "Turbo"}]}), "\"value\""),
            (
                APPLY,
                json!({"settings": [{"name": "Turbo", "value": null}]}),
                "true or false",
            ),
            (RESET, json!({"really": true}), "no arguments"),
        ];
        for (name, args, rule) in wrong {
            let refused = check(&step(name, args)).unwrap_err();
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
}
