//! The catalogue's words for an instance: one total function of class, `vm_state` and `task_state`.
//!
//! K1–K26 are the states of a virtual machine, K27–K36 those of a bare-metal server; the rest are Nova's states that
//! the seeds never name. One word means the same for both classes.

use super::nova::{InstanceClass, TaskState, VmState};
use super::table;
use super::words::word_enum;

word_enum! {
    /// What the native API, the console, the transition log and the bill call the state of an instance.
    pub enum Display: "instance state" {
        Active = "Active",
        ShelvedOffloaded = "Shelved_offloaded",
        Stopped = "Stopped",
        Error = "Error",
        Building = "Building",
        Starting = "Starting",
        Scheduling = "Scheduling",
        BlockDeviceMapping = "Block_device_mapping",
        Networking = "Networking",
        Spawning = "Spawning",
        Rebooting = "Rebooting",
        RebootStarted = "Reboot_started",
        RebootingHard = "Rebooting_hard",
        RebootingStartedHard = "Rebooting_started_hard",
        Shelving = "Shelving",
        Unshelving = "Unshelving",
        PoweringOff = "Powering-off",
        PoweringOn = "Powering-on",
        ResizePrep = "Resize_prep",
        ResizeMigrating = "Resize_migrating",
        ResizeMigrated = "Resize_migrated",
        ResizeFinished = "Resize_finished",
        Resized = "Resized",
        ResizeConfirm = "Resize_confirm",
        ResizeRevert = "Resize_revert",
        Deleting = "Deleting",
        RebuildSpawning = "Rebuild_spawning",
        Rebuilding = "Rebuilding",
        RebuildBlockDeviceMapping = "Rebuild_block_device_mapping",
        Paused = "Paused",
        Pausing = "Pausing",
        Unpausing = "Unpausing",
        Suspended = "Suspended",
        Suspending = "Suspending",
        Resuming = "Resuming",
        Rescued = "Rescued",
        Rescuing = "Rescuing",
        Unrescuing = "Unrescuing",
        Shelved = "Shelved",
        Migrating = "Migrating",
        ImageSnapshotPending = "Image_snapshot_pending",
        ImageSnapshot = "Image_snapshot",
        ImagePendingUpload = "Image_pending_upload",
        ImageUploading = "Image_uploading",
        ImageBackup = "Image_backup",
        UpdatingPassword = "Updating_password",
        SoftDeleted = "Soft_deleted",
        Restoring = "Restoring",
        Deleted = "Deleted",
    }
}

impl Display {
    /// The word for a pair of Nova's states. Total: every pair gives a state that the class's table has.
    pub fn of(class: InstanceClass, vm: VmState, task: Option<TaskState>) -> Self {
        let word = Self::of_vm(vm, task);
        match class {
            InstanceClass::Vm => word,
            InstanceClass::Metal => word.on_metal().unwrap_or_else(|| {
                // A task that metal does not have changes nothing; a stable state that it does not have is damage.
                Self::of_vm(vm, None).on_metal().unwrap_or(Self::Error)
            }),
        }
    }

    fn of_vm(vm: VmState, task: Option<TaskState>) -> Self {
        let Some(task) = task else {
            return Self::of_stable(vm);
        };
        match vm {
            VmState::Deleted => Self::Deleted,
            // Only a build or a removal happens to what was never built.
            VmState::Building if !task.is_build() && !Self::of_task(task).is_removal() => {
                Self::Building
            }
            // What was shelved is built again (or only powered on) in the name of the unshelve.
            VmState::Shelved | VmState::ShelvedOffloaded
                if task.is_build() || task == TaskState::PoweringOn =>
            {
                Self::Unshelving
            }
            // A build task on what is already built says nothing.
            _ if task.is_build() && vm != VmState::Building => Self::of_stable(vm),
            _ => Self::of_task(task),
        }
    }

    fn of_stable(vm: VmState) -> Self {
        match vm {
            VmState::Building => Self::Building,
            VmState::Active => Self::Active,
            VmState::Stopped => Self::Stopped,
            VmState::Paused => Self::Paused,
            VmState::Suspended => Self::Suspended,
            VmState::Rescued => Self::Rescued,
            VmState::Resized => Self::Resized,
            VmState::Shelved => Self::Shelved,
            VmState::ShelvedOffloaded => Self::ShelvedOffloaded,
            VmState::SoftDeleted => Self::SoftDeleted,
            VmState::Deleted => Self::Deleted,
            VmState::Error => Self::Error,
        }
    }

    fn of_task(task: TaskState) -> Self {
        use TaskState as T;
        match task {
            T::Scheduling => Self::Scheduling,
            T::Claimed => Self::Building,
            T::Accepted => Self::Starting,
            T::Networking => Self::Networking,
            T::BlockDeviceMapping => Self::BlockDeviceMapping,
            T::Spawning => Self::Spawning,
            T::Rebooting | T::RebootPending => Self::Rebooting,
            T::RebootStarted => Self::RebootStarted,
            T::RebootingHard | T::RebootPendingHard => Self::RebootingHard,
            T::RebootStartedHard => Self::RebootingStartedHard,
            T::PoweringOff => Self::PoweringOff,
            T::PoweringOn => Self::PoweringOn,
            T::Pausing => Self::Pausing,
            T::Unpausing => Self::Unpausing,
            T::Suspending => Self::Suspending,
            T::Resuming => Self::Resuming,
            T::Rescuing => Self::Rescuing,
            T::Unrescuing => Self::Unrescuing,
            T::Rebuilding => Self::Rebuilding,
            T::RebuildBlockDeviceMapping => Self::RebuildBlockDeviceMapping,
            T::RebuildSpawning => Self::RebuildSpawning,
            T::Shelving
            | T::ShelvingImagePendingUpload
            | T::ShelvingImageUploading
            | T::ShelvingOffloading => Self::Shelving,
            T::Unshelving => Self::Unshelving,
            T::ResizePrep => Self::ResizePrep,
            T::ResizeMigrating => Self::ResizeMigrating,
            T::ResizeMigrated => Self::ResizeMigrated,
            T::ResizeFinish => Self::ResizeFinished,
            T::ResizeConfirming => Self::ResizeConfirm,
            T::ResizeReverting => Self::ResizeRevert,
            T::Migrating => Self::Migrating,
            T::ImageSnapshotPending => Self::ImageSnapshotPending,
            T::ImageSnapshot => Self::ImageSnapshot,
            T::ImagePendingUpload => Self::ImagePendingUpload,
            T::ImageUploading => Self::ImageUploading,
            T::ImageBackup => Self::ImageBackup,
            T::UpdatingPassword => Self::UpdatingPassword,
            T::Deleting | T::SoftDeleting => Self::Deleting,
            T::Restoring => Self::Restoring,
        }
    }

    /// Metal shows one state for the whole build, one for the whole rebuild, and only hard reboots (K27, K30).
    fn on_metal(self) -> Option<Self> {
        let word = match self {
            Self::Scheduling
            | Self::Building
            | Self::Starting
            | Self::Networking
            | Self::BlockDeviceMapping
            | Self::Spawning => Self::Spawning,
            Self::Rebuilding | Self::RebuildBlockDeviceMapping | Self::RebuildSpawning => {
                Self::RebuildSpawning
            }
            Self::Rebooting => Self::RebootingHard,
            Self::RebootStarted => Self::RebootingStartedHard,
            other => other,
        };
        table::find(InstanceClass::Metal, word).map(|row| row.state)
    }

    fn is_removal(self) -> bool {
        matches!(self, Self::Deleting | Self::Deleted)
    }
}
