//! Instances that are whole servers: the commands of a virtual machine, carried out by a node of bare metal.
//!
//! An instance's operation orders what the node's own operation does (deploy, rebuild, clean), and follows it:
//!
//! ```text
//!  instance:  Choose ──▶ Follow ─────────────────────────────▶ Active
//!                 │        ▲ tells at its end
//!  node:          └──▶ deploying ─▶ wait call-back ─▶ active ─┘
//! ```
//!
//! The node holds the instance (`node.instance_id`), as a host's allocation does for a virtual machine, until it is off:
//! from there on it is wiped, and no tenant's any more. What metal cannot do yet is refused with what it lacks (K67, K68).

pub mod command;
pub mod create;
pub mod delete;
pub mod node;
pub mod rebuild;

use crate::context::Context;
use crate::extra_specs;
use crate::instance::networks::Networks;
use crate::instance::new::NewInstances;
use crate::metal::choosing::Need;
use crate::metal::console;
use corten_model::lifecycle::{Command, InstanceClass};
use corten_model::refusal::Refusal;
use corten_store::images::{Image, Visibility};
use corten_store::instances::{Flavor, Instance};
use corten_store::metal::node::Node;
use corten_store::{Failure, Query};

/// What a node must be to carry an instance of this flavor.
pub fn need(instance: &Instance) -> Need {
    let specs = &instance.intent.flavor.extra_specs;
    Need {
        resource_class: extra_specs::resource_class(specs).map(str::to_owned),
        traits: extra_specs::required_traits(specs),
        owner: Some(instance.project_id.to_string()),
        candidates: Vec::new(),
    }
}

/// Refuses what a whole server cannot be given yet, with the capability it lacks.
pub fn check_new(
    new: &NewInstances,
    flavor: &Flavor,
    image: Option<&Image>,
    default_zone: &str,
) -> Result<(), Refusal> {
    let lacks = |asked: &str, capability: &str| {
        Err(Refusal::invalid(format!(
            "Flavor {} gives a whole bare-metal server, and {asked} needs {capability}, which it does not have.",
            flavor.name
        )))
    };
    if extra_specs::resource_class(&flavor.extra_specs).is_none() {
        return Err(Refusal::invalid(format!(
            "Flavor {} is for whole servers but names none: set the extra spec resources:CUSTOM_CLASS=1, where CLASS is the \
             resource class of nodes.",
            flavor.name
        )));
    }
    if matches!(new.networks, Networks::These(_)) {
        return lacks(
            "a network or port of its own",
            "a DPU or a managed switch port (the server is on the flat network of its conductor group: ask for no network)",
        );
    }
    if new.public_ip.is_some() {
        return lacks("a public IP", "a DPU or a managed switch port");
    }
    if new.security_groups.iter().any(|group| group != "default") {
        return lacks(
            "a security group",
            "a DPU or a switch that enforces its rules",
        );
    }
    if new.config_drive == Some(false) {
        return lacks(
            "an instance without a config drive",
            "a metadata service on its network",
        );
    }
    if new.host.is_some() {
        return lacks("a chosen host", "a hypervisor");
    }
    if new
        .availability_zone
        .as_deref()
        .is_some_and(|zone| zone != default_zone)
    {
        return lacks("an availability zone", "a place in one");
    }
    if !new.scheduler_hints.is_empty() {
        return lacks("a scheduler hint or server group", "a host that is shared");
    }
    if let Some(image) = image {
        check_image(image)?;
    }
    Ok(())
}

/// Only images that everybody has are put on servers (K102), and only those that can be written to a disk.
pub fn check_image(image: &Image) -> Result<(), Refusal> {
    if image.visibility != Visibility::Public {
        return Err(Refusal::invalid(format!(
            "Image {} is not public: whole servers get the cloud's default images only (K102).",
            image.id
        )));
    }
    let format = image.disk_format.as_deref().unwrap_or("unknown");
    if !matches!(format, "raw" | "qcow2") {
        return Err(Refusal::invalid(format!(
            "Image {} has the disk format {format}: only raw and qcow2 are written to servers.",
            image.id
        )));
    }
    Ok(())
}

/// What the server of an instance printed.
pub async fn console_log(cx: &Context, instance: &Instance) -> Result<String, Failure> {
    let node: Option<Node> = Query::new()
        .equals("instance_id", &instance.id)
        .first(&mut cx.store.read().await?)
        .await?;
    let Some(node) = node else {
        return Ok(String::new());
    };
    match console::log(cx, &node).await {
        Some(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        None => Err(Refusal::not_implemented(format!(
            "The console of instance {} lacks a serial line that is kept: its node has the console interface '{}', and only '{}' (IPMI, serial over LAN) keeps one.",
            instance.id,
            node.driver_part("console"),
            console::SOL
        ))
        .into()),
    }
}

/// Refuses the commands that the life cycle of metal has and that nothing carries out yet.
pub fn check_command(class: InstanceClass, command: Command) -> Result<(), Refusal> {
    let capability = match (class, command) {
        (InstanceClass::Vm, _) => return Ok(()),
        (_, Command::Shelve | Command::Unshelve | Command::ShelveOffload) => {
            "a place apart from the server to keep its root disk in"
        }
        (_, Command::Rescue | Command::Unrescue) => {
            "a rescue by its tenant (its operator can rescue the node)"
        }
        (_, Command::AttachInterface | Command::DetachInterface) => {
            "a DPU or a managed switch port to attach networks with"
        }
        (_, Command::RemoteConsole) => "a way to its serial line for its tenant",
        _ => return Ok(()),
    };
    Err(Refusal::not_implemented(format!(
        "'{command}' of an instance that is a whole server lacks {capability}."
    )))
}
