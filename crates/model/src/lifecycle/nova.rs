//! Nova's words for an instance: `vm_state`, `task_state`, `power_state`, and the API status made of them.
//!
//! This is what rows hold and what the OpenStack API serves. `vm_state` is the last stable state and stays as it was
//! while a task runs; `task_state` is what is being done; `power_state` is what the host last saw.

use super::display::Display;
use super::words::word_enum;
use serde::{Deserialize, Serialize};

word_enum! {
    /// The two kinds of instance a tenant can have.
    pub enum InstanceClass: "instance class" {
        Vm = "vm",
        Metal = "metal",
    }
}

word_enum! {
    /// The stable state of an instance.
    pub enum VmState: "vm_state" {
        Building = "building",
        Active = "active",
        Stopped = "stopped",
        Paused = "paused",
        Suspended = "suspended",
        Rescued = "rescued",
        Resized = "resized",
        Shelved = "shelved",
        ShelvedOffloaded = "shelved_offloaded",
        SoftDeleted = "soft-delete",
        Deleted = "deleted",
        Error = "error",
    }
}

word_enum! {
    /// What is being done to an instance right now.
    pub enum TaskState: "task_state" {
        Scheduling = "scheduling",
        /// Ours, without a word in Nova: a host's resources are claimed, nobody works there yet. Shown as Building.
        Claimed = "claimed",
        /// Ours, without a word in Nova: the host's agent took the work, before networks. Shown as Starting (K58).
        Accepted = "accepted",
        Networking = "networking",
        BlockDeviceMapping = "block_device_mapping",
        Spawning = "spawning",
        Rebooting = "rebooting",
        RebootPending = "reboot_pending",
        RebootStarted = "reboot_started",
        RebootingHard = "rebooting_hard",
        RebootPendingHard = "reboot_pending_hard",
        RebootStartedHard = "reboot_started_hard",
        PoweringOff = "powering-off",
        PoweringOn = "powering-on",
        Pausing = "pausing",
        Unpausing = "unpausing",
        Suspending = "suspending",
        Resuming = "resuming",
        Rescuing = "rescuing",
        Unrescuing = "unrescuing",
        Rebuilding = "rebuilding",
        RebuildBlockDeviceMapping = "rebuild_block_device_mapping",
        RebuildSpawning = "rebuild_spawning",
        Shelving = "shelving",
        ShelvingImagePendingUpload = "shelving_image_pending_upload",
        ShelvingImageUploading = "shelving_image_uploading",
        ShelvingOffloading = "shelving_offloading",
        Unshelving = "unshelving",
        ResizePrep = "resize_prep",
        ResizeMigrating = "resize_migrating",
        ResizeMigrated = "resize_migrated",
        ResizeFinish = "resize_finish",
        /// In Nova's list, though Nova never sets it (K24); we do.
        ResizeConfirming = "resize_confirming",
        ResizeReverting = "resize_reverting",
        Migrating = "migrating",
        ImageSnapshotPending = "image_snapshot_pending",
        ImageSnapshot = "image_snapshot",
        ImagePendingUpload = "image_pending_upload",
        ImageUploading = "image_uploading",
        ImageBackup = "image_backup",
        UpdatingPassword = "updating_password",
        Deleting = "deleting",
        SoftDeleting = "soft-deleting",
        Restoring = "restoring",
    }
}

impl TaskState {
    /// The word for `OS-EXT-STS:task_state`; `None` where Nova shows no task.
    pub fn nova(self) -> Option<&'static str> {
        match self {
            Self::Claimed | Self::Accepted => None,
            known => Some(known.as_str()),
        }
    }

    /// A phase of the first build, or of the build that ends an unshelve.
    pub fn is_build(self) -> bool {
        matches!(
            self,
            Self::Scheduling
                | Self::Claimed
                | Self::Accepted
                | Self::Networking
                | Self::BlockDeviceMapping
                | Self::Spawning
        )
    }
}

/// What the host last saw, with Nova's numbers. `NoState` means that no guest ever ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
#[repr(u8)]
pub enum PowerState {
    NoState = 0,
    Running = 1,
    Paused = 3,
    Shutdown = 4,
    Crashed = 6,
    Suspended = 7,
}

impl PowerState {
    pub const ALL: &'static [Self] = &[
        Self::NoState,
        Self::Running,
        Self::Paused,
        Self::Shutdown,
        Self::Crashed,
        Self::Suspended,
    ];

    /// The number for `OS-EXT-STS:power_state`.
    pub const fn code(self) -> u8 {
        self as u8
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|power| power.code() == code)
    }

    /// The guest is not there any more: it was shut down, or it broke.
    pub fn is_off(self) -> bool {
        matches!(self, Self::Shutdown | Self::Crashed)
    }
}

impl From<PowerState> for u8 {
    fn from(power: PowerState) -> u8 {
        power.code()
    }
}

/// A number that is not one of Nova's power states.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a power_state: it is one of 0, 1, 3, 4, 6, 7")]
pub struct UnknownPowerState(pub u8);

impl TryFrom<u8> for PowerState {
    type Error = UnknownPowerState;

    fn try_from(code: u8) -> Result<Self, UnknownPowerState> {
        Self::from_code(code).ok_or(UnknownPowerState(code))
    }
}

/// The whole state of an instance, in Nova's three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceState {
    pub vm: VmState,
    pub task: Option<TaskState>,
    pub power: PowerState,
}

impl InstanceState {
    /// The state of every instance at the moment its create is accepted.
    pub const REQUESTED: Self = Self {
        vm: VmState::Building,
        task: Some(TaskState::Scheduling),
        power: PowerState::NoState,
    };

    /// A state with no task in flight.
    pub const fn stable(vm: VmState, power: PowerState) -> Self {
        Self {
            vm,
            task: None,
            power,
        }
    }

    /// The catalogue's word: what the native API, the console, the log and the bill use. Total.
    pub fn display(self, class: InstanceClass) -> Display {
        Display::of(class, self.vm, self.task)
    }

    /// No guest ever ran: what it holds can be removed, and nothing else done with it.
    pub fn never_launched(self) -> bool {
        matches!(self.vm, VmState::Building | VmState::Error) && self.power == PowerState::NoState
    }

    /// `status` of `GET /servers/{id}`. Total: unlike Nova's map, it knows every pair.
    pub fn api_status(self) -> &'static str {
        match (
            self.vm,
            self.task.map(ApiTask::of).unwrap_or(ApiTask::Other),
        ) {
            (VmState::Active, ApiTask::SoftReboot) => "REBOOT",
            (VmState::Active, ApiTask::HardReboot) => "HARD_REBOOT",
            (VmState::Active, ApiTask::Password) => "PASSWORD",
            (VmState::Active | VmState::Paused, ApiTask::Migrate) => "MIGRATING",
            (VmState::Active | VmState::Stopped, ApiTask::Resize) => "RESIZE",
            (VmState::Active | VmState::Stopped | VmState::Error, ApiTask::Rebuild) => "REBUILD",
            (VmState::Resized, ApiTask::Revert) => "REVERT_RESIZE",
            (VmState::Building, _) => "BUILD",
            (VmState::Active, _) => "ACTIVE",
            (VmState::Stopped, _) => "SHUTOFF",
            (VmState::Paused, _) => "PAUSED",
            (VmState::Suspended, _) => "SUSPENDED",
            (VmState::Rescued, _) => "RESCUE",
            (VmState::Resized, _) => "VERIFY_RESIZE",
            (VmState::Shelved, _) => "SHELVED",
            (VmState::ShelvedOffloaded, _) => "SHELVED_OFFLOADED",
            (VmState::SoftDeleted, _) => "SOFT_DELETED",
            (VmState::Deleted, _) => "DELETED",
            (VmState::Error, _) => "ERROR",
        }
    }

    /// The pairs of stable state and tasks that a `?status=` filter of the servers list selects; empty if no server
    /// can have that status. Case does not matter, as in Nova.
    pub fn with_api_status(status: &str) -> Vec<(VmState, Option<TaskState>)> {
        let tasks = || std::iter::once(None).chain(TaskState::ALL.iter().copied().map(Some));
        VmState::ALL
            .iter()
            .flat_map(|vm| tasks().map(|task| (*vm, task)))
            .filter(|(vm, task)| {
                let state = Self {
                    vm: *vm,
                    task: *task,
                    power: PowerState::NoState,
                };
                state.api_status().eq_ignore_ascii_case(status)
            })
            .collect()
    }
}

/// The tasks that change the API status, grouped.
#[derive(Clone, Copy)]
enum ApiTask {
    SoftReboot,
    HardReboot,
    Password,
    Rebuild,
    Migrate,
    Resize,
    Revert,
    Other,
}

impl ApiTask {
    fn of(task: TaskState) -> Self {
        use TaskState as T;
        match task {
            T::Rebooting | T::RebootPending | T::RebootStarted => Self::SoftReboot,
            T::RebootingHard | T::RebootPendingHard | T::RebootStartedHard => Self::HardReboot,
            T::UpdatingPassword => Self::Password,
            T::Rebuilding | T::RebuildBlockDeviceMapping | T::RebuildSpawning => Self::Rebuild,
            T::Migrating => Self::Migrate,
            T::ResizePrep | T::ResizeMigrating | T::ResizeMigrated | T::ResizeFinish => {
                Self::Resize
            }
            T::ResizeReverting => Self::Revert,
            _ => Self::Other,
        }
    }
}
