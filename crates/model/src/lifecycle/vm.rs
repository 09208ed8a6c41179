//! The life cycle of a virtual machine: K1–K26, and the states of Nova that the seeds never name.
//!
//! Read it as a table, top to bottom. `legal` is what is accepted, `next` what can follow, the last line how long the
//! state may last and what then happens by itself. A `+ GROUP` stands for the commands or states of that name, below.

use super::command::Command;
use super::display::Display;
use super::table::life_table;

/// May break a running task; everything else but the removals needs no task in flight.
const REMOVE: &[Command] = &[Command::Delete, Command::ForceDelete, Command::SoftDelete];

/// For the administrator (and the lock for its owner), in every state of what was built once.
const ADMIN: &[Command] = &[
    Command::Lock,
    Command::Unlock,
    Command::ResetState,
    Command::ResetStateActive,
];

/// All that can be done with what has no guest on a host.
const NO_GUEST: &[Command] = &[
    Command::Delete,
    Command::ForceDelete,
    Command::Lock,
    Command::Unlock,
    Command::ResetState,
];

/// Names and labels: no host takes part.
const SETTINGS: &[Command] = &[
    Command::UpdateMetadata,
    Command::DeleteMetadata,
    Command::UpdateTags,
];

/// What needs a guest on a host.
const LOOK: &[Command] = &[
    Command::ConsoleLog,
    Command::RemoteConsole,
    Command::Diagnostics,
];

const VOLUMES: &[Command] = &[Command::AttachVolume, Command::DetachVolume];
const INTERFACES: &[Command] = &[Command::AttachInterface, Command::DetachInterface];
const CAPTURE: &[Command] = &[Command::CreateImage, Command::CreateBackup];

/// From every state: it breaks, or it is removed, or (where a guest exists) the administrator declares it sound.
const ANYWHERE: &[Display] = &[Display::Error, Display::Deleting, Display::Active];
const NO_GUEST_NEXT: &[Display] = &[Display::Error, Display::Deleting];

/// What an image capture returns to besides Active: the state it was taken in.
const CAPTURED: &[Display] = &[Display::Stopped, Display::Paused, Display::Suspended];

life_table! {
    /// The states of a virtual machine.
    pub const TABLE: Display, Command;

    Active (K 1) billed "running"
        legal [Stop SoftReboot HardReboot Pause Suspend Shelve Resize Migrate LiveMigrate Evacuate Rebuild Rescue
               SwapVolume ChangePassword TriggerCrashDump]
            + CAPTURE + VOLUMES + INTERFACES + LOOK + SETTINGS + REMOVE + ADMIN
        next [Stopped PoweringOff Rebooting RebootingHard Pausing Suspending Shelving ResizePrep Migrating Rebuilding Rescuing
              ImageSnapshotPending ImageBackup UpdatingPassword] + ANYWHERE;

    ShelvedOffloaded (K 2) free "ended, compute given back to the hypervisor"
        legal [Unshelve] + VOLUMES + NO_GUEST
        next [Unshelving] + NO_GUEST_NEXT;

    Stopped (K 3) billed "powered off, compute still held"
        legal [Start HardReboot Shelve Resize Migrate Evacuate Rebuild Rescue ConsoleLog]
            + CAPTURE + VOLUMES + INTERFACES + SETTINGS + REMOVE + ADMIN
        next [PoweringOn RebootingHard Shelving ResizePrep Rebuilding Rescuing ImageSnapshotPending
              ImageBackup] + ANYWHERE;

    Error (K 4) free "broken, unusable"
        legal [Stop HardReboot Rebuild Rescue Evacuate TriggerCrashDump ConsoleLog] + REMOVE + ADMIN
        next [PoweringOff RebootingHard Rebuilding Rescuing] + ANYWHERE
        within 24 HOURS or CallOperator;

    Building (K 5) free "host resources being reserved for the create"
        legal [] + NO_GUEST
        next [Starting Scheduling] + NO_GUEST_NEXT
        within 60 SECONDS or RetryElsewhere;

    Starting (K 6) free "build work begun"
        legal [] + NO_GUEST
        next [Networking Scheduling] + NO_GUEST_NEXT
        within 60 SECONDS or RetryElsewhere;

    Scheduling (K 7) free "placing"
        legal [] + NO_GUEST
        next [Building] + NO_GUEST_NEXT
        within 60 SECONDS or RetryOperation;

    BlockDeviceMapping (K 8) free "volumes being prepared"
        legal [] + NO_GUEST
        next [Spawning Scheduling] + NO_GUEST_NEXT
        within 30 MINUTES or RetryElsewhere;

    Networking (K 9) free "ports being prepared"
        legal [] + NO_GUEST
        next [BlockDeviceMapping Scheduling] + NO_GUEST_NEXT
        within 5 MINUTES or RetryElsewhere;

    Spawning (K 10) free "being created on the host"
        legal [ConsoleLog] + NO_GUEST
        next [Active Scheduling] + NO_GUEST_NEXT
        within 30 MINUTES or RetryElsewhere;

    Rebooting (K 11) billed "soft restart accepted"
        legal [HardReboot] + LOOK + SETTINGS + REMOVE + ADMIN
        next [RebootStarted RebootingHard] + ANYWHERE
        within 60 SECONDS or HardReboot;

    RebootStarted (K 12) billed "soft restart under way"
        legal [HardReboot] + LOOK + SETTINGS + REMOVE + ADMIN
        next [RebootingHard] + ANYWHERE
        within 120 SECONDS or HardReboot;

    RebootingHard (K 13) billed "forced restart accepted"
        legal [HardReboot ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [RebootingStartedHard] + ANYWHERE
        within 60 SECONDS or RetryOperation;

    RebootingStartedHard (K 14) billed "forced restart under way"
        legal [HardReboot] + LOOK + SETTINGS + REMOVE + ADMIN
        next [RebootingHard] + ANYWHERE
        within 5 MINUTES or MarkError;

    Shelving (K 15) billed "being ended"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [ShelvedOffloaded Shelved Stopped Paused Suspended] + ANYWHERE
        within 60 MINUTES or RollBack;

    Unshelving (K 16) free "ended instance coming back"
        legal [] + NO_GUEST
        next [Active ShelvedOffloaded Shelved] + NO_GUEST_NEXT
        within 60 MINUTES or RollBack;

    PoweringOff (K 17) billed "stopping"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [Stopped] + ANYWHERE
        within 90 SECONDS or CutPower;

    PoweringOn (K 18) billed "stopped instance restarting"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [Stopped] + ANYWHERE
        within 2 MINUTES or RetryOperation;

    ResizePrep (K 19) free "type change being prepared"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [ResizeMigrating Stopped] + ANYWHERE
        within 5 MINUTES or RollBack;

    ResizeMigrating (K 20) free "moving to the target type"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [ResizeMigrated] + ANYWHERE
        within 60 MINUTES or MarkError;

    ResizeMigrated (K 21) free "move done"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [ResizeFinished] + ANYWHERE
        within 60 SECONDS or RetryOperation;

    ResizeFinished (K 22) free "finishing, going to confirmation"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [Resized] + ANYWHERE
        within 10 MINUTES or MarkError;

    Resized (K 23) free "waiting for confirm or revert"
        legal [ConfirmResize RevertResize SwapVolume TriggerCrashDump] + VOLUMES + LOOK + REMOVE + ADMIN
        next [ResizeConfirm ResizeRevert] + ANYWHERE
        within 24 HOURS or AutoConfirm;

    ResizeConfirm (K 24) free "being made final"
        legal [] + LOOK + REMOVE + ADMIN
        next [Stopped] + ANYWHERE
        within 5 MINUTES or RetryOperation;

    ResizeRevert (K 25) free "being undone"
        legal [ConsoleLog] + REMOVE + ADMIN
        next [Stopped] + ANYWHERE
        within 60 MINUTES or MarkError;

    Deleting (K 26) free "being removed for good"
        legal [Lock Unlock ResetState] + REMOVE
        next [Deleted SoftDeleted Error]
        within 10 MINUTES or DetachFromTenant;

    Rebuilding billed "OS about to be reinstalled"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [RebuildBlockDeviceMapping] + ANYWHERE
        within 5 MINUTES or RetryOperation;

    RebuildBlockDeviceMapping billed "volumes being prepared for the reinstall"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [RebuildSpawning] + ANYWHERE
        within 30 MINUTES or MarkError;

    RebuildSpawning (K 30) billed "OS being reinstalled"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [PoweringOff] + ANYWHERE
        within 30 MINUTES or MarkError;

    Paused billed "processors held, memory kept"
        legal [Unpause HardReboot Shelve LiveMigrate SwapVolume TriggerCrashDump]
            + CAPTURE + VOLUMES + INTERFACES + LOOK + SETTINGS + REMOVE + ADMIN
        next [Stopped Unpausing RebootingHard Shelving Migrating ImageSnapshotPending ImageBackup] + ANYWHERE;

    Pausing billed "processors being held"
        legal [HardReboot] + LOOK + SETTINGS + REMOVE + ADMIN
        next [Paused RebootingHard Stopped] + ANYWHERE
        within 60 SECONDS or RollBack;

    Unpausing billed "processors being let go"
        legal [HardReboot] + LOOK + SETTINGS + REMOVE + ADMIN
        next [Paused RebootingHard Stopped] + ANYWHERE
        within 60 SECONDS or RollBack;

    Suspended billed "memory saved to disk, host still held"
        legal [Resume HardReboot Shelve ConsoleLog] + CAPTURE + SETTINGS + REMOVE + ADMIN
        next [Resuming RebootingHard Shelving ImageSnapshotPending ImageBackup] + ANYWHERE;

    Suspending billed "memory being saved"
        legal [HardReboot] + LOOK + SETTINGS + REMOVE + ADMIN
        next [Suspended RebootingHard Stopped] + ANYWHERE
        within 10 MINUTES or RollBack;

    Resuming billed "memory being loaded"
        legal [HardReboot ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [Suspended RebootingHard] + ANYWHERE
        within 10 MINUTES or RollBack;

    Rescued billed "running the rescue image, its own disk beside it"
        legal [Unrescue TriggerCrashDump] + LOOK + REMOVE + ADMIN
        next [Unrescuing] + ANYWHERE;

    Rescuing billed "rescue image being started"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [Rescued] + ANYWHERE
        within 10 MINUTES or MarkError;

    Unrescuing billed "own disk being started again"
        legal [ConsoleLog] + REMOVE + ADMIN
        next [] + ANYWHERE
        within 10 MINUTES or MarkError;

    Shelved billed "image taken, host not yet given back"
        legal [Unshelve ShelveOffload ConsoleLog] + VOLUMES + REMOVE + ADMIN
        next [Unshelving Shelving] + ANYWHERE
        within 60 MINUTES or Offload;

    Migrating billed "moving to another host while it runs"
        legal [AbortLiveMigration ForceCompleteLiveMigration ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [Paused Stopped] + ANYWHERE
        within 60 MINUTES or RollBack;

    ImageSnapshotPending billed "image capture accepted"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [ImageSnapshot] + CAPTURED + ANYWHERE
        within 5 MINUTES or RollBack;

    ImageSnapshot billed "disk being frozen for the image"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [ImagePendingUpload] + CAPTURED + ANYWHERE
        within 10 MINUTES or RollBack;

    ImagePendingUpload billed "image made, upload about to begin"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [ImageUploading] + CAPTURED + ANYWHERE
        within 5 MINUTES or RollBack;

    ImageUploading billed "image being stored"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [] + CAPTURED + ANYWHERE
        within 60 MINUTES or RollBack;

    ImageBackup billed "backup image being made"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [ImagePendingUpload] + CAPTURED + ANYWHERE
        within 60 MINUTES or RollBack;

    UpdatingPassword billed "password being set in the guest"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [Stopped] + ANYWHERE
        within 60 SECONDS or RollBack;

    SoftDeleted free "removed, can still be restored"
        legal [Restore] + VOLUMES + NO_GUEST
        next [Restoring] + NO_GUEST_NEXT
        within 24 HOURS or Reclaim;

    Restoring free "removal being undone"
        legal [ResetState Lock Unlock] + REMOVE
        next [Active SoftDeleted] + NO_GUEST_NEXT
        within 5 MINUTES or RollBack;

    Deleted free "gone"
        legal []
        next [];
}
