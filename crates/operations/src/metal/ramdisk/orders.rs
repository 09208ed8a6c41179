//! Work for the ramdisk: each piece has a mark, so that it is done once, however often it is asked for.

use super::{boots, timeline, visit};
use crate::context::Context;
use crate::metal::{machine, work};
use corten_bmc::{BmcError, Order, Progress, Report, Task};
use corten_engine::{Committed, Place, StepCx, StepError};
use corten_store::metal::node::Node;
use serde::Serialize;
use std::time::Duration;

/// How often is looked how far the ramdisk is; the end of its work makes it call at once.
const LOOK: Duration = Duration::from_secs(15);

/// Why a piece of work is not done.
pub enum Pending {
    /// At work, or busy with another order.
    Running(String),
    /// The ramdisk is gone: the server must be booted again.
    Lost(String),
    /// What the BMC was told at the node's first step holds from the next boot on.
    Boot(String),
    /// The BMC is at work, and how far it is is written into the node's row.
    Wrote {
        pause: Duration,
        note: String,
        /// A sign for the timeline: what, and the detail.
        sign: Option<(&'static str, String)>,
        change: Box<dyn FnOnce(&mut Node) + Send>,
    },
}

/// Gives an order, or looks how far it is. `piece` names it within the operation.
pub async fn give(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    piece: &str,
    task: Task,
) -> Result<Result<Report, Pending>, StepError> {
    let order = Order {
        mark: format!("{}/{piece}", at.operation().id),
        epoch: at.fence().epoch,
        task,
    };
    match work::reach_inside(cx, node)?.work(&order).await {
        Ok(Progress::Done(report)) => Ok(Ok(report)),
        Ok(Progress::Running) => Ok(Err(Pending::Running(format!(
            "the ramdisk is at work: {piece}"
        )))),
        Err(error) if boots(node) => silent(cx, at, node, error).map(Err),
        Err(error) => Err(machine::step_error(error)),
    }
}

/// What it means that a ramdisk did not do as it was told.
fn silent(cx: &Context, at: &StepCx, node: &Node, error: BmcError) -> Result<Pending, StepError> {
    match error {
        BmcError::Busy { .. } => Ok(Pending::Running(error.to_string())),
        BmcError::Unreachable { .. } | BmcError::TimedOut { .. } => {
            let seen = node.agent.as_ref().and_then(|agent| agent.seen_at);
            let quiet = seen.map_or(Duration::MAX, |seen| at.now().since(seen));
            let limit = Duration::from_secs(cx.settings.provisioning.lost_after_secs);
            Ok(if quiet > limit {
                Pending::Lost(format!("the ramdisk was lost at its work ({error})"))
            } else {
                Pending::Running(error.to_string())
            })
        }
        error => Err(machine::step_error(error)),
    }
}

/// What follows while an order is not done: a pause in the same step, or a new boot.
pub async fn pend<S: Serialize>(
    cx: &Context,
    at: &StepCx,
    node: &Node,
    pending: Pending,
    same: S,
    step: impl Fn(visit::Visit) -> S,
) -> Result<Committed, StepError> {
    match pending {
        Pending::Running(note) => {
            let tx = at.commit().await?;
            tx.wait(at.now().plus(LOOK), Place::Control, same, note)
                .await
        }
        Pending::Lost(why) => visit::again(cx, at, node, why, step).await,
        Pending::Wrote {
            pause,
            note,
            sign,
            change,
        } => {
            let mut tx = at.commit().await?;
            let mut node = work::lock(&mut tx, node.id).await?;
            change(&mut node);
            if let Some((event, detail)) = sign {
                timeline::note(&mut tx, node.id, at.now(), event, detail).await?;
            }
            work::save(&mut tx, at, &mut node).await?;
            if pause.is_zero() {
                return tx.next(Place::Control, same).await;
            }
            tx.wait(at.now().plus(pause), Place::Control, same, note)
                .await
        }
        Pending::Boot(why) => {
            let mut tx = at.commit().await?;
            let mut node = work::lock(&mut tx, node.id).await?;
            if let Some(step) = node.steps.first_mut() {
                step.booted = true;
            }
            visit::resume(&mut tx, at, &mut node, &why).await?;
            visit::begin(&mut tx, cx, &mut node, at.now()).await?;
            work::save(&mut tx, at, &mut node).await?;
            tx.next(Place::Control, step(visit::Visit::Off)).await
        }
    }
}
