//! Giving an instance another flavor, on the host it is on (K19–K23).
//!
//! ```text
//!  Prepare ──▶ Reshape (at the host) ──▶ Start ──▶ done (Resized: waits for confirm or revert)
//!     │           └────────────────────────┴─▶ Undo ──▶ failed (Error, the guest as it was)
//!     └────▶ failed (the state before): the host has no room
//! ```
//!
//! Disks are local to their host and hosts have no way to send them to each other, so a resize stays where the instance
//! is. From Prepare until the resize is confirmed or reverted the instance holds what both flavors need: the larger
//! number of processors and amount of memory, as one of the two runs at a time, and the disks of both, because the old
//! ones are kept under the new ones. The server shows its new flavor once it has that shape.
//!
//! What nobody confirms is confirmed by itself (K55): [`crate::instance::reshape::end_overdue`] looks for it each time a
//! host is looked at. An operation that waited for that moment would be in the way of every other on the instance.

use crate::context::Context;
use crate::instance::{spec, work};
use crate::placement;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::{Command, Outcome, TaskState};
use corten_scheduler::Request;
use corten_store::Tx;
use corten_store::hosts::Resources;
use corten_store::instances::{Instance, Resize};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct ResizeInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The host's capacity is claimed for both flavors.
    Prepare,
    /// The guest is powered off and gets its new shape.
    Reshape { host: HostId },
    /// It is started, if it ran.
    Start { host: HostId },
    /// The guest gets its old shape back, and runs if it ran.
    Undo { host: HostId, cause: String },
}

/// How often a guest that was brought back is started before it is left off.
const STARTS_AFTER_UNDO: i64 = 3;

#[async_trait]
impl Workflow for ResizeInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "resize_instance"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Prepare => Duration::from_secs(60),
            Step::Reshape { .. } => {
                Duration::from_secs(600) + self.0.settings.compute.shutdown_timeout()
            }
            Step::Start { .. } | Step::Undo { .. } => Duration::from_secs(300),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Prepare => self.prepare(input, cx).await,
            Step::Reshape { host } => self.reshape(host, input, cx).await,
            Step::Start { host } => self.start(host, input, cx).await,
            Step::Undo { host, cause } => self.undo(host, &cause, input, cx).await,
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let cause = why.to_string();
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        if instance.state.task != Some(TaskState::ResizePrep) {
            let host = work::host_of(&instance)?;
            return tx.next(work::at(host), Step::Undo { host, cause }).await;
        }
        instance.resize = None;
        let command = Command::Resize;
        work::fail(&mut tx, cx, &mut instance, command, Outcome::Failed, &cause).await?;
        tx.given_up(&why).await
    }
}

impl ResizeInstance {
    async fn prepare(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        let host = work::host_of(&instance)?;
        let both = held_by_both(resize_of(&instance)?);
        self.check_room(&mut tx, &instance, both).await?;
        if !placement::claim_more(&mut tx, &self.0, &instance, host, both).await? {
            return Err(StepError::Retry(
                "Another instance claimed the host first.".to_owned(),
            ));
        }
        work::enter(&mut tx, cx, &mut instance, TaskState::ResizeMigrating).await?;
        tx.next(work::at(host), Step::Reshape { host }).await
    }

    /// Fails, with the scheduler's explanation, if the host cannot hold both flavors.
    async fn check_room(
        &self,
        tx: &mut Tx,
        instance: &Instance,
        both: Resources,
    ) -> Result<(), StepError> {
        let more = both.minus(placement::resources(&instance.intent.flavor));
        let amount = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let request = Request {
            vcpus: amount(more.vcpus),
            memory_mib: amount(more.memory_mib),
            disk_gib: amount(more.disk_gib),
            ..Request::default()
        };
        let mut views = placement::inventory(tx, &self.0, instance).await?;
        views.retain(|view| Some(view.id) == instance.host_id);
        match corten_scheduler::choose(&request, &views) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(StepError::Fail(format!(
                "{refusal} A resize stays on the server's own host, because disks cannot move to another yet, and \
                 until it is confirmed it needs room for the disks of both flavors."
            ))),
        }
    }

    async fn reshape(
        &self,
        host: HostId,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let instance = work::read(cx, input.instance_id).await?;
        let task = Task::Reshape {
            id: instance.id,
            shape: spec::shape(&resize_of(&instance)?.new_flavor),
            graceful_secs: Some(self.0.settings.compute.shutdown_timeout_secs),
        };
        work::perform(&self.0, cx, host, task).await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        instance.intent.flavor = resize_of(&instance)?.new_flavor.clone();
        for task in [TaskState::ResizeMigrated, TaskState::ResizeFinish] {
            work::enter(&mut tx, cx, &mut instance, task).await?;
        }
        tx.next(work::at(host), Step::Start { host }).await
    }

    async fn start(
        &self,
        host: HostId,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let instance = work::read(cx, input.instance_id).await?;
        if resize_of(&instance)?.was_active {
            work::perform(&self.0, cx, host, Task::Start { id: instance.id }).await?;
        }
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        if let Some(resize) = &mut instance.resize {
            resize.waits_since = Some(cx.now());
        }
        instance.launched_at = Some(cx.now());
        work::succeed(&mut tx, cx, &mut instance, Command::Resize).await?;
        tx.done().await
    }

    async fn undo(
        &self,
        host: HostId,
        cause: &str,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let id = input.instance_id;
        let resize = resize_of(&work::read(cx, id).await?)?.clone();
        match work::perform(&self.0, cx, host, Task::RevertShape { id }).await {
            // No use in trying again, and the instance ends in Error as it is.
            Err(StepError::Fail(why)) => {
                tracing::error!(instance = %id, why, "a resize cannot be undone")
            }
            other => drop(other?),
        }
        if resize.was_active {
            let started = work::perform(&self.0, cx, host, Task::Start { id }).await;
            if let Err(error) = started
                && cx.operation().attempt + 1 < STARTS_AFTER_UNDO
            {
                return Err(error);
            }
        }
        let seen = work::look(&self.0, &work::read(cx, id).await?).await;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        instance.intent.flavor = resize.old_flavor;
        instance.resize = None;
        instance.state = work::with_power(instance.state, seen);
        placement::claim_less(&mut tx, &self.0, &instance, host).await?;
        let command = Command::Resize;
        work::fail(&mut tx, cx, &mut instance, command, Outcome::Failed, cause).await?;
        tx.failed(cause).await
    }
}

/// The resize that an operation works on.
pub fn resize_of(instance: &Instance) -> Result<&Resize, StepError> {
    instance.resize.as_ref().ok_or_else(|| {
        StepError::Fail(format!("Instance {} has no resize under way.", instance.id))
    })
}

/// What is held while either flavor may be the final one.
fn held_by_both(resize: &Resize) -> Resources {
    let old = placement::resources(&resize.old_flavor);
    let new = placement::resources(&resize.new_flavor);
    Resources {
        vcpus: old.vcpus.max(new.vcpus),
        memory_mib: old.memory_mib.max(new.memory_mib),
        disk_gib: old.disk_gib + new.disk_gib,
    }
}
