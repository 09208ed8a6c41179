//! Ending an instance and giving its host back, so that it can come back one day (K2, K15).
//!
//! ```text
//!  PowerOff ──▶ Capture ──▶ Upload ──▶ Offload ──▶ done (Shelved_offloaded)
//!     └────────────┴──────────┘          └───▶ failed: Shelved, and offloaded later by itself
//!                  └──▶ failed: the state before, powered off; the image is removed
//! ```
//!
//! The root disk becomes an image called `<name>-shelved`, which the instance remembers until it is back or deleted. It
//! is there, queued, from the moment of acceptance, as the image of any capture ([`crate::snapshot_instance`]).

use crate::context::Context;
use crate::image::{self, files};
use crate::instance::{ports, work};
use crate::offload_instance::{give_back, keep};
use crate::snapshot_instance::{self, FORMAT, capture_file, remove_capture};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, ImageId, InstanceId};
use corten_model::lifecycle::{Command, Outcome, TaskState, VmState};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::images;
use corten_store::instances::Instance;
use corten_store::{Error, Tx};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct ShelveInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    pub image_id: ImageId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    PowerOff {
        host: HostId,
    },
    /// The host writes the flattened root disk to a file.
    Capture {
        host: HostId,
    },
    /// The file becomes the image.
    Upload {
        host: HostId,
    },
    /// The guest and its capacity are given back.
    Offload {
        host: HostId,
    },
}

#[async_trait]
impl Workflow for ShelveInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "shelve_instance"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::PowerOff { .. } => {
                Duration::from_secs(60) + 2 * self.0.settings.compute.shutdown_timeout()
            }
            // A large disk is read, written and hashed.
            Step::Capture { .. } | Step::Upload { .. } => Duration::from_secs(2 * 3600),
            Step::Offload { .. } => Duration::from_secs(300),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::PowerOff { host } => self.power_off(host, input, cx).await,
            Step::Capture { host } => self.capture(host, input, cx).await,
            Step::Upload { host } => self.upload(host, input, cx).await,
            Step::Offload { host } => {
                give_back(&self.0, cx, host, input.instance_id, Command::Shelve).await
            }
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let (id, cause) = (input.instance_id, why.to_string());
        remove_capture(&self.0, id).await?;
        let instance = work::read(cx, id).await?;
        if instance.state.vm == VmState::Shelved {
            return keep(&self.0, cx, id, Command::Shelve, &cause).await;
        }
        let seen = work::look(&self.0, &instance).await;
        remove_shelved_file(&self.0, cx, &instance).await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        instance.state = work::with_power(instance.state, seen);
        drop_shelved_image(&mut tx, &mut instance, &cause, &cx.origin(), cx.now()).await?;
        let command = Command::Shelve;
        work::fail(&mut tx, cx, &mut instance, command, Outcome::Failed, &cause).await?;
        tx.given_up(&why).await
    }
}

impl ShelveInstance {
    async fn power_off(
        &self,
        host: HostId,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let id = input.instance_id;
        // A suspended guest is off, and goes on from its memory if the shelve fails.
        if work::read(cx, id).await?.state.vm != VmState::Suspended {
            let graceful_secs = Some(self.0.settings.compute.shutdown_timeout_secs);
            work::perform(&self.0, cx, host, Task::Stop { id, graceful_secs }).await?;
        }
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        ports::release_public(&mut tx, &self.0, &instance, &cx.origin()).await?;
        let task = TaskState::ShelvingImagePendingUpload;
        work::enter(&mut tx, cx, &mut instance, task).await?;
        tx.next(work::at(host), Step::Capture { host }).await
    }

    async fn capture(
        &self,
        host: HostId,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let id = input.instance_id;
        let target = capture_file(&self.0, id);
        let format = FORMAT;
        work::perform(&self.0, cx, host, Task::Snapshot { id, target, format }).await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        work::enter(
            &mut tx,
            cx,
            &mut instance,
            TaskState::ShelvingImageUploading,
        )
        .await?;
        tx.next(Place::Control, Step::Upload { host }).await
    }

    async fn upload(
        &self,
        host: HostId,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let id = input.instance_id;
        image::store_from_file(
            &self.0,
            &cx.origin(),
            input.image_id,
            &capture_file(&self.0, id),
        )
        .await?;
        remove_capture(&self.0, id).await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        work::enter(&mut tx, cx, &mut instance, TaskState::ShelvingOffloading).await?;
        tx.next(work::at(host), Step::Offload { host }).await
    }
}

/// Removes the bytes of the image that an instance was shelved to, unless its owner protected it. Its row follows with
/// [`drop_shelved_image`]: whoever calls this knows that the image is not needed any more, and goes on to that.
pub async fn remove_shelved_file(
    context: &Context,
    cx: &StepCx,
    instance: &Instance,
) -> Result<(), StepError> {
    let mut tx = cx.read().await?;
    if let Some(id) = instance.shelved_image_id
        && let Some(image) = images::get(&mut tx, id).await?
        && !image.protected
    {
        files::remove_all_of(context, &image).await?;
    }
    Ok(())
}

/// Removes the row of the image that an instance was shelved to, unless its owner protected it.
pub async fn drop_shelved_image(
    tx: &mut Tx,
    instance: &mut Instance,
    why: &str,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(id) = instance.shelved_image_id.take() else {
        return Ok(());
    };
    match images::lock(tx, id).await? {
        Some(image) if !image.protected => {
            snapshot_instance::remove_image(tx, &image, why, origin, now).await
        }
        _ => Ok(()),
    }
}
