//! Taking a resize back: the old flavor, and the disks as they were when it was accepted (K25).
//!
//! ```text
//!  Revert (at the host) ──▶ Start ──▶ done (the state before the resize)
//!      └──────────────────────┴─────▶ failed (Error)
//! ```

use crate::context::Context;
use crate::instance::work;
use crate::placement;
use crate::resize_instance::resize_of;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::{Command, Outcome, PowerState};
use corten_store::instances;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct RevertResize(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The power is cut; old shape and disks come back, and the capacity for the new flavor is given back.
    Revert { host: HostId },
    /// The guest is started, if it was Active before the resize.
    Start { host: HostId, was_active: bool },
}

#[async_trait]
impl Workflow for RevertResize {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "revert_resize_instance"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Revert { host } => self.revert(host, input, cx).await,
            Step::Start { host, was_active } => self.start(host, was_active, input, cx).await,
        }
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
        let command = Command::RevertResize;
        work::fail(&mut tx, cx, &mut instance, command, Outcome::Failed, &cause).await?;
        tx.failed(&cause).await
    }
}

impl RevertResize {
    async fn revert(
        &self,
        host: HostId,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let id = input.instance_id;
        work::perform(&self.0, cx, host, Task::RevertShape { id }).await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        let resize = resize_of(&instance)?.clone();
        let was_active = resize.was_active;
        instance.intent.flavor = resize.old_flavor;
        instance.resize = None;
        placement::claim_less(&mut tx, &self.0, &instance, host).await?;
        instances::update(&mut tx, &mut instance, cx.now()).await?;
        tx.next(work::at(host), Step::Start { host, was_active })
            .await
    }

    async fn start(
        &self,
        host: HostId,
        was_active: bool,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let id = input.instance_id;
        if was_active {
            work::perform(&self.0, cx, host, Task::Start { id }).await?;
        }
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        instance.state.power = if was_active {
            PowerState::Running
        } else {
            PowerState::Shutdown
        };
        work::succeed(&mut tx, cx, &mut instance, Command::RevertResize).await?;
        tx.done().await
    }
}
