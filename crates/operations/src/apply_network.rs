//! Telling the fabric what changed: the one operation that writes to it.
//!
//! ```text
//!  Tell ──▶ done            nothing else waits
//!   │ ▲
//!   └─┘  more changed meanwhile, or the fabric cannot be reached
//! ```
//!
//! What changed stands in rows ([`changes`]) that were written with the changes themselves. A step reads them, makes a
//! plan of each unit, has the fabric hold it and takes the rows away. It can be repeated at any point, and it runs one
//! at a time for the whole cloud, fenced by its epoch.

use crate::context::Context;
use crate::network::{TOLD, plan};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_network::NetworkError;
use corten_network::plan::{Change, Plan};
use corten_store::network::changes::{self, Pending};
use corten_store::{Failure, Tx, operations};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The kind of subject, and the one there is.
pub const SUBJECT: &str = "network";
pub const FABRIC: &str = "fabric";
/// A change row that stands for everything: compare the whole fabric with the rows.
pub const EVERYTHING: &str = "everything";

/// How long hosts are waited for; one that is away does not hold up the rest.
const SETTLE: Duration = Duration::from_secs(1);
/// How soon a fabric that could not be reached is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The same where this process has none: another one may, or this one once it is started anew.
const AGAIN_AWAY: Duration = Duration::from_secs(5);

pub struct ApplyNetwork(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Tell,
}

#[async_trait]
impl Workflow for ApplyNetwork {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "apply_network"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, step: Step, _: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let Step::Tell = step;
        let pending = changes::pending(&mut cx.read().await?).await?;
        let changes = self.changes(&pending, cx).await?;
        match self.tell(changes).await {
            Ok(()) => told(&pending, cx).await,
            Err(error) => wait(&error, cx).await,
        }
    }

    /// There is always something to go back to: what changed stays noted, and the next change starts anew.
    async fn give_up(&self, why: GiveUp, _: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        tx.wake(TOLD);
        tx.failed(&why.to_string()).await
    }
}

impl ApplyNetwork {
    async fn changes(&self, pending: &[Pending], cx: &StepCx) -> Result<Changes, StepError> {
        let Self(context) = self;
        let mut tx = cx.read().await?;
        if pending.iter().any(|change| change.unit == EVERYTHING) {
            return Ok(Changes::Everything(plan::all(&mut tx, context).await?));
        }
        let mut changes = Vec::new();
        for unit in pending.iter().filter_map(|change| change.unit.parse().ok()) {
            changes.push(plan::change(&mut tx, context, unit).await?);
        }
        Ok(Changes::Some(changes))
    }

    async fn tell(&self, changes: Changes) -> Result<(), NetworkError> {
        let fabric = &self.0.fabric;
        match changes {
            Changes::Some(changes) if changes.is_empty() => return Ok(()),
            Changes::Some(changes) => fabric.apply(changes).await?,
            Changes::Everything(all) => {
                let repair = fabric.reconcile(all).await?;
                if !repair.is_empty() {
                    tracing::warn!(?repair, "the fabric was not as planned, and was put right");
                }
            }
        }
        if !fabric.settle(SETTLE).await? {
            tracing::warn!("a host has not taken the last change of networks yet");
        }
        Ok(())
    }
}

/// What there is to tell.
enum Changes {
    Some(Vec<Change>),
    Everything(Vec<Plan>),
}

async fn told(pending: &[Pending], cx: &StepCx) -> Result<Committed, StepError> {
    let mut tx = cx.commit().await?;
    let is_all = changes::told(&mut tx, pending).await?;
    tx.wake(TOLD);
    if is_all {
        tx.done().await
    } else {
        tx.next(Place::Control, Step::Tell).await
    }
}

/// Everything stays noted; the note says to people what is waited for.
async fn wait(error: &NetworkError, cx: &StepCx) -> Result<Committed, StepError> {
    let cause = crate::error_text(error);
    tracing::warn!(cause, "the fabric was not told what changed; trying again");
    let again = match error {
        NetworkError::Away { .. } => AGAIN_AWAY,
        _ => AGAIN,
    };
    let mut tx = cx.commit().await?;
    tx.wake(TOLD);
    tx.wait(cx.now().plus(again), Place::Control, Step::Tell, cause)
        .await
}

/// The operation runs, and waits for the fabric to be reached.
pub async fn is_stuck(tx: &mut Tx) -> Result<bool, Failure> {
    let running = operations::running_on(tx, SUBJECT, FABRIC).await?;
    Ok(running.is_none_or(|operation| !operation.note.is_empty()))
}
