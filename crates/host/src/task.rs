//! The tasks a host can be given and what it answers.
//!
//! Every task is idempotent: after a crash at any point it is given again, and the end is the same. Every task carries a
//! [`Fence`], so that a worker that lost its lease cannot undo what its successor did.

use crate::spec::{ConfigDrive, DiskFormat, DiskSpec, GuestSpec, ImageRef, NicSpec, Shape};
use corten_model::ids::{InstanceId, OperationId, PortId};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Who gives a task: an operation, at the epoch of its present lease.
///
/// The host remembers, per guest, the highest epoch it has seen, and refuses a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    pub operation: OperationId,
    pub epoch: i64,
}

/// One thing for a host to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Have this image in the host's cache, its content verified.
    EnsureImage {
        image: ImageRef,
    },
    /// Forget a cached image. The caller knows that no guest of this host stands on it; the host refuses otherwise.
    DropImage {
        sha512: String,
    },
    /// Make the guest's disks and config drive. Does not start it. Needs its image in the cache.
    CreateGuest {
        spec: GuestSpec,
    },
    /// Run the guest, with its network cards in the host's switch. A guest that runs already stays as it is.
    Start {
        id: InstanceId,
    },
    /// Ask the guest to power off and cut its power when `graceful_secs` have passed; without them cut it at once. Its
    /// taps stay in the switch, so its addresses stay wired.
    Stop {
        id: InstanceId,
        graceful_secs: Option<u32>,
    },
    /// Soft: ask the guest to power off, then start it; a guest that does not answer within `graceful_secs` has its
    /// power cut. Hard: a new QEMU process from the spec at once. An operation that repeats its reboot reboots once.
    Reboot {
        id: InstanceId,
        graceful_secs: Option<u32>,
    },
    /// Press the reset button: the QEMU process stays.
    ResetGuest {
        id: InstanceId,
    },
    Pause {
        id: InstanceId,
    },
    Unpause {
        id: InstanceId,
    },
    /// Save memory to disk and end the process.
    Suspend {
        id: InstanceId,
    },
    /// Run again from the saved memory.
    Resume {
        id: InstanceId,
    },
    /// New disks and config drive from this spec, under the same id. Cuts the power; does not start.
    Rebuild {
        spec: GuestSpec,
    },
    /// Boot from a fresh disk of this image, with the guest's own disks behind it. The image must be in the cache.
    Rescue {
        id: InstanceId,
        image: ImageRef,
        config_drive: Option<ConfigDrive>,
    },
    /// Leave rescue: drop the rescue disk and boot from the guest's own.
    Unrescue {
        id: InstanceId,
    },
    /// Replace the config drive, or take it away; the guest sees it at its next start.
    UpdateConfigDrive {
        id: InstanceId,
        config_drive: Option<ConfigDrive>,
    },
    /// Give the guest another disk: at once if it runs, else at its next start.
    AttachDisk {
        id: InstanceId,
        disk: DiskSpec,
    },
    /// Take a disk away. A running guest must let go of it.
    DetachDisk {
        id: InstanceId,
        disk: String,
    },
    /// Give the guest another network card: at once if it runs, else at its next start.
    AttachNic {
        id: InstanceId,
        nic: NicSpec,
    },
    /// Take a network card and its tap away. A running guest must let go of it.
    DetachNic {
        id: InstanceId,
        port: PortId,
    },
    /// Power the guest off as `Stop` does and give it another shape; does not start it. Its disks stay as they were
    /// under new ones, until `ConfirmShape` or `RevertShape`. Disks are never made smaller.
    Reshape {
        id: InstanceId,
        shape: Shape,
        graceful_secs: Option<u32>,
    },
    /// Make the last reshape final: what was kept for a revert goes into the guest's disks. A running guest keeps running.
    ConfirmShape {
        id: InstanceId,
    },
    /// Cut the power and bring back shape and disks from before the last reshape; does not start. What the guest wrote
    /// to its own disks since then is gone.
    RevertShape {
        id: InstanceId,
    },
    /// Write the root disk, flattened, to an image file. A running guest keeps running.
    Snapshot {
        id: InstanceId,
        target: PathBuf,
        format: DiskFormat,
    },
    /// Cut the power and remove every trace. A guest that is not there is fine.
    DeleteGuest {
        id: InstanceId,
    },
}

impl Task {
    /// The guest a task is about; tasks on the image cache have none.
    pub fn guest(&self) -> Option<InstanceId> {
        match self {
            Self::EnsureImage { .. } | Self::DropImage { .. } => None,
            Self::CreateGuest { spec } | Self::Rebuild { spec } => Some(spec.id),
            Self::Start { id }
            | Self::Stop { id, .. }
            | Self::Reboot { id, .. }
            | Self::ResetGuest { id }
            | Self::Pause { id }
            | Self::Unpause { id }
            | Self::Suspend { id }
            | Self::Resume { id }
            | Self::Rescue { id, .. }
            | Self::Unrescue { id }
            | Self::UpdateConfigDrive { id, .. }
            | Self::AttachDisk { id, .. }
            | Self::DetachDisk { id, .. }
            | Self::AttachNic { id, .. }
            | Self::DetachNic { id, .. }
            | Self::Reshape { id, .. }
            | Self::ConfirmShape { id }
            | Self::RevertShape { id }
            | Self::Snapshot { id, .. }
            | Self::DeleteGuest { id } => Some(*id),
        }
    }
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// The state asked for is reached.
    Done,
    /// The state asked for was there already.
    Already,
    Image {
        image: ImageRecord,
    },
    Stopped {
        kind: StopKind,
    },
    Rebooted {
        kind: RebootKind,
    },
    Snapshot {
        format: DiskFormat,
        size_bytes: u64,
        virtual_size_bytes: u64,
    },
}

/// An image in the host's cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Hash of the image as it was uploaded, which is also its name in the cache.
    pub sha512: String,
    /// How it is kept: raw or qcow2; other formats are converted to qcow2.
    pub format: DiskFormat,
    /// Bytes of the cached file.
    pub size_bytes: u64,
    /// Bytes of the disk that a guest sees.
    pub virtual_size_bytes: u64,
}

/// How a guest was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// The guest powered itself off when asked.
    Graceful,
    /// Its power was cut.
    PowerCut,
    AlreadyOff,
}

/// How a guest was rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebootKind {
    Soft,
    Hard,
    /// A soft reboot was asked for, but the guest did not power off in time.
    SoftTurnedHard,
    /// This operation's reboot was done before.
    AlreadyDone,
}
