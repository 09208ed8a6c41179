//! Work for the ramdisk: each piece has a mark, so that it is done once, however often it is asked for.

use super::{boots, limits, timeline, visit};
use crate::context::Context;
use crate::metal::{machine, work};
use corten_bmc::{BmcError, Order, Progress, Report, Task};
use corten_engine::{Committed, Place, StepCx, StepError};
use corten_store::metal::node::Node;
use corten_store::metal::order_span::{self, OrderSpan};
use serde::Serialize;
use std::time::Duration;

/// How often is looked how far the ramdisk is; the end of its work makes it call at once.
const LOOK: Duration = Duration::from_secs(15);

/// Why a piece of work is not done.
pub enum Pending {
    /// At work, or busy with another order.
    Running {
        note: String,
        /// What is to be written of how far it is, where that is new.
        span: Option<Box<OrderSpan>>,
    },
    /// The ramdisk is gone: the server must be booted again.
    Lost(String),
    /// The image is at fault, and would be on any server of the kind.
    Unfit(String),
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

/// Gives an order, or looks how far it is. `piece` names it within the operation. One that takes longer than it may fails.
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
    let (note, done) = match work::reach_inside(cx, node)?.work(&order).await {
        Ok(Progress::Done(report)) => {
            limits::ended(cx, at, &order).await?;
            return Ok(Ok(report));
        }
        Ok(Progress::Running { done }) => (format!("the ramdisk is at work: {piece}"), done),
        Err(error @ BmcError::ImageUnfit { .. }) => {
            return Ok(Err(Pending::Unfit(error.to_string())));
        }
        Err(error) if boots(node) && is_lost(cx, at, node, &error) => {
            let why = format!("the ramdisk was lost at its work ({error})");
            return Ok(Err(Pending::Lost(why)));
        }
        Err(error) if boots(node) && is_quiet(&error) => (error.to_string(), None),
        Err(error) => return Err(machine::step_error(error)),
    };
    let span = limits::look(at, node, &order, done).await?;
    Ok(Err(Pending::Running { note, span }))
}

/// It is at work all the same, busy with another order or too busy to answer.
fn is_quiet(error: &BmcError) -> bool {
    matches!(error, BmcError::Busy { .. }) || is_silent(error)
}

fn is_silent(error: &BmcError) -> bool {
    matches!(
        error,
        BmcError::Unreachable { .. } | BmcError::TimedOut { .. }
    )
}

/// It neither answers nor called for too long.
fn is_lost(cx: &Context, at: &StepCx, node: &Node, error: &BmcError) -> bool {
    let seen = node.agent.as_ref().and_then(|agent| agent.seen_at);
    let quiet = seen.map_or(Duration::MAX, |seen| at.now().since(seen));
    let limit = Duration::from_secs(cx.settings.provisioning.lost_after_secs);
    is_silent(error) && quiet > limit
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
        Pending::Running { note, span } => {
            let mut tx = at.commit().await?;
            if let Some(span) = span {
                order_span::keep(&mut tx, &span).await?;
            }
            tx.wait(at.now().plus(LOOK), Place::Control, same, note)
                .await
        }
        Pending::Lost(why) => visit::again(cx, at, node, why, step).await,
        Pending::Unfit(why) => Err(StepError::Fail(why)),
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
