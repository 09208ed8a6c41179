//! Deleting an instance that is a whole server: the server is switched off and given back, to be wiped; then the row goes.
//!
//! ```text
//!  GiveBack, until the server is off ──▶ done (Deleted)
//!       └── after half an hour: the tenant is let go all the same, and a person must look at the server (K57)
//! ```
//!
//! Firmware that is being installed must not be cut off: while it holds the server the time does not run.

use super::create::LOOK;
use super::node::{self, Return};
use crate::context::Context;
use crate::instance::work;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, StepTx, Workflow};
use corten_model::ids::InstanceId;
use corten_model::lifecycle::Command;
use corten_model::time::Timestamp;
use corten_store::instances::Instance;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// As long as the life cycle lets `Deleting` last.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// What the node of an instance that is let go is told of it.
const WAS_DELETED: &str = "was deleted";

pub struct DeleteMetalInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    GiveBack,
    /// The same, after firmware held the server until then, as far as is known.
    WasHeld {
        until: Timestamp,
    },
}

#[async_trait]
impl Workflow for DeleteMetalInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "delete_metal_instance"
    }

    fn budget(&self, _step: &Step) -> Duration {
        LIMIT
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let begun = cx.operation().created_at;
        let counts_from = match step {
            Step::GiveBack => begun,
            Step::WasHeld { until } => begun.max(until),
        };
        let time_is_up = cx.now().since(counts_from) >= LIMIT;
        let mut tx = cx.commit().await?;
        let instance = work::lock(&mut tx, input.instance_id).await?;
        let look = cx.now().plus(LOOK);
        match node::give_back(&mut tx, &self.0, cx, instance.id, time_is_up).await? {
            Return::Held(note) => {
                let step = Step::WasHeld { until: cx.now() };
                tx.wait(look, Place::Control, step, note).await
            }
            Return::Waits(_) if time_is_up => {
                node::abandon(&mut tx, cx, instance.id, WAS_DELETED).await?;
                finish(tx, cx, instance).await
            }
            Return::Waits(note) => tx.wait(look, Place::Control, step, note).await,
            Return::Done => finish(tx, cx, instance).await,
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        tracing::warn!(instance = %input.instance_id, %why, "a server could not be given back");
        let mut tx = cx.commit().await?;
        let instance = work::lock(&mut tx, input.instance_id).await?;
        node::abandon(&mut tx, cx, instance.id, WAS_DELETED).await?;
        finish(tx, cx, instance).await
    }
}

async fn finish(
    mut tx: StepTx<'_>,
    cx: &StepCx,
    mut instance: Instance,
) -> Result<Committed, StepError> {
    work::succeed(&mut tx, cx, &mut instance, Command::Delete).await?;
    tx.done().await
}
