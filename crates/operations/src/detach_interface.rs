//! Taking a network card away from a guest: at the host, then its row and its port, then from its config drive.
//!
//! ```text
//!  Unplug (at the host) ──▶ Describe (at the host) ──▶ done
//!     │                        └────▶ failed: the card is gone, but its config drive still tells of it
//!     └─────────────────────────────▶ failed: the guest did not let go of the card, and keeps it
//! ```

use crate::context::Context;
use crate::instance::interface::SETTLED;
use crate::instance::{ports, spec, work};
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
    Unplug {
        host: HostId,
    },
    /// The config drive is written anew.
    Describe {
        host: HostId,
    },
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
        match step {
            Step::Unplug { host } => {
                let tx = unplug(&self.0, cx, host, input.instance_id, input.port_id).await?;
                tx.next(work::at(host), Step::Describe { host }).await
            }
            Step::Describe { host } => {
                describe(&self.0, cx, host, input.instance_id).await?;
                let mut tx = cx.commit().await?;
                tx.wake(SETTLED);
                tx.done().await
            }
        }
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
    Ok(tx)
}

/// Has the host write the config drive anew, so that the guest is told of the cards that it has when it starts next.
/// The password is not on it any more: it was for the first boot, and is kept nowhere else.
pub async fn describe(
    context: &Context,
    cx: &StepCx,
    host: HostId,
    id: InstanceId,
) -> Result<(), StepError> {
    let (instance, cards) = work::read_with_cards(cx, id).await?;
    if !instance.intent.config_drive {
        return Ok(());
    }
    let config_drive = Some(spec::config_drive(context, &instance, cards, None));
    let task = Task::UpdateConfigDrive { id, config_drive };
    work::perform(context, cx, host, task).await?;
    Ok(())
}
