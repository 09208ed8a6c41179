//! How a command goes on once it is accepted: the tasks it passes, the state it ends in, what a host's view changes.
//!
//! The stable state (`vm`) stays as it was while a task runs, so an undone command needs no memory: its task is
//! dropped ("cleared") and the earlier state is there. Operations call `enter` at each step and `settle` at the end.

use super::command::Command;
use super::nova::{InstanceState, PowerState, TaskState, VmState};
use super::words::word_enum;

/// Where the root disk of an instance is: what has to be saved when its host is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootDisk {
    /// On the host, made from an image.
    Local,
    /// A volume (or a disk behind a DPU): nothing to save.
    Volume,
}

/// K5–K10 in the order an instance passes them.
pub const CREATE: &[TaskState] = &[
    TaskState::Scheduling,
    TaskState::Claimed,
    TaskState::Accepted,
    TaskState::Networking,
    TaskState::BlockDeviceMapping,
    TaskState::Spawning,
];

/// Attempts on different hosts before a create ends in Error, as Nova's `max_attempts`.
pub const MAX_CREATE_ATTEMPTS: u32 = 3;

/// The tasks that `command` passes, first to last, from stable state `vm`; empty if it sets none.
pub fn path(command: Command, vm: VmState, root: RootDisk) -> &'static [TaskState] {
    use TaskState as T;
    match command {
        Command::Create => CREATE,
        Command::Start => &[T::PoweringOn],
        Command::Stop => &[T::PoweringOff],
        Command::SoftReboot => &[T::Rebooting, T::RebootPending, T::RebootStarted],
        Command::HardReboot => &[T::RebootingHard, T::RebootPendingHard, T::RebootStartedHard],
        Command::Pause => &[T::Pausing],
        Command::Unpause => &[T::Unpausing],
        Command::Suspend => &[T::Suspending],
        Command::Resume => &[T::Resuming],
        Command::Rescue => &[T::Rescuing],
        Command::Unrescue => &[T::Unrescuing],
        Command::Rebuild | Command::Evacuate if vm == VmState::Stopped => &[
            T::Rebuilding,
            T::RebuildBlockDeviceMapping,
            T::RebuildSpawning,
            T::PoweringOff,
        ],
        Command::Rebuild | Command::Evacuate => &[
            T::Rebuilding,
            T::RebuildBlockDeviceMapping,
            T::RebuildSpawning,
        ],
        Command::Shelve => match root {
            RootDisk::Local => &[
                T::Shelving,
                T::ShelvingImagePendingUpload,
                T::ShelvingImageUploading,
                T::ShelvingOffloading,
            ],
            RootDisk::Volume => &[T::Shelving, T::ShelvingOffloading],
        },
        Command::ShelveOffload => &[T::ShelvingOffloading],
        Command::Unshelve if vm == VmState::Shelved => &[T::Unshelving, T::PoweringOn],
        Command::Unshelve => &[T::Unshelving, T::Spawning],
        Command::Resize | Command::Migrate => &[
            T::ResizePrep,
            T::ResizeMigrating,
            T::ResizeMigrated,
            T::ResizeFinish,
        ],
        Command::ConfirmResize => &[T::ResizeConfirming],
        Command::RevertResize => &[T::ResizeReverting],
        Command::LiveMigrate => &[T::Migrating],
        Command::CreateImage => &[
            T::ImageSnapshotPending,
            T::ImageSnapshot,
            T::ImagePendingUpload,
            T::ImageUploading,
        ],
        Command::CreateBackup => &[T::ImageBackup, T::ImagePendingUpload, T::ImageUploading],
        Command::ChangePassword => &[T::UpdatingPassword],
        Command::Delete | Command::ForceDelete => &[T::Deleting],
        Command::SoftDelete => &[T::SoftDeleting],
        Command::Restore => &[T::Restoring],
        Command::AbortLiveMigration
        | Command::ForceCompleteLiveMigration
        | Command::AttachVolume
        | Command::DetachVolume
        | Command::SwapVolume
        | Command::AttachInterface
        | Command::DetachInterface
        | Command::UpdateMetadata
        | Command::DeleteMetadata
        | Command::UpdateTags
        | Command::Lock
        | Command::Unlock
        | Command::ResetState
        | Command::ResetStateActive
        | Command::TriggerCrashDump
        | Command::ConsoleLog
        | Command::RemoteConsole
        | Command::Diagnostics => &[],
    }
}

impl InstanceState {
    /// The state when the running operation reaches `task`.
    pub fn enter(self, task: TaskState) -> Self {
        let here = Self {
            task: Some(task),
            ..self
        };
        match task {
            // The image is safe: the instance is shelved, and only its host is still to be given back.
            TaskState::ShelvingOffloading => Self {
                vm: VmState::Shelved,
                power: PowerState::Shutdown,
                ..here
            },
            TaskState::ShelvingImagePendingUpload
            | TaskState::ResizeMigrated
            | TaskState::RebuildBlockDeviceMapping => Self {
                power: PowerState::Shutdown,
                ..here
            },
            TaskState::ResizeFinish if self.vm == VmState::Active => Self {
                power: PowerState::Running,
                ..here
            },
            _ => here,
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Succeeded,
    /// It failed or was cancelled, and what was begun is undone as far as that can be.
    Failed,
    /// What the instance consists of is gone (the shelved image, both ends of a migration): no way back.
    Broken,
}

/// The state an instance ends in (B4). `at` is its state in the last step, with `power` as the host last saw it.
pub fn settle(command: Command, at: InstanceState, outcome: Outcome) -> InstanceState {
    match outcome {
        Outcome::Succeeded => succeeded(command, at),
        Outcome::Failed => failed(command, at),
        Outcome::Broken => broken(at),
    }
}

fn succeeded(command: Command, at: InstanceState) -> InstanceState {
    let running = InstanceState::stable(VmState::Active, PowerState::Running);
    let off = InstanceState::stable(VmState::Stopped, PowerState::Shutdown);
    match command {
        Command::Create
        | Command::Start
        | Command::Unpause
        | Command::Resume
        | Command::Unrescue
        | Command::Unshelve
        | Command::Restore => running,
        Command::SoftReboot | Command::HardReboot if at.vm == VmState::Rescued => {
            InstanceState::stable(VmState::Rescued, PowerState::Running)
        }
        Command::SoftReboot | Command::HardReboot => running,
        Command::Stop => off,
        Command::Pause => InstanceState::stable(VmState::Paused, PowerState::Paused),
        Command::Suspend => InstanceState::stable(VmState::Suspended, PowerState::Suspended),
        Command::Rescue => InstanceState::stable(VmState::Rescued, PowerState::Running),
        Command::Rebuild | Command::Evacuate if at.vm == VmState::Stopped => off,
        Command::Rebuild | Command::Evacuate => running,
        Command::Shelve if at.task != Some(TaskState::ShelvingOffloading) => {
            InstanceState::stable(VmState::Shelved, PowerState::Shutdown)
        }
        Command::Shelve | Command::ShelveOffload => {
            InstanceState::stable(VmState::ShelvedOffloaded, PowerState::Shutdown)
        }
        Command::Resize | Command::Migrate => {
            let power = if at.vm == VmState::Stopped {
                PowerState::Shutdown
            } else {
                PowerState::Running
            };
            InstanceState::stable(VmState::Resized, power)
        }
        // A resized instance that is off was stopped before the resize, or by its owner since.
        Command::ConfirmResize | Command::RevertResize if at.power.is_off() => off,
        Command::ConfirmResize | Command::RevertResize => running,
        Command::Delete | Command::ForceDelete => {
            InstanceState::stable(VmState::Deleted, PowerState::NoState)
        }
        Command::SoftDelete => InstanceState::stable(VmState::SoftDeleted, PowerState::Shutdown),
        Command::ResetState => InstanceState::stable(VmState::Error, at.power),
        Command::ResetStateActive => InstanceState::stable(VmState::Active, at.power),
        Command::LiveMigrate
        | Command::CreateImage
        | Command::CreateBackup
        | Command::ChangePassword => cleared(at),
        _ => at,
    }
}

fn failed(command: Command, at: InstanceState) -> InstanceState {
    let moved = at.task != Some(TaskState::ResizePrep);
    match command {
        Command::Create
        | Command::Rescue
        | Command::Unrescue
        | Command::Rebuild
        | Command::Evacuate
        | Command::ConfirmResize
        | Command::RevertResize
        | Command::Delete
        | Command::ForceDelete
        | Command::SoftDelete => broken(at),
        Command::Resize | Command::Migrate if moved => broken(at),
        Command::SoftReboot | Command::HardReboot if at.power != PowerState::Running => broken(at),
        Command::HardReboot if at.vm != VmState::Error => {
            InstanceState::stable(VmState::Active, PowerState::Running)
        }
        _ if at.task.is_none() => at,
        _ => cleared(at),
    }
}

/// The task is dropped and the earlier stable state stays; but what runs no more is called stopped.
fn cleared(at: InstanceState) -> InstanceState {
    let died = matches!(at.vm, VmState::Active | VmState::Paused) && at.power.is_off();
    InstanceState::stable(if died { VmState::Stopped } else { at.vm }, at.power)
}

fn broken(at: InstanceState) -> InstanceState {
    InstanceState::stable(VmState::Error, at.power)
}

/// What to do about what a host sees (B4, row 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PowerAction {
    Nothing,
    /// Write down the new power state; the stable state stays.
    Record,
    /// The guest is off without being asked: the instance is Stopped from now on.
    Stop,
    /// The guest runs though it must not: its host cuts the power, the state stays.
    ForceOff,
}

/// Compares the state with the power that a host observed. `NoState` means that the host cannot say: never acted on.
pub fn reconcile(state: InstanceState, observed: PowerState) -> PowerAction {
    let record = if observed == state.power {
        PowerAction::Nothing
    } else {
        PowerAction::Record
    };
    if observed == PowerState::NoState {
        return PowerAction::Nothing;
    }
    if state.task.is_some() {
        return if state.never_launched() {
            PowerAction::Nothing
        } else {
            record
        };
    }
    match state.vm {
        // A guest nobody built, and a record that is closed: the power is not theirs.
        VmState::Building => PowerAction::Nothing,
        VmState::Error if state.never_launched() => PowerAction::Nothing,
        VmState::Active | VmState::Paused if observed.is_off() => PowerAction::Stop,
        VmState::Stopped
        | VmState::Shelved
        | VmState::ShelvedOffloaded
        | VmState::SoftDeleted
        | VmState::Deleted
            if !observed.is_off() =>
        {
            PowerAction::ForceOff
        }
        VmState::Deleted => PowerAction::Nothing,
        _ => record,
    }
}

/// The state to commit for a power action.
pub fn apply(action: PowerAction, state: InstanceState, observed: PowerState) -> InstanceState {
    match action {
        PowerAction::Nothing | PowerAction::ForceOff => state,
        PowerAction::Record => InstanceState {
            power: observed,
            ..state
        },
        PowerAction::Stop => InstanceState::stable(VmState::Stopped, observed),
    }
}

word_enum! {
    /// What a worker does with an operation that it finds unfinished (B7). Nothing is owned in memory, so most simply
    /// go on at the last committed step, where Nova would mark the instance as broken.
    pub enum OnRestart: "action at a restart" {
        /// Run the last committed step again; steps are idempotent.
        Resume = "resume at the last committed step",
        /// The guest was already down when the work stopped: go on as a hard reboot.
        ResumeAsHardReboot = "resume as a hard reboot",
        /// Undo what was begun and drop the task.
        RollBack = "roll back",
        /// Bring the half-moved instance back on its source.
        RevertMove = "bring it back on its source host",
    }
}

/// B7: what was found at a start, by its task and the power seen.
pub fn on_restart(task: TaskState, power: PowerState) -> OnRestart {
    use TaskState as T;
    match task {
        T::RebootPending | T::RebootStarted | T::Rebooting if power.is_off() => {
            OnRestart::ResumeAsHardReboot
        }
        T::ResizePrep | T::Migrating => OnRestart::RollBack,
        T::ResizeMigrating => OnRestart::RevertMove,
        _ => OnRestart::Resume,
    }
}
