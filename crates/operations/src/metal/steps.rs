//! The steps that an operator asks for: reading them, choosing those of templates, and running one after the other.

use super::machine;
use super::work;
use crate::context::Context;
use corten_bmc::{PowerAction, change_power};
use corten_engine::{StepCx, StepError};
use corten_model::ids::{NodeId, WipeId};
use corten_model::refusal::Refusal;
use corten_store::metal::deploy_template::DeployTemplate;
use corten_store::metal::node::{Node, Step};
use corten_store::metal::runbook::Runbook;
use corten_store::metal::wipe::{Wipe, WipedDisk};
use corten_store::{Failure, Query, Tx, record};
use serde_json::Value;
use std::time::Duration;

/// Names that mean the same for every interface.
const HOLD: &str = "hold";
const POWER_ON: &str = "power_on";
const POWER_OFF: &str = "power_off";
const REBOOT: &str = "reboot";
/// Erases the disks, and is recorded as that.
const ERASE: &str = "erase_devices";

const POWER_LIMIT: Duration = Duration::from_secs(60);

/// What the simulated servers can be asked for.
const KNOWN: &[(&str, &[&str])] = &[
    ("deploy", &[ERASE, "erase_devices_metadata", "deploy"]),
    (
        "bios",
        &[
            "apply_configuration",
            "factory_reset",
            "cache_bios_settings",
        ],
    ),
    (
        "raid",
        &[
            "create_configuration",
            "delete_configuration",
            "apply_configuration",
        ],
    ),
    ("management", &["clear_job_queue", "reset_bmc"]),
    ("firmware", &["update"]),
    ("power", &[]),
    ("vendor", &[]),
];

/// The interfaces that have steps.
pub fn interfaces() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(interface, _)| *interface)
}

/// Refuses a step that this server does not have.
pub fn check(steps: &[Step]) -> Result<(), Refusal> {
    for step in steps {
        let common = [HOLD, POWER_ON, POWER_OFF, REBOOT].contains(&step.step.as_str());
        let known = KNOWN
            .iter()
            .find(|(interface, _)| *interface == step.interface)
            .ok_or_else(|| {
                let legal: Vec<_> = interfaces().collect();
                Refusal::invalid(format!(
                    "The step '{}' names the interface '{}', which has no steps. Those that have: {}.",
                    step.step,
                    step.interface,
                    legal.join(", ")
                ))
            })?;
        if !common && !known.1.contains(&step.step.as_str()) {
            return Err(Refusal::invalid(format!(
                "The interface '{}' has no step '{}'. It has: {}, {HOLD}, {POWER_ON}, {POWER_OFF}, {REBOOT}.",
                step.interface,
                step.step,
                known.1.join(", ")
            )));
        }
    }
    Ok(())
}

/// The steps of the templates that an instance's traits name, the highest priority first.
pub async fn of_templates(tx: &mut Tx, node: &Node) -> Result<Vec<Step>, Failure> {
    let traits: Vec<String> = match node.instance_info.get("traits") {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    };
    let templates: Vec<DeployTemplate> = Query::new().any_of("name", traits).all(tx).await?;
    let mut steps: Vec<Step> = templates
        .into_iter()
        .flat_map(|template| template.steps)
        .filter(|step| step.priority > 0)
        .map(|step| Step {
            interface: step.interface,
            step: step.step,
            args: step.args,
            priority: step.priority,
        })
        .collect();
    steps.sort_by_key(|step| std::cmp::Reverse(step.priority));
    Ok(steps)
}

/// The steps of a runbook in their order, for a node that has its trait.
pub fn of_runbook(runbook: &Runbook, node: &Node) -> Result<Vec<Step>, Refusal> {
    let fits = node.traits.contains(&runbook.name)
        || runbook.traits.iter().any(|name| node.traits.contains(name));
    if !fits {
        return Err(Refusal::invalid(format!(
            "The runbook {} is for nodes that have its name, or one of its traits, as a trait; node {} has none of them.",
            runbook.name, node.id
        )));
    }
    let mut steps = runbook.steps.clone();
    steps.sort_by_key(|step| step.order);
    Ok(steps
        .into_iter()
        .map(|step| Step {
            interface: step.interface,
            step: step.step,
            args: step.args,
            priority: 0,
        })
        .collect())
}

/// What a step that was run leaves to be written with its end.
#[derive(Debug, Default)]
pub struct Ran {
    pub wipe: Option<Wipe>,
    /// A person's consent is awaited.
    pub hold: bool,
}

/// Runs the first of a node's steps.
pub async fn run(cx: &Context, at: &StepCx, node: &Node) -> Result<Ran, StepError> {
    let Some(step) = node.steps.first() else {
        return Ok(Ran::default());
    };
    let power = match step.step.as_str() {
        HOLD => {
            return Ok(Ran {
                hold: true,
                ..Ran::default()
            });
        }
        POWER_ON => Some(PowerAction::On),
        POWER_OFF => Some(PowerAction::Off),
        REBOOT => Some(PowerAction::Cycle),
        _ => None,
    };
    if let Some(action) = power {
        let bmc = work::reach(cx, node)?.bmc;
        change_power(bmc.as_ref(), action, POWER_LIMIT)
            .await
            .map_err(machine::step_error)?;
        return Ok(Ran::default());
    }
    if step.step == ERASE {
        let wipe = wipe(cx, at, node).await?;
        return Ok(Ran {
            wipe: Some(wipe),
            ..Ran::default()
        });
    }
    let epoch = at.fence().epoch;
    work::reach_inside(cx, node)?
        .step(epoch, &step.interface, &step.step, &step.args)
        .await
        .map_err(machine::step_error)?;
    Ok(Ran::default())
}

/// Writes what a step left, and takes it off the list.
pub async fn finish(tx: &mut Tx, node: &mut Node, ran: &Ran) -> Result<(), StepError> {
    if let Some(wipe) = &ran.wipe {
        record::insert(tx, wipe).await?;
        node.wiped = Some(wipe.id);
    }
    if node.steps.is_empty() {
        return Ok(());
    }
    let step = node.steps.remove(0);
    match (step.interface.as_str(), step.step.as_str()) {
        ("raid", "create_configuration" | "apply_configuration") => {
            node.raid_config.clone_from(&node.target_raid_config);
        }
        ("raid", "delete_configuration") => node.raid_config.clear(),
        _ => {}
    }
    Ok(())
}

/// Has every disk of a node erased. What is returned is the proof, to be written with what follows from it.
pub async fn wipe(cx: &Context, at: &StepCx, node: &Node) -> Result<Wipe, StepError> {
    let disks = work::reach_inside(cx, node)?
        .wipe(at.fence().epoch)
        .await
        .map_err(machine::step_error)?;
    Ok(proof(node.id, disks, at.now(), at.origin()))
}

/// The record of a wipe.
pub fn proof(
    node_id: NodeId,
    disks: Vec<corten_bmc::Wiped>,
    at: corten_model::time::Timestamp,
    origin: corten_model::origin::Origin,
) -> Wipe {
    let disks = disks.into_iter().map(|disk| WipedDisk {
        serial: disk.serial,
        size_bytes: disk.size_bytes,
        method: disk.method,
    });
    Wipe {
        id: WipeId::random(),
        node_id,
        at,
        disks: disks.collect(),
        origin,
    }
}
