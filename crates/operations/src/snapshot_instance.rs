//! Taking an image of an instance: its root disk, flattened, becomes an image of the project that asked. A backup is
//! the same, and then the oldest backups of its type beyond the rotation are removed.
//!
//! ```text
//!  Begin ──▶ Capture (at the host) ──▶ Upload ──▶ Rotate ──▶ Finish ──▶ done (the state before)
//!               └────────────────────────┴──────▶ failed: the state before, and the image is removed
//! ```
//!
//! The image is there, queued, from the moment of acceptance. Who deletes it meanwhile ends the work without harm; what
//! takes the operation's place ([`abandon`]) removes it. The host writes to one file per instance ([`capture_file`]),
//! which a repeated capture overwrites and the end of the operation, or of the instance, removes.

use crate::context::Context;
use crate::image::{self, files};
use crate::instance::work;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_host::{DiskFormat, Task};
use corten_model::ids::{ImageId, InstanceId, TransitionId};
use corten_model::lifecycle::{Command, Outcome, RootDisk, TaskState, path};
use corten_model::origin::Origin;
use corten_model::refusal::Reason;
use corten_model::time::Timestamp;
use corten_store::images::{
    self, Condition, Image, ImageStatus, ListQuery, Viewer, VisibilityFilter,
};
use corten_store::operations::Operation;
use corten_store::record::Direction;
use corten_store::transitions::{self, Transition};
use corten_store::{Error, Failure, Tx};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Properties of such an image, under Nova's names.
pub const INSTANCE_UUID: &str = "instance_uuid";
pub const IMAGE_TYPE: &str = "image_type";
pub const BACKUP_TYPE: &str = "backup_type";
/// The value of [`IMAGE_TYPE`] for a backup.
pub const BACKUP: &str = "backup";

/// The format of every image that is taken.
pub const FORMAT: DiskFormat = DiskFormat::Qcow2;

/// The most backups that one rotation looks at.
const MAX_BACKUPS: i64 = 1000;

/// `createImage` or `createBackup`.
pub struct SnapshotInstance {
    pub cx: Arc<Context>,
    pub command: Command,
}

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    pub image_id: ImageId,
    pub backup: Option<Backup>,
}

/// What makes an image a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// A word of the owner's: `daily`, `weekly`, …
    pub backup_type: String,
    /// How many of this type are kept, the new one included.
    pub rotation: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The states between acceptance and the capture are passed.
    Begin,
    /// The host writes the flattened disk to a file.
    Capture,
    /// The file becomes the image.
    Upload,
    /// Backups beyond the rotation end; only after this is committed are their files removed.
    Rotate { image_is_gone: bool },
    /// The files that nothing refers to any more are removed.
    Finish {
        image_is_gone: bool,
        rotated_out: Vec<ImageId>,
    },
}

/// The file that a host writes an instance's disk to.
pub fn capture_file(cx: &Context, id: InstanceId) -> PathBuf {
    cx.image_dir.join(format!("capture-{id}"))
}

/// Removes what a capture of this instance left behind.
pub async fn remove_capture(cx: &Context, id: InstanceId) -> Result<(), Failure> {
    files::remove(vec![capture_file(cx, id)]).await
}

impl SnapshotInstance {
    pub const COMMANDS: [Command; 2] = [Command::CreateImage, Command::CreateBackup];
}

#[async_trait]
impl Workflow for SnapshotInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        match self.command {
            Command::CreateBackup => "backup_instance",
            _ => "snapshot_instance",
        }
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Begin => Duration::from_secs(60),
            // As long as the life cycle lets Image_snapshot, Image_backup and Image_uploading last.
            Step::Capture if self.command == Command::CreateImage => Duration::from_secs(600),
            Step::Capture | Step::Upload => Duration::from_secs(3600),
            Step::Rotate { .. } | Step::Finish { .. } => Duration::from_secs(300),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Begin => self.begin(input, cx).await,
            Step::Capture => self.capture(input, cx).await,
            Step::Upload => self.upload(input, cx).await,
            Step::Rotate { image_is_gone } => rotate(image_is_gone, input, cx).await,
            Step::Finish {
                image_is_gone,
                rotated_out,
            } => self.finish(image_is_gone, rotated_out, input, cx).await,
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let seen = work::look(&self.cx, &work::read(cx, input.instance_id).await?).await;
        let rotated_out = match serde_json::from_str(&cx.operation().step) {
            Ok(Step::Finish { rotated_out, .. }) => rotated_out,
            _ => Vec::new(),
        };
        self.remove_files(rotated_out, input).await?;
        let cause = why.to_string();
        let mut tx = cx.commit().await?;
        drop_unfinished(&mut tx, input.image_id, &cause, &cx.origin(), cx.now()).await?;
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

impl SnapshotInstance {
    async fn begin(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        let host = work::host_of(&instance)?;
        let tasks = path(self.command, instance.state.vm, RootDisk::Local);
        // The first task was set when the command was accepted.
        for task in tasks
            .iter()
            .skip(1)
            .take_while(|task| **task != TaskState::ImagePendingUpload)
        {
            work::enter(&mut tx, cx, &mut instance, *task).await?;
        }
        tx.next(work::at(host), Step::Capture).await
    }

    async fn capture(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let id = input.instance_id;
        let host = work::host_of(&work::read(cx, id).await?)?;
        let task = Task::Snapshot {
            id,
            target: capture_file(&self.cx, id),
            format: FORMAT,
        };
        work::perform(&self.cx, cx, host, task).await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, id).await?;
        for task in [TaskState::ImagePendingUpload, TaskState::ImageUploading] {
            work::enter(&mut tx, cx, &mut instance, task).await?;
        }
        tx.next(Place::Control, Step::Upload).await
    }

    async fn upload(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let file = capture_file(&self.cx, input.instance_id);
        let stored = image::store_from_file(&self.cx, &cx.origin(), input.image_id, &file).await;
        let image_is_gone = match stored {
            Ok(_) => false,
            Err(Failure::Refused(refusal))
                if matches!(refusal.reason, Reason::NotFound | Reason::Gone) =>
            {
                true
            }
            Err(failure) => return Err(failure.into()),
        };
        cx.commit()
            .await?
            .next(Place::Control, Step::Rotate { image_is_gone })
            .await
    }

    /// Removes what the host wrote, and the bytes of images that are gone.
    async fn remove_files(&self, gone: Vec<ImageId>, input: &Input) -> Result<(), Failure> {
        let files = gone.into_iter().map(|id| image::file_path(&self.cx, id));
        files::remove(
            files
                .chain([capture_file(&self.cx, input.instance_id)])
                .collect(),
        )
        .await
    }

    async fn finish(
        &self,
        image_is_gone: bool,
        rotated_out: Vec<ImageId>,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        self.remove_files(rotated_out, input).await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        work::succeed(&mut tx, cx, &mut instance, self.command).await?;
        match image_is_gone {
            true => {
                tx.cancelled("The image was deleted while it was being made.")
                    .await
            }
            false => tx.done().await,
        }
    }
}

async fn rotate(image_is_gone: bool, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
    let mut tx = cx.commit().await?;
    let rotated_out = match &input.backup {
        Some(backup) => drop_old_backups(&mut tx, backup, input, cx).await?,
        None => Vec::new(),
    };
    tx.next(
        Place::Control,
        Step::Finish {
            image_is_gone,
            rotated_out,
        },
    )
    .await
}

/// Removes the oldest backups beyond the rotation, the protected ones excepted, and tells which.
async fn drop_old_backups(
    tx: &mut Tx,
    backup: &Backup,
    input: &Input,
    cx: &StepCx,
) -> Result<Vec<ImageId>, Error> {
    let Some(project) = images::get(tx, input.image_id)
        .await?
        .and_then(|image| image.owner)
    else {
        return Ok(Vec::new());
    };
    let property = |name: &str, value: String| Condition::Property {
        name: name.to_owned(),
        value,
    };
    let backups = ListQuery {
        viewer: Viewer::Project(project.clone()),
        visibility: VisibilityFilter::Usual,
        member_status: None,
        conditions: vec![
            property(IMAGE_TYPE, BACKUP.to_owned()),
            property(BACKUP_TYPE, backup.backup_type.clone()),
            property(INSTANCE_UUID, input.instance_id.to_string()),
        ],
        order: vec![("created_at", Direction::Descending)],
        marker: None,
        limit: MAX_BACKUPS,
    };
    let mut removed = Vec::new();
    for image in backups
        .run(tx)
        .await?
        .into_iter()
        .skip(backup.rotation as usize)
    {
        if image.is_owned_by(Some(&project)) && !image.protected {
            remove_image(
                tx,
                &image,
                "a newer backup took its place",
                &cx.origin(),
                cx.now(),
            )
            .await?;
            removed.push(image.id);
        }
    }
    Ok(removed)
}

/// What the operation that another command takes the place of had begun: its image is removed unless it is complete.
pub async fn abandon(
    tx: &mut Tx,
    operation: &Operation,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Begun {
        image_id: ImageId,
    }
    let takes_images = ["snapshot_instance", "backup_instance", "shelve_instance"]
        .contains(&operation.kind.as_str());
    match serde_json::from_str::<Begun>(&operation.input) {
        Ok(Begun { image_id }) if takes_images => {
            drop_unfinished(tx, image_id, "another command took its place", origin, now).await
        }
        _ => Ok(()),
    }
}

/// Removes an image that did not become active.
async fn drop_unfinished(
    tx: &mut Tx,
    id: ImageId,
    why: &str,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), Error> {
    match images::lock(tx, id).await? {
        Some(image) if matches!(image.status, ImageStatus::Queued | ImageStatus::Saving) => {
            remove_image(tx, &image, why, origin, now).await
        }
        _ => Ok(()),
    }
}

pub(crate) async fn remove_image(
    tx: &mut Tx,
    image: &Image,
    why: &str,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), Error> {
    images::delete(tx, image.id).await?;
    let transition = Transition {
        id: TransitionId::next(),
        at: now,
        subject_kind: "image".to_owned(),
        subject_id: image.id.to_string(),
        project_id: image.owner.clone(),
        from: Some(image.status.to_string()),
        to: "deleted".to_owned(),
        why: why.to_owned(),
        origin: origin.clone(),
        lasted_micros: now.since(image.status_since).as_micros() as i64,
    };
    transitions::append(tx, &transition).await
}
