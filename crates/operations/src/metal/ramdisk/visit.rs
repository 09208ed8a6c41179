//! From a server in any condition to one whose ramdisk calls.
//!
//! Verified by effect: what counts is that the ramdisk called home with its one-time token, not that the BMC said yes. A
//! way that does not get there within its time is followed by the next one.

use super::{boot, boots, timeline};
use crate::context::Context;
use crate::metal::{firmware_steps, machine, work};
use corten_bmc::{Bmc, BmcError, Boot, Media, MediaKind, PowerAction, change_power};
use corten_engine::{Committed, Place, StepCx, StepError};
use corten_model::lifecycle::node::NodeEvent;
use corten_model::time::Timestamp;
use corten_store::metal::node::{BootMethod, Node, PowerSeen, RamdiskBoot};
use corten_store::{Failure, Tx};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often is looked whether the ramdisk called; its heartbeat makes that at once.
const LOOK: Duration = Duration::from_secs(30);
/// A boot gets no less, however quick those before were.
const LEAST: Duration = Duration::from_secs(180);
/// Boots of one operation, each by the next way.
const ATTEMPTS: u32 = 3;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Visit {
    /// The server is off, and the BMC will boot it from the right place.
    Off,
    On,
    Await,
}

impl Visit {
    /// Patient enough for a BMC that is silent for minutes.
    pub fn budget(self) -> Duration {
        Duration::from_secs(900)
    }
}

/// Plans the first boot, in the transaction that begins the visit.
pub async fn begin(
    tx: &mut Tx,
    cx: &Context,
    node: &mut Node,
    now: Timestamp,
) -> Result<(), Failure> {
    if !boots(node) {
        return Ok(());
    }
    boot::plan(tx, cx, node, 1, Vec::new(), now).await
}

/// Takes a visit one step further, and goes on with `arrived` once the ramdisk is there. `step` makes the workflow's own step
/// of a visit's.
pub async fn go<S: Serialize>(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    visit: Visit,
    step: impl Fn(Visit) -> S,
    arrived: S,
) -> Result<Committed, StepError> {
    if !boots(node) {
        return at.commit().await?.next(Place::Control, arrived).await;
    }
    let Some(plan) = &node.boot else {
        return Err(StepError::Fail(format!(
            "Node {} has no boot under way.",
            node.id
        )));
    };
    match visit {
        Visit::Off => match prepare(cx, node, plan).await {
            Ok(()) => {
                let next = step(Visit::On);
                at.commit().await?.next(Place::Control, next).await
            }
            Err(error) if error.is_transient() => Err(machine::step_error(error)),
            Err(error) => {
                let why = format!("{} could not be set up: {error}", plan.method.words());
                again(cx, at, node, why, step).await
            }
        },
        Visit::On => {
            work::switch(cx, node, PowerAction::On).await?;
            let mut tx = at.commit().await?;
            let mut node = work::lock(&mut tx, node.id).await?;
            node.power.seen = Some(PowerSeen::On);
            timeline::note(&mut tx, node.id, at.now(), "power on", "by the BMC").await?;
            if node.provision.state.on(NodeEvent::Wait).is_some() {
                let why = "the ramdisk is being booted";
                work::event(&mut tx, at, &mut node, NodeEvent::Wait, why).await?;
            }
            work::save(&mut tx, at, &mut node).await?;
            if is_there(&node) {
                return tx.next(Place::Control, arrived).await;
            }
            let until = at.now().plus(LOOK);
            tx.wait(until, Place::Control, step(Visit::Await), waiting(plan))
                .await
        }
        Visit::Await => arrive(cx, at, node, plan, step, arrived).await,
    }
}

fn waiting(plan: &RamdiskBoot) -> String {
    format!(
        "waits for the ramdisk to call, booted by {}",
        plan.method.words()
    )
}

/// Waits for the ramdisk, for as long as one boot may take.
async fn arrive<S: Serialize>(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    plan: &RamdiskBoot,
    step: impl Fn(Visit) -> S,
    arrived: S,
) -> Result<Committed, StepError> {
    if is_there(node) {
        return at.commit().await?.next(Place::Control, arrived).await;
    }
    let most = Duration::from_secs(cx.settings.provisioning.boot_limit_secs);
    let usual = timeline::budget(&mut at.read().await?, node.id).await?;
    let flashing = firmware_steps::in_flight(node);
    let limit = match (flashing, usual) {
        // What is installed while the server starts takes its time, and is not cut off.
        (Some(_), _) => firmware_steps::LIMIT,
        (None, Some(usual)) => usual.max(LEAST).min(most),
        (None, None) => most,
    };
    if at.now().since(plan.since) > limit {
        if let Some(flash) = flashing {
            return Err(StepError::Fail(format!(
                "The server was started for the firmware of '{}', and the ramdisk did not call within {} s. It was not switched \
                 off, for the firmware may be at it still: look at its console.",
                flash.component,
                limit.as_secs()
            )));
        }
        let rogues = timeline::rogues(&mut at.read().await?, node.id, plan.since).await?;
        let why = format!(
            "booted by {}, the ramdisk did not call within {} s{rogues}",
            plan.method.words(),
            limit.as_secs()
        );
        return again(cx, at, node, why, step).await;
    }
    let tx = at.commit().await?;
    tx.wait(
        at.now().plus(LOOK),
        Place::Control,
        step(Visit::Await),
        waiting(plan),
    )
    .await
}

fn is_there(node: &Node) -> bool {
    node.agent.as_ref().is_some_and(|agent| agent.url.is_some())
}

/// Boots the server anew by the next way, or ends with the story of all tries.
pub async fn again<S: Serialize>(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    why: String,
    step: impl Fn(Visit) -> S,
) -> Result<Committed, StepError> {
    let (attempt, mut story) = match &node.boot {
        Some(boot) => (boot.attempt, boot.story.clone()),
        None => (0, Vec::new()),
    };
    story.push(why.clone());
    if attempt >= ATTEMPTS {
        return Err(StepError::Fail(format!(
            "The ramdisk could not be brought to work on node {}: {}. Look at its boot timeline and its console.",
            node.id,
            story.join("; then ")
        )));
    }
    let mut tx = at.commit().await?;
    let mut node = work::lock(&mut tx, node.id).await?;
    timeline::note(&mut tx, node.id, at.now(), "boot failed", why).await?;
    resume(&mut tx, at, &mut node, "the server is booted anew").await?;
    boot::plan(&mut tx, cx, &mut node, attempt + 1, story, at.now()).await?;
    work::save(&mut tx, at, &mut node).await?;
    tx.next(Place::Control, step(Visit::Off)).await
}

/// The next move is the control plane's again.
pub async fn resume(tx: &mut Tx, at: &StepCx, node: &mut Node, why: &str) -> Result<(), StepError> {
    if node.provision.state.on(NodeEvent::Resume).is_some() {
        work::event(tx, at, node, NodeEvent::Resume, why).await?;
    }
    Ok(())
}

/// The server is off, and its BMC will boot it from where the plan says.
async fn prepare(cx: &Context, node: &Node, plan: &RamdiskBoot) -> Result<(), BmcError> {
    let bmc = match machine::open(cx, node) {
        Ok(machine) => machine.bmc,
        Err(refusal) => return Err(invalid(refusal.message)),
    };
    let done = set_up(cx, node, plan, bmc.as_ref()).await;
    bmc.close().await;
    done
}

fn invalid(value: String) -> BmcError {
    BmcError::Invalid {
        rule: "the node's server can be reached",
        value,
        fix: "correct the node's driver_info".to_owned(),
    }
}

async fn set_up(
    cx: &Context,
    node: &Node,
    plan: &RamdiskBoot,
    bmc: &dyn Bmc,
) -> Result<(), BmcError> {
    change_power(bmc, PowerAction::Off, work::POWER_LIMIT).await?;
    if plan.method == BootMethod::VirtualMedia {
        let url = boot::media_url(cx, node).map_err(|refusal| invalid(refusal.message))?;
        let image = url.and_then(|url| url.parse().ok());
        let image = image.ok_or_else(|| invalid("no image to boot from".to_owned()))?;
        bmc.insert_media(MediaKind::Cdrom, &Media::new(image))
            .await?;
    } else {
        eject(bmc).await?;
    }
    let once = Boot::once(boot::device(plan.method));
    bmc.set_boot(machine::in_its_mode(node, once)).await?;
    Ok(())
}

/// Takes the image out of the drive, where there is a drive.
pub async fn eject(bmc: &dyn Bmc) -> Result<(), BmcError> {
    match bmc.eject_media(MediaKind::Cdrom).await {
        Err(BmcError::Lacks { .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}
