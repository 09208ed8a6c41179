//! Giving a guest another network card, at once if it runs, and telling of it on its config drive.
//!
//! ```text
//!  Plug (at the host) ──▶ done
//!     └──▶ Unplug (at the host) ──▶ Describe (at the host) ──▶ failed: the card is gone again, and its port with it
//! ```
//!
//! The card and its port are there, and the port is joined to the host, from the moment of acceptance.

use crate::context::Context;
use crate::detach_interface::{describe, forget, unplug};
use crate::instance::interface::SETTLED;
use crate::instance::{ports, spec, work};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId, PortId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct AttachInterface(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    pub port_id: PortId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Plug {
        host: HostId,
    },
    /// The card is taken away again.
    Unplug {
        host: HostId,
        cause: String,
    },
    /// The config drive is written anew, without the card.
    Describe {
        host: HostId,
        cause: String,
    },
}

#[async_trait]
impl Workflow for AttachInterface {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "attach_interface"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Plug { host } => self.plug(host, input, cx).await,
            Step::Unplug { host, cause } => {
                let tx = unplug(&self.0, cx, host, input.instance_id, input.port_id).await?;
                tx.next(work::at(host), Step::Describe { host, cause })
                    .await
            }
            Step::Describe { host, cause } => {
                describe(&self.0, cx, host, input.instance_id).await?;
                let mut tx = cx.commit().await?;
                tx.wake(SETTLED);
                tx.failed(&cause).await
            }
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let cause = why.to_string();
        let instance = work::read(cx, input.instance_id).await?;
        match instance.host_id {
            Some(host) => {
                let step = Step::Unplug { host, cause };
                cx.commit().await?.next(work::at(host), step).await
            }
            None => {
                let mut tx = forget(&self.0, cx, input.instance_id, input.port_id).await?;
                tx.wake(SETTLED);
                tx.failed(&cause).await
            }
        }
    }
}

impl AttachInterface {
    async fn plug(&self, host: HostId, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let id = input.instance_id;
        let instance = work::read(cx, id).await?;
        let cards = ports::cards(&mut cx.read().await?, &instance).await?;
        let card = cards.iter().find(|card| card.port.id == input.port_id);
        let card = card.ok_or_else(|| {
            StepError::Fail(format!(
                "Port {} is gone, and its card with it.",
                input.port_id
            ))
        })?;
        let nic = spec::nic(card).map_err(|refusal| StepError::Fail(refusal.message))?;
        work::perform(&self.0, cx, host, Task::AttachNic { id, nic }).await?;
        describe(&self.0, cx, host, id).await?;
        let mut tx = cx.commit().await?;
        tx.wake(SETTLED);
        tx.done().await
    }
}
