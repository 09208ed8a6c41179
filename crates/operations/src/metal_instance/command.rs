//! Start, stop and hard reboot of an instance that is a whole server: its node's power is changed, by an operation on the node.
//!
//! ```text
//!  Approach ──▶ Act ──▶ Follow the node's operation ──▶ done
//!                └── waits while something works on the node
//! ```
//!
//! So nothing else works on the node meanwhile, the watch knows who switched it, and what may not be switched is refused by the
//! rules of the node (`metal::power_node`).

use super::create::LOOK;
use super::{node, power, ready};
use crate::context::Context;
use crate::instance::work;
use crate::metal::power_node::{self, Change};
use async_trait::async_trait;
use corten_bmc::PowerAction;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::ids::{InstanceId, OperationId};
use corten_model::lifecycle::{Command, Outcome, RootDisk, path};
use corten_model::refusal::Refusal;
use corten_store::metal::node::Node;
use corten_store::operations::{self, Status};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long a command waits for other work on its server to end.
const PATIENCE: Duration = Duration::from_secs(600);

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
    /// The change of the node's power is ordered.
    Act,
    Follow {
        ordered: OperationId,
    },
}

fn fail(refusal: Refusal) -> StepError {
    StepError::Fail(refusal.message)
}

impl CommandMetalInstance {
    pub const COMMANDS: [Command; 3] = [Command::Start, Command::Stop, Command::HardReboot];

    fn change(&self, node: &Node) -> Change {
        match self.command {
            // Asks the operating system, and cuts the power of one that does not listen.
            Command::Stop => Change {
                limit_secs: self.cx.settings.compute.shutdown_timeout_secs.into(),
                cut: true,
                ..Change::hard(PowerAction::SoftOff)
            },
            Command::HardReboot if node.disable_power_off => Change::hard(PowerAction::Reboot),
            Command::HardReboot => Change {
                then: Some(PowerAction::On),
                ..Change::hard(PowerAction::Off)
            },
            _ => Change::hard(PowerAction::On),
        }
    }

    async fn approach(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        // The first task was set when the command was accepted.
        let tasks = path(self.command, instance.state.vm, RootDisk::Local);
        for task in tasks.iter().skip(1) {
            work::enter(&mut tx, cx, &mut instance, *task).await?;
        }
        tx.next(Place::Control, Step::Act).await
    }

    async fn order(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let id = work::lock(&mut tx, input.instance_id).await?.id;
        let node = node::lock(&mut tx, id).await?;
        let mut node = node.ok_or_else(|| fail(ready::without_server(id)))?;
        if let Some(running) = ready::working_on(&mut tx, &node).await? {
            let note = ready::busy(&node, id, self.command, &running, cx.now());
            if cx.now().since(cx.operation().created_at) > PATIENCE {
                return Err(StepError::Fail(note));
            }
            let until = cx.now().plus(LOOK);
            return tx.wait(until, Place::Control, Step::Act, note).await;
        }
        ready::takes(&node, id, self.command, cx.now()).map_err(fail)?;
        let change = self.change(&node);
        power_node::order(&mut tx, &self.cx, &cx.origin(), &mut node, change).await?;
        let ordered = ready::working_on(&mut tx, &node).await?.ok_or_else(|| {
            StepError::Retry(format!("Nothing changes the power of node {}.", node.id))
        })?;
        let note = format!("the power of node {} is being changed", node.id);
        let until = cx.now().plus(LOOK);
        let step = Step::Follow {
            ordered: ordered.id,
        };
        tx.wait(until, Place::Control, step, note).await
    }

    async fn follow(
        &self,
        ordered: OperationId,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        let operation = operations::get(&mut tx, ordered).await?;
        let Some(operation) = operation else {
            return Err(StepError::Fail(format!(
                "Operation {ordered}, which changed the power of its server, is on record no more."
            )));
        };
        match operation.status {
            Status::Done => {
                work::succeed(&mut tx, cx, &mut instance, self.command).await?;
                tx.done().await
            }
            Status::Running | Status::Unwinding => {
                let until = cx.now().plus(LOOK);
                let step = Step::Follow { ordered };
                tx.wait(until, Place::Control, step, operation.note).await
            }
            Status::Failed | Status::Cancelled | Status::Superseded => {
                Err(StepError::Fail(operation.note))
            }
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
        Duration::from_secs(300)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Approach => self.approach(input, cx).await,
            Step::Act => self.order(input, cx).await,
            Step::Follow { ordered } => self.follow(ordered, input, cx).await,
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
        let node = node::find(&mut tx, instance.id).await?;
        let seen = node.and_then(|node| node.power.seen);
        instance.state = work::with_power(instance.state, seen.map(power::power_state));
        let outcome = Outcome::Failed;
        work::fail(&mut tx, cx, &mut instance, self.command, outcome, &cause).await?;
        tx.given_up(&why).await
    }
}
