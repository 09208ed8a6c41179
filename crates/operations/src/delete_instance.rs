//! Deleting an instance: its guest and every trace of it on the host, then its capacity, its ports, the image it may be
//! shelved to, and its row.
//!
//! ```text
//!  PowerOff (at the host) ──▶ Reclaim, after a time ──▶ Destroy (at the host) ──▶ Release ──▶ done (Deleted)
//! ```
//!
//! With `compute.reclaim_instance_interval_secs` a delete begins at `PowerOff`, and until that time is over the instance
//! is Soft_deleted and can be restored. Otherwise, and when forced, it begins at `Destroy`.
//!
//! A host that is away does not keep a tenant's instance: past the budget the instance is detached from the tenant and
//! deleted, and the guest is removed when its host is heard of again ([`crate::watch`], K57).

use crate::context::Context;
use crate::instance::{ports, work};
use crate::shelve_instance::{drop_shelved_image, remove_shelved_file};
use crate::snapshot_instance;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::{Command, TaskState};
use corten_store::hosts;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct DeleteInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The guest is switched off; its disks stay.
    PowerOff {
        host: HostId,
    },
    /// The time to restore it is over.
    Reclaim,
    Destroy {
        host: HostId,
    },
    Release,
}

impl Step {
    /// Where a delete begins: an instance without a host has nothing to destroy.
    pub fn first(command: Command, host: Option<HostId>) -> (Place, Self) {
        match host {
            Some(host) if command == Command::SoftDelete => {
                (work::at(host), Self::PowerOff { host })
            }
            Some(host) => (work::at(host), Self::Destroy { host }),
            None => (Place::Control, Self::Release),
        }
    }
}

#[async_trait]
impl Workflow for DeleteInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "delete_instance"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::PowerOff { .. } | Step::Destroy { .. } => Duration::from_secs(300),
            Step::Reclaim | Step::Release => Duration::from_secs(60),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::PowerOff { host } => self.power_off(host, input, cx).await,
            Step::Reclaim => reclaim(input, cx).await,
            Step::Destroy { host } => {
                work::perform(
                    &self.0,
                    cx,
                    host,
                    Task::DeleteGuest {
                        id: input.instance_id,
                    },
                )
                .await?;
                self.release(input, cx).await
            }
            Step::Release => self.release(input, cx).await,
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        tracing::warn!(instance = %input.instance_id, %why, "the host did not remove the guest; it will when it is back");
        self.release(input, cx).await
    }
}

impl DeleteInstance {
    async fn power_off(
        &self,
        host: HostId,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        work::perform(
            &self.0,
            cx,
            host,
            Task::Stop {
                id: input.instance_id,
                graceful_secs: None,
            },
        )
        .await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        ports::release_public(&mut tx, &self.0, &instance, &cx.origin()).await?;
        work::succeed(&mut tx, cx, &mut instance, Command::SoftDelete).await?;
        let seconds = self.0.settings.compute.reclaim_instance_interval_secs;
        let until = cx.now().plus(Duration::from_secs(seconds));
        tx.wait(
            until,
            Place::Control,
            Step::Reclaim,
            "the instance can be restored until then",
        )
        .await
    }

    async fn release(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        // The host is done with the guest: a capture of it that the delete broke off is not written to any more.
        snapshot_instance::remove_capture(&self.0, input.instance_id).await?;
        remove_shelved_file(&self.0, cx, &work::read(cx, input.instance_id).await?).await?;
        let mut tx = cx.commit().await?;
        hosts::release(&mut tx, input.instance_id, None).await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        ports::release(&mut tx, &self.0, &instance, &cx.origin()).await?;
        let why = "its shelved server was deleted";
        drop_shelved_image(&mut tx, &mut instance, why, &cx.origin(), cx.now()).await?;
        work::succeed(&mut tx, cx, &mut instance, Command::Delete).await?;
        tx.done().await
    }
}

/// From here on there is no way back.
async fn reclaim(input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
    let mut tx = cx.commit().await?;
    let mut instance = work::lock(&mut tx, input.instance_id).await?;
    work::enter(&mut tx, cx, &mut instance, TaskState::Deleting).await?;
    let (place, step) = Step::first(Command::Delete, instance.host_id);
    tx.next(place, step).await
}
