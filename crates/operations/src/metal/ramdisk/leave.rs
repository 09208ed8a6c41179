//! From a ramdisk that has done its work to a server that is off and boots from its own disk.

use super::{boot, boots, orders, timeline, visit};
use crate::context::Context;
use crate::metal::{machine, work};
use corten_bmc::{Bmc, BmcError, Boot, BootDevice, PowerAction, Task, change_power};
use corten_engine::{Committed, Place, StepCx, StepError};
use corten_store::Tx;
use corten_store::metal::node::{Node, PowerSeen};
use serde::Serialize;
use std::time::Duration;

/// How long a ramdisk may take to write out what it holds; it did so at the end of each order already.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// Has the server off, its drive empty and its disk as what it boots from.
pub async fn go(cx: &Context, at: &StepCx, node: &Node) -> Result<(), StepError> {
    if !boots(node) {
        return Ok(());
    }
    if node.agent.as_ref().is_some_and(|agent| agent.url.is_some()) {
        let settled = orders::give(cx, at, node, "settle", Task::Settle);
        // Without an answer its last order's own flush must do.
        let _ = tokio::time::timeout(SETTLE_LIMIT, settled).await;
    }
    let bmc = work::reach(cx, node)?.bmc;
    let done = put_away(node, bmc.as_ref()).await;
    bmc.close().await;
    done.map_err(machine::step_error)
}

async fn put_away(node: &Node, bmc: &dyn Bmc) -> Result<(), BmcError> {
    change_power(bmc, PowerAction::Off, work::POWER_LIMIT).await?;
    visit::eject(bmc).await?;
    let disk = Boot::always(BootDevice::Disk);
    bmc.set_boot(machine::in_its_mode(node, disk)).await?;
    Ok(())
}

/// The same, and goes on with this step.
pub async fn then<S: Serialize>(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    next: S,
) -> Result<Committed, StepError> {
    go(cx, at, node).await?;
    let mut tx = at.commit().await?;
    let mut node = work::lock(&mut tx, node.id).await?;
    note(&mut tx, at, &mut node).await?;
    work::save(&mut tx, at, &mut node).await?;
    tx.next(Place::Control, next).await
}

/// Starts the instance's own system, unless its owner had switched the server off before.
pub async fn as_found(cx: &Context, node: &Node) -> Result<PowerSeen, StepError> {
    let (action, power) = if node.found_off {
        (PowerAction::Off, PowerSeen::Off)
    } else {
        (PowerAction::On, PowerSeen::On)
    };
    work::switch(cx, node, action).await?;
    Ok(power)
}

/// Writes that it is so.
pub async fn note(tx: &mut Tx, at: &StepCx, node: &mut Node) -> Result<(), StepError> {
    if boots(node) {
        boot::forget(node);
        node.power.seen = Some(PowerSeen::Off);
        timeline::note(tx, node.id, at.now(), "ramdisk left", "the server is off").await?;
    }
    Ok(())
}
