//! Start, stop and hard reboot of an instance that is a whole server: its BMC switches it.
//!
//! ```text
//!  Approach ──▶ Act ──▶ done
//! ```

use super::node;
use crate::context::Context;
use crate::instance::work;
use crate::metal::work as metal;
use async_trait::async_trait;
use corten_bmc::{PowerAction, change_power};
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::ids::InstanceId;
use corten_model::lifecycle::{Command, Outcome, RootDisk, path};
use corten_store::metal::node::{Node, PowerSeen, SUBJECT};
use corten_store::operations;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct CommandMetalInstance {
    pub cx: Arc<Context>,
    pub command: Command,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The states on the way are passed through.
    Approach,
    Act,
}

impl CommandMetalInstance {
    pub const COMMANDS: [Command; 3] = [Command::Start, Command::Stop, Command::HardReboot];

    async fn act(&self, node: &Node) -> Result<PowerSeen, StepError> {
        match self.command {
            Command::Stop => {
                self.shut_down(node).await?;
                Ok(PowerSeen::Off)
            }
            Command::HardReboot => {
                metal::switch(&self.cx, node, PowerAction::Off).await?;
                metal::switch(&self.cx, node, PowerAction::On).await?;
                Ok(PowerSeen::On)
            }
            _ => {
                metal::switch(&self.cx, node, PowerAction::On).await?;
                Ok(PowerSeen::On)
            }
        }
    }

    /// Asks the operating system, and cuts the power of one that does not listen.
    async fn shut_down(&self, node: &Node) -> Result<(), StepError> {
        let bmc = metal::reach(&self.cx, node)?.bmc;
        let limit = self.cx.settings.compute.shutdown_timeout();
        let asked = change_power(bmc.as_ref(), PowerAction::SoftOff, limit).await;
        bmc.close().await;
        match asked {
            Ok(()) => Ok(()),
            Err(_) => metal::switch(&self.cx, node, PowerAction::Off).await,
        }
    }
}

#[async_trait]
impl Workflow for CommandMetalInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        match self.command {
            Command::Start => "start_metal_instance",
            Command::Stop => "stop_metal_instance",
            Command::HardReboot => "hard_reboot_metal_instance",
            _ => "unknown_metal_command",
        }
    }

    fn budget(&self, _step: &Step) -> Duration {
        Duration::from_secs(300) + 2 * self.cx.settings.compute.shutdown_timeout()
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        if let Step::Approach = step {
            let mut tx = cx.commit().await?;
            let mut instance = work::lock(&mut tx, input.instance_id).await?;
            // The first task was set when the command was accepted.
            let tasks = path(self.command, instance.state.vm, RootDisk::Local);
            for task in tasks.iter().skip(1) {
                work::enter(&mut tx, cx, &mut instance, *task).await?;
            }
            return tx.next(Place::Control, Step::Act).await;
        }
        cx.check_lease().await?;
        let node = {
            let mut tx = cx.read().await?;
            let found = node::find(&mut tx, input.instance_id).await?;
            let node = found.ok_or_else(|| {
                StepError::Fail(format!("Instance {} has no server.", input.instance_id))
            })?;
            let id = node.id.to_string();
            if let Some(running) = operations::running_on(&mut tx, SUBJECT, &id).await? {
                return Err(StepError::Retry(format!(
                    "Its node {id} is worked on by operation {} ({}).",
                    running.id, running.kind
                )));
            }
            node
        };
        let power = self.act(&node).await?;
        let mut tx = cx.commit().await?;
        let mut node = metal::lock(&mut tx, node.id).await?;
        node.power.seen = Some(power);
        metal::save(&mut tx, cx, &mut node).await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        work::succeed(&mut tx, cx, &mut instance, self.command).await?;
        tx.done().await
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
        let outcome = Outcome::Failed;
        work::fail(&mut tx, cx, &mut instance, self.command, outcome, &cause).await?;
        tx.given_up(&why).await
    }
}
