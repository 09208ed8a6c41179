//! Taking a network card away from a guest: at the host, then its row and its port.
//!
//! ```text
//!  Unplug (at the host) ──▶ done
//!     └──────────────────▶ failed: the guest did not let go of the card, and keeps it
//! ```

use crate::context::Context;
use crate::instance::interface::SETTLED;
use crate::instance::{ports, work};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, StepTx, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId, PortId};
use corten_store::instances;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct DetachInterface(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    pub port_id: PortId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Unplug { host: HostId },
}

#[async_trait]
impl Workflow for DetachInterface {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "detach_interface"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(120)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let Step::Unplug { host } = step;
        let tx = unplug(&self.0, cx, host, input.instance_id, input.port_id).await?;
        tx.done().await
    }

    async fn give_up(&self, why: GiveUp, _: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        tx.wake(SETTLED);
        tx.failed(&why.to_string()).await
    }
}

/// Has the host take a card away, and begins the transaction in which its row and its port go.
pub async fn unplug<'a>(
    context: &Arc<Context>,
    cx: &'a StepCx,
    host: HostId,
    id: InstanceId,
    port: PortId,
) -> Result<StepTx<'a>, StepError> {
    work::perform(context, cx, host, Task::DetachNic { id, port }).await?;
    forget(context, cx, id, port).await
}

/// Begins the transaction in which a card goes: its row and its port.
pub async fn forget<'a>(
    context: &Arc<Context>,
    cx: &'a StepCx,
    id: InstanceId,
    port: PortId,
) -> Result<StepTx<'a>, StepError> {
    let mut tx = cx.commit().await?;
    let mut instance = work::lock(&mut tx, id).await?;
    let nics = &mut instance.intent.nics;
    if let Some(at) = nics.iter().position(|nic| nic.port_id == port) {
        let nic = nics.remove(at);
        ports::release_one(&mut tx, context, &instance, &nic, &cx.origin()).await?;
        instances::update(&mut tx, &mut instance, cx.now()).await?;
    }
    tx.wake(SETTLED);
    Ok(tx)
}
