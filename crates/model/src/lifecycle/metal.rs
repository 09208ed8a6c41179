//! The life cycle of a bare-metal instance: K27–K36, the shelve states of ruling K53, and rescue.
//!
//! Read it as a table, top to bottom, like that of virtual machines. What metal cannot do is not listed; the refusal
//! names the capability it lacks (`Command::metal_lacks`). Budgets are those of a server that boots through firmware.

use super::command::Command;
use super::display::Display;
use super::node::ProvisionState;
use super::table::life_table;

const REMOVE: &[Command] = &[Command::Delete, Command::ForceDelete, Command::SoftDelete];
const ADMIN: &[Command] = &[
    Command::Lock,
    Command::Unlock,
    Command::ResetState,
    Command::ResetStateActive,
];

/// All that can be done with what holds no server, or none yet.
const NO_GUEST: &[Command] = &[
    Command::Delete,
    Command::ForceDelete,
    Command::Lock,
    Command::Unlock,
    Command::ResetState,
];

const SETTINGS: &[Command] = &[
    Command::UpdateMetadata,
    Command::DeleteMetadata,
    Command::UpdateTags,
];

/// The console is the serial line of the server; it can be read in every state that holds one.
const LOOK: &[Command] = &[Command::ConsoleLog, Command::RemoteConsole];

const INTERFACES: &[Command] = &[Command::AttachInterface, Command::DetachInterface];

/// From every state: it breaks, or it is removed, or (where a server is held) the administrator declares it sound.
const ANYWHERE: &[Display] = &[Display::Error, Display::Deleting, Display::Active];
const NO_GUEST_NEXT: &[Display] = &[Display::Error, Display::Deleting];

life_table! {
    /// The states of a bare-metal instance.
    pub const TABLE: Display, Command;

    Spawning (K 27) free "being created"
        legal [ConsoleLog] + NO_GUEST
        next [Active] + NO_GUEST_NEXT
        within 60 MINUTES or RetryElsewhere;

    Active (K 28) billed "running"
        legal [Stop HardReboot Rebuild Shelve Rescue TriggerCrashDump] + INTERFACES + LOOK + SETTINGS + REMOVE + ADMIN
        next [Stopped PoweringOff RebootingHard RebuildSpawning Shelving Rescuing] + ANYWHERE;

    Stopped (K 29) billed "off, server still held"
        legal [Start HardReboot Rebuild Shelve Rescue] + INTERFACES + LOOK + SETTINGS + REMOVE + ADMIN
        next [PoweringOn RebootingHard RebuildSpawning Shelving Rescuing] + ANYWHERE;

    RebuildSpawning (K 30) billed "OS being reinstalled"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [PoweringOff] + ANYWHERE
        within 60 MINUTES or MarkError;

    RebootingHard (K 31) billed "forced restart accepted"
        legal [HardReboot] + LOOK + SETTINGS + REMOVE + ADMIN
        next [RebootingStartedHard] + ANYWHERE
        within 60 SECONDS or RetryOperation;

    RebootingStartedHard (K 32) billed "forced restart under way"
        legal [HardReboot] + LOOK + SETTINGS + REMOVE + ADMIN
        next [RebootingHard] + ANYWHERE
        within 15 MINUTES or MarkError;

    PoweringOff (K 33) billed "stopping"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [Stopped] + ANYWHERE
        within 11 MINUTES or CutPower;

    PoweringOn (K 34) billed "restarting"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [Stopped] + ANYWHERE
        within 5 MINUTES or RetryOperation;

    Error (K 35) free "broken, unusable"
        legal [Stop HardReboot Rebuild Rescue] + LOOK + REMOVE + ADMIN
        next [PoweringOff RebootingHard RebuildSpawning Rescuing] + ANYWHERE
        within 24 HOURS or CallOperator;

    Deleting (K 36) free "being removed for good"
        legal [Lock Unlock ResetState] + REMOVE
        next [Deleted SoftDeleted Error]
        within 30 MINUTES or DetachFromTenant;

    Shelving (K 53) billed "being ended, root disk kept"
        legal [ConsoleLog] + SETTINGS + REMOVE + ADMIN
        next [ShelvedOffloaded Shelved Stopped] + ANYWHERE
        within 4 HOURS or RollBack;

    Shelved billed "root disk kept, server not yet given back"
        legal [Unshelve ShelveOffload ConsoleLog] + REMOVE + ADMIN
        next [Unshelving Shelving] + ANYWHERE
        within 60 MINUTES or Offload;

    ShelvedOffloaded (K 53) free "ended, server given back"
        legal [Unshelve] + NO_GUEST
        next [Unshelving] + NO_GUEST_NEXT;

    Unshelving (K 53) free "ended instance coming back on a server"
        legal [ConsoleLog] + NO_GUEST
        next [Active ShelvedOffloaded Shelved] + NO_GUEST_NEXT
        within 4 HOURS or RollBack;

    Rescuing billed "rescue system being booted"
        legal [] + LOOK + SETTINGS + REMOVE + ADMIN
        next [Rescued] + ANYWHERE
        within 30 MINUTES or MarkError;

    Rescued billed "running the rescue system"
        legal [Unrescue] + LOOK + REMOVE + ADMIN
        next [Unrescuing] + ANYWHERE;

    Unrescuing billed "own system being booted again"
        legal [] + LOOK + REMOVE + ADMIN
        next [] + ANYWHERE
        within 30 MINUTES or MarkError;

    SoftDeleted free "removed, can still be restored"
        legal [Restore] + NO_GUEST
        next [Restoring] + NO_GUEST_NEXT
        within 24 HOURS or Reclaim;

    Restoring free "removal being undone"
        legal [Lock Unlock ResetState] + REMOVE
        next [Active SoftDeleted] + NO_GUEST_NEXT
        within 15 MINUTES or RollBack;

    Deleted free "gone"
        legal []
        next [];
}

/// The provision states that the server under an instance can be in (B2). An instance that is off or gone may have
/// none.
pub fn node_states(state: Display) -> &'static [ProvisionState] {
    use ProvisionState as P;
    match state {
        Display::Spawning | Display::Unshelving => {
            &[P::Available, P::Deploying, P::WaitCallBack, P::DeployHold]
        }
        Display::RebuildSpawning => &[P::Deploying, P::WaitCallBack, P::DeployHold],
        Display::Rescuing => &[P::Rescuing, P::RescueWait],
        Display::Rescued => &[P::Rescue],
        Display::Unrescuing => &[P::Unrescuing],
        Display::Error => &[
            P::DeployFailed,
            P::RescueFailed,
            P::UnrescueFailed,
            P::ServiceFailed,
            P::Error,
        ],
        Display::Deleting => &[P::Deleting, P::Cleaning, P::CleanWait],
        Display::ShelvedOffloaded | Display::Deleted => &[],
        _ => &[P::Active, P::Servicing, P::ServiceWait, P::ServiceHold],
    }
}
