//! Making a resize final, by its owner or by itself when it waited too long (K24, K55).
//!
//! ```text
//!  Merge (at the host) ──▶ done (Active, or Stopped if it is off)
//!           └────────────▶ failed (Error; it still holds what both flavors need)
//! ```

use crate::context::Context;
use crate::instance::work;
use crate::placement;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::{Command, Outcome};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct ConfirmResize(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// What was kept for a revert goes into the guest's disks, while it goes on.
    Merge { host: HostId },
}

#[async_trait]
impl Workflow for ConfirmResize {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "confirm_resize_instance"
    }

    /// All that was ever written to a large disk may have to be copied.
    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(2 * 3600)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let (Step::Merge { host }, id) = (step, input.instance_id);
        work::perform(&self.0, cx, host, Task::ConfirmShape { id }).await?;
        let seen = work::look(&self.0, &work::read(cx, id).await?).await;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        instance.resize = None;
        instance.state = work::with_power(instance.state, seen);
        placement::claim_less(&mut tx, &self.0, &instance, host).await?;
        work::succeed(&mut tx, cx, &mut instance, Command::ConfirmResize).await?;
        tx.done().await
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let seen = work::look(&self.0, &work::read(cx, input.instance_id).await?).await;
        let cause = why.to_string();
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        instance.state = work::with_power(instance.state, seen);
        let command = Command::ConfirmResize;
        work::fail(&mut tx, cx, &mut instance, command, Outcome::Failed, &cause).await?;
        tx.failed(&cause).await
    }
}
