//! What is asked of a node's BMC at once: boot device, boot mode, secure boot, indicator, virtual media, interrupt.

use super::access::{self, Ident};
use super::machine::{self, unanswered};
use super::{at_rest, console, firmware_steps, seen};
use crate::context::Context;
use corten_bmc::{
    Bmc, BmcError, Boot, BootDevice, BootMode, Indicator, Lasting, LogEntry, Media, MediaKind,
    MediaSlot, PowerAction,
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
    // What happened to it while the call waited counts too.
    let node = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    firmware_steps::check_quiet(&node, cx.now(), "change through its BMC")?;
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
    let wanted = machine::in_its_mode(
        &node,
        Boot {
            device,
            lasting,
            mode: None,
        },
    );
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
    let word = seen::mode_word(mode).to_owned();
    keep(cx, node.id, |node| node.boot_mode = Some(word)).await
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

/// What the BMC wrote down of its server.
pub async fn event_log(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
) -> Result<Vec<LogEntry>, Failure> {
    let (_, bmc) = bmc(cx, actor, ident, NODES_WRITE).await?;
    let answer = bmc.event_log().await;
    bmc.close().await;
    Ok(answer.map_err(unanswered)?)
}

pub async fn clear_event_log(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let (_, bmc) = bmc(cx, actor, ident, NODES_WRITE).await?;
    let answer = bmc.clear_event_log().await;
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

/// The slots for virtual media, with what is in them. The address of the image that a ramdisk boots from holds a secret, and
/// is hidden as long as that is worth something.
pub async fn media(cx: &Context, actor: &Actor, ident: &Ident) -> Result<Vec<MediaSlot>, Failure> {
    let (node, bmc) = bmc(cx, actor, ident, NODES_READ).await?;
    let answer = bmc.media().await;
    bmc.close().await;
    let mut slots = answer.map_err(unanswered)?;
    if node.boot.is_some_and(|boot| boot.media_sha256.is_some()) {
        for slot in &mut slots {
            slot.image = slot.image.take().map(|_| machine::HIDDEN.to_owned());
        }
    }
    Ok(slots)
}

/// Empties the slots of these kinds; `None`: every slot that holds something.
pub async fn detach_media(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    kinds: Option<&[MediaKind]>,
) -> Result<(), Failure> {
    let (_, bmc) = idle_bmc(cx, actor, ident).await?;
    let answer = eject(bmc.as_ref(), kinds).await;
    bmc.close().await;
    Ok(answer.map_err(unanswered)?)
}

async fn eject(bmc: &dyn Bmc, kinds: Option<&[MediaKind]>) -> Result<(), BmcError> {
    let kinds = match kinds {
        Some(kinds) => kinds.to_vec(),
        None => {
            let slots = bmc.media().await?;
            let full = slots.into_iter().filter(|slot| slot.inserted);
            let mut kinds: Vec<MediaKind> = Vec::new();
            // By one of its kinds a slot is emptied.
            for kind in full.filter_map(|slot| slot.kinds.first().copied()) {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            kinds
        }
    };
    for kind in kinds {
        bmc.eject_media(kind).await?;
    }
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
    if enabled {
        console::check(cx, &node)?;
    }
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
