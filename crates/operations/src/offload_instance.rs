//! Giving back the host of an instance that is shelved already: its disk is safe in an image (K2).
//!
//! ```text
//!  Offload (at the host) ──▶ done (Shelved_offloaded)
//!            └─────────────▶ failed (Shelved)
//! ```

use crate::context::Context;
use crate::instance::{ports, work};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::{Command, Outcome, PowerState};
use corten_store::hosts;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct OffloadInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Offload { host: HostId },
}

#[async_trait]
impl Workflow for OffloadInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "shelve_offload_instance"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let (Step::Offload { host }, command) = (step, Command::ShelveOffload);
        give_back(&self.0, cx, host, input.instance_id, command).await
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let command = Command::ShelveOffload;
        keep(&self.0, cx, input.instance_id, command, &why.to_string()).await
    }
}

/// Removes a shelved guest from its host, and with it what the instance holds there.
pub async fn give_back(
    context: &Arc<Context>,
    cx: &StepCx,
    host: HostId,
    id: InstanceId,
    command: Command,
) -> Result<Committed, StepError> {
    work::perform(context, cx, host, Task::DeleteGuest { id }).await?;
    release(context, cx, id, command).await
}

async fn release(
    context: &Arc<Context>,
    cx: &StepCx,
    id: InstanceId,
    command: Command,
) -> Result<Committed, StepError> {
    let mut tx = cx.commit().await?;
    hosts::release(&mut tx, id, None).await?;
    let mut instance = work::lock(&mut tx, id).await?;
    ports::release_public(&mut tx, context, &instance, &cx.origin()).await?;
    ports::leave(&mut tx, context, &instance, &cx.origin()).await?;
    instance.host_id = None;
    instance.host_name = None;
    work::succeed(&mut tx, cx, &mut instance, command).await?;
    tx.done().await
}

/// The host did not let go of the guest, so the instance stays Shelved; unless the guest is gone after all.
pub async fn keep(
    context: &Arc<Context>,
    cx: &StepCx,
    id: InstanceId,
    command: Command,
    cause: &str,
) -> Result<Committed, StepError> {
    let seen = work::look(context, &work::read(cx, id).await?).await;
    if seen == Some(PowerState::NoState) {
        return release(context, cx, id, command).await;
    }
    let mut tx = cx.commit().await?;
    let mut instance = work::lock(&mut tx, id).await?;
    work::fail(&mut tx, cx, &mut instance, command, Outcome::Failed, cause).await?;
    tx.failed(cause).await
}
