//! The life cycle of a volume: Cinder's 22 statuses, folded for people into the 11 states K76–K86.
//!
//! Read it as a table, top to bottom, like those of instances. Rows and the block-storage API hold the status; the
//! native API and the console show the fold.

use super::table::{Row, life_table};
use super::words::word_enum;
use std::fmt;

word_enum! {
    /// `status` of a volume, by Cinder's word.
    pub enum VolumeStatus: "volume status" {
        Creating = "creating",
        Downloading = "downloading",
        RestoringBackup = "restoring-backup",
        Managing = "managing",
        Available = "available",
        AwaitingTransfer = "awaiting-transfer",
        Maintenance = "maintenance",
        Retyping = "retyping",
        Reserved = "reserved",
        Attaching = "attaching",
        InUse = "in-use",
        Detaching = "detaching",
        Extending = "extending",
        BackingUp = "backing-up",
        Uploading = "uploading",
        Deleting = "deleting",
        Error = "error",
        ErrorDeleting = "error_deleting",
        ErrorExtending = "error_extending",
        ErrorRestoring = "error_restoring",
        ErrorBackingUp = "error_backing-up",
        ErrorManaging = "error_managing",
    }
}

word_enum! {
    /// What people are shown of a volume: K76–K86.
    pub enum VolumeDisplay: "volume state" {
        Creating = "Creating",
        Available = "Available",
        InUse = "In-use",
        Reserved = "Reserved",
        Attaching = "Attaching",
        Detaching = "Detaching",
        Extending = "Extending",
        BackingUp = "Backing-Up",
        Uploading = "Uploading",
        Deleting = "Deleting",
        Error = "Error",
    }
}

word_enum! {
    /// What can be asked of a volume.
    pub enum VolumeCommand: "volume command" {
        Reserve = "reserve",
        Unreserve = "unreserve",
        Attach = "attach",
        Detach = "detach",
        RollDetaching = "keep attached",
        Extend = "extend",
        Snapshot = "snapshot",
        Revert = "revert to snapshot",
        Backup = "backup",
        RestoreBackup = "restore backup",
        Upload = "upload to image",
        Retype = "retype",
        Migrate = "migrate",
        Transfer = "transfer",
        AcceptTransfer = "accept transfer",
        CancelTransfer = "cancel transfer",
        Update = "update",
        SetBootable = "set bootable",
        Unmanage = "unmanage",
        Delete = "delete",
        ForceDelete = "force delete",
        ResetStatus = "reset status",
    }
}

type VolumeRow = Row<VolumeStatus, VolumeCommand>;

/// In every status: its description can change, and the administrator can declare another status or remove it.
const ALWAYS: &[VolumeCommand] = &[
    VolumeCommand::Update,
    VolumeCommand::ForceDelete,
    VolumeCommand::ResetStatus,
];

/// What the administrator may declare, from any status. Not among the next states: nothing but a person does it.
pub const RESET_TARGETS: &[VolumeStatus] = &[
    VolumeStatus::Available,
    VolumeStatus::InUse,
    VolumeStatus::Error,
];

life_table! {
    /// The statuses of a volume.
    pub const TABLE: VolumeStatus, VolumeCommand;

    Creating (K 76) free "being made"
        legal [] + ALWAYS
        next [Downloading Available Error Deleting]
        within 10 MINUTES or MarkError;

    Downloading free "being filled from an image"
        legal [] + ALWAYS
        next [Available Error Deleting]
        within 60 MINUTES or MarkError;

    RestoringBackup free "being filled from a backup"
        legal [] + ALWAYS
        next [Available ErrorRestoring Deleting]
        within 24 HOURS or MarkError;

    Managing free "existing data being taken over"
        legal [] + ALWAYS
        next [Available ErrorManaging Deleting]
        within 10 MINUTES or MarkError;

    Available (K 77) billed "usable, unattached"
        legal [Reserve Attach Extend Snapshot Revert Backup RestoreBackup Upload Retype Migrate Transfer SetBootable
               Unmanage Delete] + ALWAYS
        next [Reserved Attaching Extending BackingUp RestoringBackup Uploading Retyping Maintenance
              AwaitingTransfer Deleting];

    AwaitingTransfer billed "offered to another project"
        legal [AcceptTransfer CancelTransfer] + ALWAYS
        next [Available Deleting];

    Maintenance billed "being moved to another back end"
        legal [] + ALWAYS
        next [Available InUse Deleting]
        within 24 HOURS or RollBack;

    Retyping billed "being changed to another type"
        legal [] + ALWAYS
        next [Available InUse Deleting]
        within 24 HOURS or RollBack;

    InUse (K 78) billed "attached to an instance that is there, running or stopped"
        legal [Reserve Attach Detach Extend Snapshot Backup Upload Retype Migrate SetBootable] + ALWAYS
        next [Reserved Attaching Detaching Extending BackingUp Uploading Retyping Maintenance Deleting];

    Reserved (K 79) billed "attached to a shelved instance, or promised to one that is about to attach it"
        legal [Attach Unreserve Detach Snapshot] + ALWAYS
        next [Attaching Detaching Available InUse Deleting];

    Attaching (K 80) billed "being attached"
        legal [Unreserve] + ALWAYS
        next [InUse Available Deleting]
        within 5 MINUTES or RollBack;

    Detaching (K 81) billed "being detached"
        legal [RollDetaching] + ALWAYS
        next [Available InUse Deleting]
        within 5 MINUTES or RollBack;

    Extending (K 82) billed "growing"
        legal [] + ALWAYS
        next [Available InUse ErrorExtending Deleting]
        within 10 MINUTES or MarkError;

    BackingUp (K 83) billed "being backed up"
        legal [] + ALWAYS
        next [Available InUse ErrorBackingUp Deleting]
        within 24 HOURS or RollBack;

    Uploading (K 84) billed "being saved as an image"
        legal [] + ALWAYS
        next [Available InUse Deleting]
        within 4 HOURS or RollBack;

    Deleting (K 85) free "being deleted"
        legal [ResetStatus]
        next [ErrorDeleting]
        within 30 MINUTES or DetachFromTenant;

    Error (K 86) free "unusable"
        legal [Delete] + ALWAYS
        next [Deleting]
        within 24 HOURS or CallOperator;

    ErrorDeleting free "could not be deleted"
        legal [Delete] + ALWAYS
        next [Deleting]
        within 24 HOURS or CallOperator;

    ErrorExtending free "could not grow"
        legal [Delete] + ALWAYS
        next [Deleting]
        within 24 HOURS or CallOperator;

    ErrorRestoring free "could not be filled from its backup"
        legal [RestoreBackup Delete] + ALWAYS
        next [RestoringBackup Deleting]
        within 24 HOURS or CallOperator;

    ErrorBackingUp free "could not be backed up"
        legal [Delete] + ALWAYS
        next [Deleting]
        within 24 HOURS or CallOperator;

    ErrorManaging free "could not be taken over"
        legal [Unmanage Delete] + ALWAYS
        next [Deleting]
        within 24 HOURS or CallOperator;
}

/// What the fold of a status has to know besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VolumeContext {
    /// Some instance has it.
    pub attached: bool,
    /// The instance that holds it is shelved and offloaded (K62).
    pub holder_offloaded: bool,
    /// A snapshot of it is being made (K64); Cinder's status does not tell.
    pub snapshotting: bool,
}

impl VolumeStatus {
    /// The row of the table.
    pub fn row(self) -> Option<&'static VolumeRow> {
        TABLE.iter().find(|row| row.state == self)
    }

    /// What people are shown. Total.
    pub fn display(self, context: VolumeContext) -> VolumeDisplay {
        let at_rest = if context.attached {
            VolumeDisplay::InUse
        } else {
            VolumeDisplay::Available
        };
        match self {
            Self::Available | Self::InUse if context.snapshotting => VolumeDisplay::BackingUp,
            Self::Creating | Self::Downloading | Self::RestoringBackup | Self::Managing => {
                VolumeDisplay::Creating
            }
            Self::Available | Self::AwaitingTransfer => VolumeDisplay::Available,
            Self::Maintenance | Self::Retyping => at_rest,
            Self::InUse => VolumeDisplay::InUse,
            // An attachment passes through `reserved` too; people call only the shelved case so.
            Self::Reserved if !context.holder_offloaded => VolumeDisplay::Attaching,
            Self::Reserved => VolumeDisplay::Reserved,
            Self::Attaching => VolumeDisplay::Attaching,
            Self::Detaching => VolumeDisplay::Detaching,
            Self::Extending => VolumeDisplay::Extending,
            Self::BackingUp => VolumeDisplay::BackingUp,
            Self::Uploading => VolumeDisplay::Uploading,
            Self::Deleting => VolumeDisplay::Deleting,
            Self::Error
            | Self::ErrorDeleting
            | Self::ErrorExtending
            | Self::ErrorRestoring
            | Self::ErrorBackingUp
            | Self::ErrorManaging => VolumeDisplay::Error,
        }
    }

    /// A status in a filter of the native API: Cinder's word, or `active`, the older name of `available` (K51).
    pub fn from_filter(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("active") {
            return Some(Self::Available);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
    }
}

/// A command that the volume's status forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IllegalVolumeCommand {
    pub command: VolumeCommand,
    pub status: VolumeStatus,
    /// The statuses from which it is legal.
    pub from: Vec<VolumeStatus>,
    /// What is legal now.
    pub legal: Vec<VolumeCommand>,
}

impl fmt::Display for IllegalVolumeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from: Vec<_> = self.from.iter().map(|status| status.as_str()).collect();
        let legal: Vec<_> = self.legal.iter().map(|command| command.as_str()).collect();
        write!(
            f,
            "Invalid volume: Volume status must be {} to {}, but current status is: {}. Legal now: {}.",
            from.join(" or "),
            self.command,
            self.status,
            legal.join(", ")
        )
    }
}

impl std::error::Error for IllegalVolumeCommand {}

/// Decides a command: the status from the moment of acceptance on.
pub fn decide(
    status: VolumeStatus,
    command: VolumeCommand,
) -> Result<VolumeStatus, IllegalVolumeCommand> {
    let row = status.row();
    if row.is_some_and(|row| row.allows(command)) {
        return Ok(first_status(command).unwrap_or(status));
    }
    Err(IllegalVolumeCommand {
        command,
        status,
        from: TABLE
            .iter()
            .filter(|row| row.allows(command))
            .map(|row| row.state)
            .collect(),
        legal: row.into_iter().flat_map(|row| row.legal()).collect(),
    })
}

fn first_status(command: VolumeCommand) -> Option<VolumeStatus> {
    Some(match command {
        VolumeCommand::Reserve => VolumeStatus::Reserved,
        VolumeCommand::Attach => VolumeStatus::Attaching,
        VolumeCommand::Detach => VolumeStatus::Detaching,
        VolumeCommand::Extend => VolumeStatus::Extending,
        VolumeCommand::Backup => VolumeStatus::BackingUp,
        VolumeCommand::RestoreBackup => VolumeStatus::RestoringBackup,
        VolumeCommand::Upload => VolumeStatus::Uploading,
        VolumeCommand::Retype => VolumeStatus::Retyping,
        VolumeCommand::Migrate | VolumeCommand::Revert => VolumeStatus::Maintenance,
        VolumeCommand::Transfer => VolumeStatus::AwaitingTransfer,
        VolumeCommand::AcceptTransfer | VolumeCommand::CancelTransfer => VolumeStatus::Available,
        VolumeCommand::Delete | VolumeCommand::ForceDelete | VolumeCommand::Unmanage => {
            VolumeStatus::Deleting
        }
        VolumeCommand::RollDetaching => VolumeStatus::InUse,
        // Back to `available` or, with other attachments, `in-use`: the caller counts them.
        VolumeCommand::Unreserve
        | VolumeCommand::Snapshot
        | VolumeCommand::Update
        | VolumeCommand::SetBootable
        | VolumeCommand::ResetStatus => return None,
    })
}

/// The status at the end of what was accepted; `None` when the volume is gone. `attached` is as it is at that moment.
pub fn settle(status: VolumeStatus, attached: bool, succeeded: bool) -> Option<VolumeStatus> {
    use VolumeStatus as V;
    let at_rest = if attached { V::InUse } else { V::Available };
    Some(match (status, succeeded) {
        (V::Deleting, true) => return None,
        (V::Deleting, false) => V::ErrorDeleting,
        (V::Creating | V::Downloading, false) => V::Error,
        (V::RestoringBackup, false) => V::ErrorRestoring,
        (V::Managing, false) => V::ErrorManaging,
        (V::Extending, false) => V::ErrorExtending,
        (V::BackingUp, false) => V::ErrorBackingUp,
        (V::Creating | V::Downloading | V::RestoringBackup | V::Managing, true) => V::Available,
        (
            V::Attaching
            | V::Detaching
            | V::Extending
            | V::BackingUp
            | V::Uploading
            | V::Retyping
            | V::Maintenance
            | V::Reserved,
            _,
        ) => at_rest,
        (
            V::Available
            | V::AwaitingTransfer
            | V::InUse
            | V::Error
            | V::ErrorDeleting
            | V::ErrorExtending
            | V::ErrorRestoring
            | V::ErrorBackingUp
            | V::ErrorManaging,
            _,
        ) => status,
    })
}
