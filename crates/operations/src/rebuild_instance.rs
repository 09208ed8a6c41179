//! Rebuilding an instance: new disks from an image, under the same id, with the key and data of its intent (K49).
//!
//! ```text
//!  Prepare ──▶ MapDisks ──▶ Spawn ──▶ done (Active, or Stopped if it was stopped)
//!                  └───────────┴────▶ failed (Error)
//! ```

use crate::context::Context;
use crate::instance::{spec, work};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::{Command, Outcome, TaskState, VmState};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct RebuildInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    pub admin_pass: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Prepare,
    /// The image is cached; the power is cut and the disks are made anew.
    MapDisks,
    /// The guest is started, unless it was stopped.
    Spawn,
}

#[async_trait]
impl Workflow for RebuildInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "rebuild_instance"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Prepare => Duration::from_secs(60),
            Step::MapDisks => Duration::from_secs(1800),
            Step::Spawn => Duration::from_secs(300),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let instance = work::read(cx, input.instance_id).await?;
        let host = work::host_of(&instance)?;
        let (task, next) = match step {
            Step::Prepare => (TaskState::RebuildBlockDeviceMapping, Step::MapDisks),
            Step::MapDisks => {
                let (_, cards) = work::read_with_cards(cx, instance.id).await?;
                let spec = spec::guest(&self.0, &instance, cards, input.admin_pass.as_deref())
                    .map_err(|refusal| StepError::Fail(refusal.message))?;
                if let Some(image) = &spec.image {
                    work::perform(
                        &self.0,
                        cx,
                        host,
                        Task::EnsureImage {
                            image: image.clone(),
                        },
                    )
                    .await?;
                }
                work::perform(&self.0, cx, host, Task::Rebuild { spec }).await?;
                (TaskState::RebuildSpawning, Step::Spawn)
            }
            Step::Spawn => {
                if instance.state.vm != VmState::Stopped {
                    work::perform(&self.0, cx, host, Task::Start { id: instance.id }).await?;
                }
                return finish(input, cx).await;
            }
        };
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        work::enter(&mut tx, cx, &mut instance, task).await?;
        tx.next(work::at(host), next).await
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
        work::fail(
            &mut tx,
            cx,
            &mut instance,
            Command::Rebuild,
            Outcome::Failed,
            &cause,
        )
        .await?;
        tx.failed(&cause).await
    }
}

async fn finish(input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
    let mut tx = cx.commit().await?;
    let mut instance = work::lock(&mut tx, input.instance_id).await?;
    if instance.state.vm == VmState::Stopped {
        work::enter(&mut tx, cx, &mut instance, TaskState::PoweringOff).await?;
    } else {
        instance.launched_at = Some(cx.now());
    }
    work::succeed(&mut tx, cx, &mut instance, Command::Rebuild).await?;
    tx.done().await
}
