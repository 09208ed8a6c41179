//! The steps that an operator asks for: reading them, choosing those of templates, and running one after the other.

use super::driver::{FAKE, IPMI};
use super::ramdisk::orders::Pending;
use super::ramdisk::{self, orders, timeline};
use super::{bios_steps, firmware_args, firmware_steps, work};
use crate::context::Context;
use corten_bmc::{PowerAction, Task};
use corten_engine::{StepCx, StepError};
use corten_model::ids::{NodeId, WipeId};
use corten_model::lifecycle::node::NodeVerb;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::metal::Object;
use corten_store::metal::deploy_template::DeployTemplate;
use corten_store::metal::node::{BiosSetting, Node, Step};
use corten_store::metal::runbook::Runbook;
use corten_store::metal::wipe::{Wipe, WipedDisk};
use corten_store::{Failure, Query, Tx, record};
use serde_json::Value;

/// Names that mean the same for every interface.
const HOLD: &str = "hold";
const POWER_ON: &str = "power_on";
const POWER_OFF: &str = "power_off";
const REBOOT: &str = "reboot";
/// Erases the disks, and is recorded as that.
const ERASE: &str = "erase_devices";

/// Steps that every server has.
const COMMON: &[&str] = &[HOLD, POWER_ON, POWER_OFF, REBOOT];
/// Of these, those that leave a ramdisk running.
const COMMON_INSIDE: &[&str] = &[HOLD];

/// What a real server's ramdisk can be asked for.
const OF_RAMDISK: &[(&str, &[&str])] = &[
    (
        "deploy",
        &[
            ERASE,
            "erase_devices_metadata",
            "burnin_cpu",
            "burnin_memory",
            "burnin_disk",
            "burnin_network",
        ],
    ),
    ("raid", &["create_configuration", "delete_configuration"]),
];

/// What the simulated servers can be asked for.
const SIMULATED: &[(&str, &[&str])] = &[
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
    SIMULATED.iter().map(|(interface, _)| *interface)
}

/// Refuses a step that a node's server does not have.
pub fn check(node: &Node, steps: &[Step]) -> Result<(), Refusal> {
    let (known, common) = if node.driver == FAKE {
        (SIMULATED.to_vec(), COMMON)
    } else {
        let (bios, firmware) = match node.driver.as_str() {
            IPMI => (&[][..], &[][..]),
            _ => (bios_steps::OF_BMC, firmware_args::OF_BMC),
        };
        ([OF_RAMDISK, bios, firmware].concat(), COMMON_INSIDE)
    };
    for step in steps {
        if firmware_args::is_it(step) {
            firmware_args::check(node, step)?;
        }
        let of_interface = known
            .iter()
            .find(|(interface, _)| *interface == step.interface)
            .ok_or_else(|| {
                let legal: Vec<_> = known.iter().map(|(interface, _)| *interface).collect();
                Refusal::invalid(format!(
                    "The step '{}' names the interface '{}', which has no steps with the driver {}. Those that have: {}.",
                    step.step,
                    step.interface,
                    node.driver,
                    legal.join(", ")
                ))
            })?;
        let way = node.driver_part(&step.interface);
        if way == format!("no-{}", step.interface) {
            return Err(Refusal::invalid(format!(
                "The step '{}' is of the interface '{interface}', but {interface}_interface of node {} is {way}. Set another.",
                step.step,
                node.id,
                interface = step.interface
            )));
        }
        let name = step.step.as_str();
        if !common.contains(&name) && !of_interface.1.contains(&name) {
            return Err(Refusal::invalid(format!(
                "The interface '{}' has no step '{name}' with the driver {}. It has: {}.",
                step.interface,
                node.driver,
                [of_interface.1, common].concat().join(", ")
            )));
        }
        if is_of_bmc(node, step) {
            bios_steps::check(step)?;
        }
    }
    Ok(())
}

/// The image has the priority 80, as in Ironic: a step of a deployment that has a higher one comes before it.
const IMAGE: u32 = 80;

pub fn comes_before_the_image(step: &Step) -> bool {
    step.priority > IMAGE
}

/// What leaves nothing of an image, or of an instance, that is on the disks.
const DESTRUCTIVE: &[(&str, &str)] = &[
    ("deploy", ERASE),
    ("deploy", "erase_devices_metadata"),
    ("deploy", "burnin_disk"),
    ("raid", "create_configuration"),
    ("raid", "delete_configuration"),
    ("raid", "apply_configuration"),
];

/// Refuses the steps that would destroy what this verb is to leave on the disks.
pub fn check_for(verb: NodeVerb, steps: &[Step]) -> Result<(), Refusal> {
    for step in steps {
        let name = (step.interface.as_str(), step.step.as_str());
        if !DESTRUCTIVE.contains(&name) {
            continue;
        }
        let named = format!("{}.{}", step.interface, step.step);
        match verb {
            NodeVerb::Active | NodeVerb::Rebuild if !comes_before_the_image(step) => {
                return Err(Refusal::invalid(format!(
                    "The deploy step {named} has the priority {}, so it would destroy the image, which is written at {IMAGE}. \
                     Give it a priority above {IMAGE}.",
                    step.priority
                )));
            }
            NodeVerb::Service => {
                return Err(Refusal::invalid(format!(
                    "The service step {named} would destroy what the instance has on its disks. Delete the instance, and run \
                     it as a clean step.",
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the BMC carries a step out; a simulated server without a ramdisk does it itself.
fn is_of_bmc(node: &Node, step: &Step) -> bool {
    ramdisk::boots(node) && bios_steps::is_of_bmc(step)
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
            booted: false,
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
            booted: false,
        })
        .collect())
}

/// What a step that was run leaves to be written with its end.
#[derive(Debug, Default)]
pub struct Ran {
    pub wipe: Option<Wipe>,
    /// The BIOS settings that the BMC shows now.
    pub bios: Option<Vec<BiosSetting>>,
    /// The arrays that were built, as the ramdisk tells.
    pub raid: Option<Object>,
    /// A person's consent is awaited.
    pub hold: bool,
}

/// Runs the first of a node's steps.
pub async fn run(
    cx: &Context,
    at: &StepCx,
    node: &Node,
) -> Result<Result<Ran, Pending>, StepError> {
    let Some(step) = node.steps.first() else {
        return Ok(Ok(Ran::default()));
    };
    let power = match step.step.as_str() {
        HOLD => {
            return Ok(Ok(Ran {
                hold: true,
                ..Ran::default()
            }));
        }
        POWER_ON => Some(PowerAction::On),
        POWER_OFF => Some(PowerAction::Off),
        REBOOT => Some(PowerAction::Cycle),
        _ => None,
    };
    if let Some(action) = power {
        work::switch(cx, node, action).await?;
        return Ok(Ok(Ran::default()));
    }
    if firmware_args::is_it(step) {
        return firmware_steps::run(cx, at, node, step).await;
    }
    if is_of_bmc(node, step) {
        return bios_steps::run(cx, at, node, step).await;
    }
    let task = if step.step == ERASE {
        Task::Erase
    } else {
        Task::Step {
            interface: step.interface.clone(),
            step: step.step.clone(),
            args: args(node, step),
        }
    };
    // Of two steps that are equal each has its own mark.
    let piece = format!("{} ({} left)", step.step, node.steps.len());
    let given = orders::give(cx, at, node, &piece, task).await?;
    Ok(given.map(|report| Ran {
        raid: built(&report.details, at.now()),
        wipe: (!report.wiped.is_empty())
            .then(|| proof(node.id, report.wiped, at.now(), at.origin())),
        ..Ran::default()
    }))
}

/// What our own ramdisk tells of its arrays; Ironic's says nothing.
fn built(details: &Value, now: Timestamp) -> Option<Object> {
    let disks = details.get("logical_disks")?.as_array()?;
    let mut raid = Object::new();
    raid.insert("logical_disks".to_owned(), disks.clone().into());
    raid.insert("last_updated".to_owned(), now.micros_z().into());
    Some(raid)
}

/// A step's own arguments; for an array also the configuration that the node is to have.
fn args(node: &Node, step: &Step) -> Object {
    let mut args = step.args.clone();
    if step.interface == "raid" && step.step == "create_configuration" {
        args.entry("target_raid_config")
            .or_insert_with(|| node.target_raid_config.clone().into());
    }
    args
}

/// Writes the proof of a wipe.
pub async fn prove(tx: &mut Tx, node: &mut Node, wipe: &Wipe) -> Result<(), StepError> {
    record::insert(tx, wipe).await?;
    node.wiped = Some(wipe.id);
    // Arrays were dissolved for it.
    node.raid_config.clear();
    if ramdisk::boots(node) {
        let disks = wipe.disks.iter();
        let disks: Vec<_> = disks
            .map(|disk| format!("{} ({})", disk.serial, disk.method))
            .collect();
        timeline::note(tx, node.id, wipe.at, "wiped", disks.join(", ")).await?;
    }
    Ok(())
}

/// Writes what a step left, and takes it off the list.
pub async fn finish(tx: &mut Tx, node: &mut Node, ran: Ran) -> Result<(), StepError> {
    if let Some(wipe) = &ran.wipe {
        prove(tx, node, wipe).await?;
    }
    if let Some(bios) = ran.bios {
        node.bios = bios;
    }
    if node.steps.is_empty() {
        return Ok(());
    }
    let step = node.steps.remove(0);
    match (step.interface.as_str(), step.step.as_str()) {
        ("raid", "create_configuration" | "apply_configuration") => {
            node.raid_config = ran.raid.unwrap_or_else(|| node.target_raid_config.clone());
        }
        ("raid", "delete_configuration") => node.raid_config.clear(),
        (firmware_args::FIRMWARE, firmware_args::UPDATE) => node.flashes.clear(),
        _ => {}
    }
    Ok(())
}

/// The record of a wipe.
pub fn proof(
    node_id: NodeId,
    disks: Vec<corten_bmc::Wiped>,
    at: Timestamp,
    origin: corten_model::origin::Origin,
) -> Wipe {
    let disks = disks.into_iter().map(|disk| WipedDisk {
        serial: disk.serial,
        size_bytes: disk.size_bytes,
        method: disk.method,
        removable: disk.removable,
    });
    Wipe {
        id: WipeId::random(),
        node_id,
        at,
        disks: disks.collect(),
        origin,
    }
}
