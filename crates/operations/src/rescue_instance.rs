//! Rescuing an instance: its guest boots from a fresh disk of a rescue image, with its own disks behind it (K134).

use crate::context::Context;
use crate::instance::{spec, work};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::{Command, Outcome};
use corten_store::instances::Image;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct RescueInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    /// The rescue image: the one asked for, else the instance's own.
    pub image: Image,
    pub admin_pass: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The host boots the guest from the rescue disk.
    Boot,
}

#[async_trait]
impl Workflow for RescueInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "rescue_instance"
    }

    fn budget(&self, _: &Step) -> Duration {
        Duration::from_secs(1800)
    }

    async fn run(&self, _: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let (instance, cards) = work::read_with_cards(cx, input.instance_id).await?;
        let host = work::host_of(&instance)?;
        let image = spec::image_ref(&self.0, &input.image)
            .map_err(|refusal| StepError::Fail(refusal.message))?;
        work::perform(
            &self.0,
            cx,
            host,
            Task::EnsureImage {
                image: image.clone(),
            },
        )
        .await?;
        let admin_pass = input.admin_pass.as_deref();
        let config_drive = Some(spec::config_drive(&self.0, &instance, cards, admin_pass));
        work::perform(
            &self.0,
            cx,
            host,
            Task::Rescue {
                id: instance.id,
                image,
                config_drive,
            },
        )
        .await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        work::succeed(&mut tx, cx, &mut instance, Command::Rescue).await?;
        tx.done().await
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
            Command::Rescue,
            Outcome::Failed,
            &cause,
        )
        .await?;
        tx.failed(&cause).await
    }
}
