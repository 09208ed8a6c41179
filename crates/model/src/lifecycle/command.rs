//! What can be asked of an instance: the commands, Nova's word for each, and the task each one begins with.

use super::nova::{InstanceClass, TaskState};
use super::words::word_enum;

word_enum! {
    /// A command, by its catalogue or CLI word. `nova_word` gives the one in Nova's own refusals.
    pub enum Command: "command" {
        Create = "create",
        Start = "start",
        Stop = "stop",
        SoftReboot = "soft reboot",
        HardReboot = "hard reboot",
        Pause = "pause",
        Unpause = "unpause",
        Suspend = "suspend",
        Resume = "resume",
        Rescue = "rescue",
        Unrescue = "unrescue",
        Rebuild = "rebuild",
        Shelve = "shelve",
        ShelveOffload = "shelve offload",
        Unshelve = "unshelve",
        Resize = "resize",
        ConfirmResize = "confirm resize",
        RevertResize = "revert resize",
        /// Cold: to another host, by way of the resize states.
        Migrate = "migrate",
        LiveMigrate = "live migrate",
        AbortLiveMigration = "abort live migration",
        ForceCompleteLiveMigration = "force complete live migration",
        /// Rebuild elsewhere what ran on a host that is down.
        Evacuate = "evacuate",
        CreateImage = "create image",
        CreateBackup = "create backup",
        AttachVolume = "attach volume",
        DetachVolume = "detach volume",
        SwapVolume = "swap volume",
        AttachInterface = "attach interface",
        DetachInterface = "detach interface",
        ChangePassword = "change password",
        UpdateMetadata = "update metadata",
        DeleteMetadata = "delete metadata",
        UpdateTags = "update tags",
        Lock = "lock",
        Unlock = "unlock",
        Delete = "delete",
        /// At once, whatever the reclaim interval is.
        ForceDelete = "force delete",
        /// What `delete` means while a reclaim interval is set: keep it, off, for that long.
        SoftDelete = "soft delete",
        Restore = "restore",
        /// The administrator declares it broken.
        ResetState = "reset state",
        /// The administrator declares it sound.
        ResetStateActive = "reset state to active",
        TriggerCrashDump = "trigger crash dump",
        ConsoleLog = "console log",
        RemoteConsole = "remote console",
        Diagnostics = "diagnostics",
    }
}

impl Command {
    /// The word between quotes in Nova's `Cannot '…' instance`.
    pub fn nova_word(self) -> &'static str {
        match self {
            Self::SoftReboot | Self::HardReboot => "reboot",
            Self::ShelveOffload => "shelveOffload",
            Self::ConfirmResize => "confirmResize",
            Self::RevertResize => "revertResize",
            Self::LiveMigrate => "os-migrateLive",
            Self::ForceCompleteLiveMigration => "force_complete",
            Self::CreateImage => "createImage",
            Self::CreateBackup => "createBackup",
            Self::AttachVolume => "attach_volume",
            Self::DetachVolume => "detach_volume",
            Self::SwapVolume => "swap_volume",
            Self::AttachInterface => "attach_interface",
            Self::DetachInterface => "detach_interface",
            Self::ChangePassword => "changePassword",
            Self::ForceDelete => "forceDelete",
            Self::SoftDelete => "delete",
            Self::ResetState | Self::ResetStateActive => "os-resetState",
            Self::TriggerCrashDump => "trigger_crash_dump",
            Self::ConsoleLog => "os-getConsoleOutput",
            Self::RemoteConsole => "get_vnc_console",
            Self::Diagnostics => "get_diagnostics",
            same => same.as_str(),
        }
    }

    /// The task that is set in the moment the command is accepted; `None` for what is done at once or beside the
    /// life cycle (attach, lock, console).
    pub fn first_task(self) -> Option<TaskState> {
        use TaskState as T;
        Some(match self {
            Self::Create => T::Scheduling,
            Self::Start => T::PoweringOn,
            Self::Stop => T::PoweringOff,
            Self::SoftReboot => T::Rebooting,
            Self::HardReboot => T::RebootingHard,
            Self::Pause => T::Pausing,
            Self::Unpause => T::Unpausing,
            Self::Suspend => T::Suspending,
            Self::Resume => T::Resuming,
            Self::Rescue => T::Rescuing,
            Self::Unrescue => T::Unrescuing,
            Self::Rebuild | Self::Evacuate => T::Rebuilding,
            Self::Shelve => T::Shelving,
            Self::ShelveOffload => T::ShelvingOffloading,
            Self::Unshelve => T::Unshelving,
            Self::Resize | Self::Migrate => T::ResizePrep,
            Self::ConfirmResize => T::ResizeConfirming,
            Self::RevertResize => T::ResizeReverting,
            Self::LiveMigrate => T::Migrating,
            Self::CreateImage => T::ImageSnapshotPending,
            Self::CreateBackup => T::ImageBackup,
            Self::ChangePassword => T::UpdatingPassword,
            Self::Delete | Self::ForceDelete => T::Deleting,
            Self::SoftDelete => T::SoftDeleting,
            Self::Restore => T::Restoring,
            Self::AbortLiveMigration
            | Self::ForceCompleteLiveMigration
            | Self::AttachVolume
            | Self::DetachVolume
            | Self::SwapVolume
            | Self::AttachInterface
            | Self::DetachInterface
            | Self::UpdateMetadata
            | Self::DeleteMetadata
            | Self::UpdateTags
            | Self::Lock
            | Self::Unlock
            | Self::ResetState
            | Self::ResetStateActive
            | Self::TriggerCrashDump
            | Self::ConsoleLog
            | Self::RemoteConsole
            | Self::Diagnostics => return None,
        })
    }

    /// What `terminate` means (K52): a virtual machine is deleted, a bare-metal server is given back and can be
    /// unshelved on another. A client names the meaning and asks before it sends it.
    pub fn terminate(class: InstanceClass) -> Self {
        match class {
            InstanceClass::Vm => Self::Delete,
            InstanceClass::Metal => Self::Shelve,
        }
    }

    /// Does not touch the running task when it begins while one runs.
    pub fn is_beside_tasks(self) -> bool {
        self.first_task().is_none() && !matches!(self, Self::ResetState | Self::ResetStateActive)
    }

    /// Makes sense for an instance that never ran.
    pub fn needs_no_guest(self) -> bool {
        matches!(
            self,
            Self::Delete | Self::ForceDelete | Self::ResetState | Self::Lock | Self::Unlock
        )
    }

    /// The capability that bare metal lacks for this command; `None` if metal has it.
    pub fn metal_lacks(self) -> Option<&'static str> {
        Some(match self {
            Self::SoftReboot => {
                "an agent in the guest's kernel for a soft reboot (use a hard reboot)"
            }
            Self::Pause | Self::Unpause => "a hypervisor that can hold the processors",
            Self::Suspend | Self::Resume => "a hypervisor that can save the memory",
            Self::Resize | Self::ConfirmResize | Self::RevertResize => {
                "another size: the flavor is the server itself"
            }
            Self::Migrate
            | Self::LiveMigrate
            | Self::AbortLiveMigration
            | Self::ForceCompleteLiveMigration
            | Self::Evacuate => "a disk apart from the server, so it cannot move to another",
            Self::CreateImage | Self::CreateBackup => {
                "image capture: only default images are offered on metal"
            }
            Self::AttachVolume | Self::DetachVolume | Self::SwapVolume => {
                "a DPU to show volumes to the server"
            }
            Self::ChangePassword => "an agent in the guest that can set a password",
            Self::Diagnostics => "a hypervisor to look into the guest from",
            _ => return None,
        })
    }
}
