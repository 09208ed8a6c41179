//! Deleting an instance: its guest and every trace of it on the host, then its capacity and its row.
//!
//! ```text
//!  Destroy (at the host) ──▶ Release ──▶ done (Deleted)
//! ```
//!
//! A host that is away does not keep a tenant's instance: past the budget the instance is detached from the tenant and
//! deleted, and the guest is removed when its host is heard of again ([`crate::watch`], K57).

use crate::context::Context;
use crate::instance::work;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::Command;
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
    Destroy { host: HostId },
    Release,
}

impl Step {
    /// Where a delete begins: an instance without a host has nothing to destroy.
    pub fn first(host: Option<HostId>) -> (Place, Self) {
        match host {
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
            Step::Destroy { .. } => Duration::from_secs(300),
            Step::Release => Duration::from_secs(60),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        if let Step::Destroy { host } = step {
            work::perform(&self.0, cx, host, Task::DeleteGuest { id: input.instance_id }).await?;
        }
        release(input, cx).await
    }

    async fn give_up(&self, why: GiveUp, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        tracing::warn!(instance = %input.instance_id, %why, "the host did not remove the guest; it will when it is back");
        release(input, cx).await
    }
}

async fn release(input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
    let mut tx = cx.commit().await?;
    hosts::release(&mut tx, input.instance_id, None).await?;
    let mut instance = work::lock(&mut tx, input.instance_id).await?;
    work::succeed(&mut tx, cx, &mut instance, Command::Delete).await?;
    tx.done().await
}
