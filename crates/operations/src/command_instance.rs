//! The commands that are one task for the host: start, stop, soft and hard reboot, pause, unpause, suspend, resume,
//! unrescue, restore.
//!
//! ```text
//!  Approach ──▶ Act ──▶ done (the state that the life cycle says)
//!                └────▶ failed (the state that follows a failure, with the power as the host sees it)
//! ```

use crate::context::Context;
use crate::instance::{ports, work};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::{Command, Outcome, RootDisk, path};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// One of the commands in [`CommandInstance::COMMANDS`].
pub struct CommandInstance {
    pub cx: Arc<Context>,
    pub command: Command,
}

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The states between acceptance and the act are passed.
    Approach,
    /// The host does it.
    Act,
}

impl CommandInstance {
    pub const COMMANDS: [Command; 10] = [
        Command::Start,
        Command::Stop,
        Command::SoftReboot,
        Command::HardReboot,
        Command::Pause,
        Command::Unpause,
        Command::Suspend,
        Command::Resume,
        Command::Unrescue,
        Command::Restore,
    ];

    fn task(&self, id: InstanceId) -> Result<Task, StepError> {
        let graceful_secs = Some(self.cx.settings.compute.shutdown_timeout_secs);
        Ok(match self.command {
            Command::Start | Command::Restore => Task::Start { id },
            Command::Stop => Task::Stop { id, graceful_secs },
            Command::SoftReboot => Task::Reboot { id, graceful_secs },
            Command::HardReboot => Task::Reboot {
                id,
                graceful_secs: None,
            },
            Command::Pause => Task::Pause { id },
            Command::Unpause => Task::Unpause { id },
            Command::Suspend => Task::Suspend { id },
            Command::Resume => Task::Resume { id },
            Command::Unrescue => Task::Unrescue { id },
            other => {
                return Err(StepError::Fail(format!(
                    "'{other}' is not one task for a host."
                )));
            }
        })
    }
}

#[async_trait]
impl Workflow for CommandInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        match self.command {
            Command::Start => "start_instance",
            Command::Stop => "stop_instance",
            Command::SoftReboot => "soft_reboot_instance",
            Command::HardReboot => "hard_reboot_instance",
            Command::Pause => "pause_instance",
            Command::Unpause => "unpause_instance",
            Command::Suspend => "suspend_instance",
            Command::Resume => "resume_instance",
            Command::Unrescue => "unrescue_instance",
            Command::Restore => "restore_instance",
            _ => "unknown_command",
        }
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Approach => Duration::from_secs(60),
            Step::Act => Duration::from_secs(120) + 2 * self.cx.settings.compute.shutdown_timeout(),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Approach => {
                let mut tx = cx.commit().await?;
                let mut instance = work::lock(&mut tx, input.instance_id).await?;
                let host = work::host_of(&instance)?;
                // The first task was set when the command was accepted.
                for task in path(self.command, instance.state.vm, RootDisk::Local)
                    .iter()
                    .skip(1)
                {
                    work::enter(&mut tx, cx, &mut instance, *task).await?;
                }
                tx.next(work::at(host), Step::Act).await
            }
            Step::Act => {
                let instance = work::read(cx, input.instance_id).await?;
                let host = work::host_of(&instance)?;
                work::perform(&self.cx, cx, host, self.task(input.instance_id)?).await?;
                let mut tx = cx.commit().await?;
                let mut instance = work::lock(&mut tx, input.instance_id).await?;
                if self.command == Command::Stop {
                    ports::release_public(&mut tx, &self.cx, &instance, &cx.origin()).await?;
                }
                work::succeed(&mut tx, cx, &mut instance, self.command).await?;
                tx.done().await
            }
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let seen = work::look(&self.cx, &work::read(cx, input.instance_id).await?).await;
        let cause = why.to_string();
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        instance.state = work::with_power(instance.state, seen);
        work::fail(
            &mut tx,
            cx,
            &mut instance,
            self.command,
            Outcome::Failed,
            &cause,
        )
        .await?;
        tx.given_up(&why).await
    }
}
