//! What is asked of a node's BMC at once: boot device, boot mode, secure boot, indicator, virtual media, interrupt.

use super::access::{self, Ident};
use super::at_rest;
use super::machine::{self, unanswered};
use crate::context::Context;
use corten_bmc::{
    Bmc, Boot, BootDevice, BootMode, Indicator, Lasting, Media, MediaKind, PowerAction,
};
use corten_iam::action::Action;
use corten_iam::action::baremetal::{NODES_READ, NODES_WRITE};
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_store::metal::node::Node;
use corten_store::{Failure, record};
use std::sync::Arc;

/// A node's BMC, for who may do this to the node.
async fn bmc(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    action: Action,
) -> Result<(Node, Arc<dyn Bmc>), Failure> {
    let node = access::node(cx, actor, &mut cx.store.read().await?, ident, action).await?;
    let bmc = machine::open(cx, &node)?.bmc;
    Ok((node, bmc))
}

/// The same for a change, which waits for the work on the node.
async fn idle_bmc(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
) -> Result<(Node, Arc<dyn Bmc>), Failure> {
    let (node, bmc) = bmc(cx, actor, ident, NODES_WRITE).await?;
    at_rest(cx, node.id).await?;
    Ok((node, bmc))
}

/// What a server of this driver can be told to boot from.
pub fn boot_devices(driver: &str) -> &'static [BootDevice] {
    match driver {
        super::driver::IPMI => &[
            BootDevice::Network,
            BootDevice::Disk,
            BootDevice::Cdrom,
            BootDevice::Setup,
        ],
        _ => &[
            BootDevice::Network,
            BootDevice::Disk,
            BootDevice::Cdrom,
            BootDevice::Http,
            BootDevice::Setup,
        ],
    }
}

pub async fn supported_boot_devices(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
) -> Result<&'static [BootDevice], Failure> {
    let (node, _) = bmc(cx, actor, ident, NODES_WRITE).await?;
    Ok(boot_devices(&node.driver))
}

pub async fn boot_device(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Boot, Failure> {
    let (_, bmc) = bmc(cx, actor, ident, NODES_WRITE).await?;
    let answer = bmc.boot().await;
    bmc.close().await;
    Ok(answer.map_err(unanswered)?)
}

pub async fn set_boot_device(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    device: BootDevice,
    lasting: Lasting,
) -> Result<(), Failure> {
    let (node, bmc) = idle_bmc(cx, actor, ident).await?;
    if !boot_devices(&node.driver).contains(&device) {
        return Err(Refusal::invalid(format!(
            "A server with the driver {} cannot be told to boot from {device:?}.",
            node.driver
        ))
        .into());
    }
    let wanted = Boot {
        device,
        lasting,
        mode: None,
    };
    let answer = bmc.set_boot(wanted).await;
    bmc.close().await;
    answer.map_err(unanswered)?;
    Ok(())
}

async fn keep(
    cx: &Context,
    id: corten_model::ids::NodeId,
    change: impl FnOnce(&mut Node),
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    if let Some(mut node) = record::lock::<Node>(&mut tx, id).await? {
        change(&mut node);
        node.standard.updated_at = Some(cx.now());
        record::update(&mut tx, &node).await?;
        tx.commit().await?;
    }
    Ok(())
}

pub async fn set_boot_mode(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    mode: BootMode,
) -> Result<(), Failure> {
    let (node, bmc) = idle_bmc(cx, actor, ident).await?;
    let answer = bmc.set_boot_mode(mode).await;
    bmc.close().await;
    answer.map_err(unanswered)?;
    let word = match mode {
        BootMode::Uefi => "uefi",
        BootMode::Legacy => "bios",
    };
    keep(cx, node.id, |node| node.boot_mode = Some(word.to_owned())).await
}

pub async fn set_secure_boot(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    enabled: bool,
) -> Result<(), Failure> {
    let (node, bmc) = idle_bmc(cx, actor, ident).await?;
    let answer = bmc.set_secure_boot(enabled).await;
    bmc.close().await;
    answer.map_err(unanswered)?;
    keep(cx, node.id, |node| node.secure_boot = Some(enabled)).await
}

pub async fn indicator(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Indicator, Failure> {
    let (_, bmc) = bmc(cx, actor, ident, NODES_READ).await?;
    let answer = bmc.indicator().await;
    bmc.close().await;
    Ok(answer.map_err(unanswered)?)
}

pub async fn set_indicator(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    indicator: Indicator,
) -> Result<(), Failure> {
    let (_, bmc) = bmc(cx, actor, ident, NODES_WRITE).await?;
    let answer = bmc.set_indicator(indicator).await;
    bmc.close().await;
    Ok(answer.map_err(unanswered)?)
}

pub async fn inject_nmi(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let (_, bmc) = idle_bmc(cx, actor, ident).await?;
    let answer = bmc.set_power(PowerAction::Nmi).await;
    bmc.close().await;
    Ok(answer.map_err(unanswered)?)
}

pub async fn attach_media(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    kind: MediaKind,
    media: &Media,
) -> Result<(), Failure> {
    let (_, bmc) = idle_bmc(cx, actor, ident).await?;
    let answer = bmc.insert_media(kind, media).await;
    bmc.close().await;
    answer.map_err(unanswered)?;
    Ok(())
}

/// Empties the slots of these kinds.
pub async fn detach_media(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    kinds: &[MediaKind],
) -> Result<(), Failure> {
    let (_, bmc) = idle_bmc(cx, actor, ident).await?;
    for kind in kinds {
        let answer = bmc.eject_media(*kind).await;
        if let Err(error) = answer {
            bmc.close().await;
            return Err(unanswered(error).into());
        }
    }
    bmc.close().await;
    Ok(())
}

/// Turns the console on or off: whether what the server prints is kept while no instance is on it.
pub async fn set_console(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    enabled: bool,
) -> Result<(), Failure> {
    let node = access::node(cx, actor, &mut cx.store.read().await?, ident, NODES_WRITE).await?;
    has_console(&node)?;
    at_rest(cx, node.id).await?;
    keep(cx, node.id, |node| node.console_enabled = enabled).await
}

/// Whether a console is on, for who may see it.
pub async fn console(cx: &Context, actor: &Actor, ident: &Ident) -> Result<bool, Failure> {
    let node = access::node(cx, actor, &mut cx.store.read().await?, ident, NODES_WRITE).await?;
    has_console(&node)?;
    Ok(node.console_enabled)
}

fn has_console(node: &Node) -> Result<(), Refusal> {
    if node.driver_part("console") != "no-console" {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "The driver {} of node {} does not support console (disabled or not implemented).",
        node.driver, node.id
    )))
}

/// What RAID a node shall have. It is built by the step `raid.create_configuration`.
pub async fn set_raid(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    target: corten_store::metal::Object,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut node = access::lock_node(cx, actor, &mut tx, ident, NODES_WRITE).await?;
    if node.driver_part("raid") == "no-raid" {
        return Err(Refusal::invalid(format!(
            "The driver {} of node {} does not support raid (disabled or not implemented).",
            node.driver, node.id
        ))
        .into());
    }
    check_raid(&target)?;
    node.target_raid_config = target;
    node.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &node).await?;
    tx.commit().await?;
    Ok(())
}

/// What a logical disk is made of, with what each word means.
pub const LOGICAL_DISK: &[(&str, &str)] = &[
    (
        "size_gb",
        "Its size in GiB, or MAX for all that is left. Required.",
    ),
    (
        "raid_level",
        "JBOD, 0, 1, 2, 5, 6, 1+0, 5+0 or 6+0. Required.",
    ),
    ("disk_type", "hdd or ssd. Optional."),
    ("interface_type", "sata, scsi, sas or nvme. Optional."),
    ("volume_name", "Its name. Optional."),
    (
        "is_root_volume",
        "true for the one that is booted from; at most one. Optional.",
    ),
    (
        "share_physical_disks",
        "Whether it may share disks with others. Optional.",
    ),
    (
        "number_of_physical_disks",
        "How many disks it takes. Optional.",
    ),
    ("controller", "The controller by its name. Optional."),
    ("physical_disks", "The disks by their names. Optional."),
];

const RAID_LEVELS: &[&str] = &["JBOD", "0", "1", "2", "5", "6", "1+0", "5+0", "6+0"];

fn check_raid(target: &corten_store::metal::Object) -> Result<(), Refusal> {
    let refuse = |why: String| {
        Err(Refusal::invalid(format!(
            "RAID config validation error: {why}"
        )))
    };
    for key in target.keys() {
        if key != "logical_disks" {
            return refuse(format!("'{key}' is not known, only logical_disks is."));
        }
    }
    let Some(disks) = target.get("logical_disks") else {
        return Ok(());
    };
    let Some(disks) = disks.as_array().filter(|disks| !disks.is_empty()) else {
        return refuse("logical_disks is no list, or an empty one.".to_owned());
    };
    for disk in disks {
        let Some(disk) = disk.as_object() else {
            return refuse(format!("{disk} is no logical disk."));
        };
        if let Some(unknown) = disk
            .keys()
            .find(|key| !LOGICAL_DISK.iter().any(|(known, _)| known == key))
        {
            return refuse(format!("'{unknown}' of a logical disk is not known."));
        }
        let level = disk.get("raid_level").and_then(|level| level.as_str());
        if !level.is_some_and(|level| RAID_LEVELS.contains(&level)) {
            return refuse(format!("raid_level is one of {}.", RAID_LEVELS.join(", ")));
        }
        let sized = disk
            .get("size_gb")
            .is_some_and(|size| size.as_u64().is_some_and(|size| size > 0) || size == "MAX");
        if !sized {
            return refuse("size_gb is a whole number above 0, or MAX.".to_owned());
        }
    }
    Ok(())
}
