//! The life cycle of an image, by Glance's words.
//!
//! Read it as a table, top to bottom. The bytes of an image never change once it is active; what fails on the way
//! there goes back to `queued`, so that the upload can be tried again.

use super::table::{Row, life_table};
use super::words::word_enum;
use std::fmt;

word_enum! {
    /// `status` of an image.
    pub enum ImageStatus: "image status" {
        Queued = "queued",
        Saving = "saving",
        Uploading = "uploading",
        Importing = "importing",
        Active = "active",
        Deactivated = "deactivated",
        Killed = "killed",
        PendingDelete = "pending_delete",
        Deleted = "deleted",
    }
}

word_enum! {
    /// What can be asked of an image.
    pub enum ImageCommand: "image command" {
        Upload = "upload",
        Stage = "stage",
        /// `glance-direct`: import what was staged.
        ImportStaged = "import staged data",
        /// `web-download`, `copy-image` and the like: import from elsewhere.
        ImportRemote = "import from elsewhere",
        Download = "download",
        Update = "update",
        Share = "share",
        Deactivate = "deactivate",
        Reactivate = "reactivate",
        Delete = "delete",
    }
}

const DESCRIBE: &[ImageCommand] = &[
    ImageCommand::Update,
    ImageCommand::Share,
    ImageCommand::Delete,
];

life_table! {
    /// The statuses of an image.
    pub const TABLE: ImageStatus, ImageCommand;

    Queued free "described, no data yet"
        legal [Upload Stage ImportRemote] + DESCRIBE
        next [Saving Uploading Importing Active Deleted];

    Saving free "data being received"
        legal [] + DESCRIBE
        next [Active Queued Killed Deleted]
        within 24 HOURS or RollBack;

    Uploading free "data staged for an import"
        legal [ImportStaged] + DESCRIBE
        next [Importing Queued Deleted]
        within 24 HOURS or RollBack;

    Importing free "data being brought in"
        legal [] + DESCRIBE
        next [Active Queued Deleted]
        within 24 HOURS or RollBack;

    Active billed "complete, can be used"
        legal [Download Deactivate Reactivate ImportRemote] + DESCRIBE
        next [Deactivated PendingDelete Deleted];

    Deactivated billed "complete, use forbidden except to the administrator"
        legal [Deactivate Reactivate] + DESCRIBE
        next [Active Deleted];

    Killed free "data damaged on the way; only in records of old clouds"
        legal [Delete]
        next [Deleted]
        within 24 HOURS or Reclaim;

    PendingDelete billed "removed, data still kept"
        legal [Delete]
        next [Active Deleted]
        within 24 HOURS or Reclaim;

    Deleted free "gone"
        legal []
        next [];
}

impl ImageStatus {
    /// The row of the table.
    pub fn row(self) -> Option<&'static Row<ImageStatus, ImageCommand>> {
        TABLE.iter().find(|row| row.state == self)
    }

    /// Whether an image may go from here to `next`.
    pub fn may_become(self, next: ImageStatus) -> bool {
        self.row().is_some_and(|row| row.may_become(next))
    }
}

/// A command that the image's status forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IllegalImageCommand {
    pub command: ImageCommand,
    pub status: ImageStatus,
    pub legal: Vec<ImageCommand>,
}

impl fmt::Display for IllegalImageCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            command,
            status,
            legal,
        } = self;
        if legal.is_empty() {
            return write!(
                f,
                "Not allowed to {command} image in status '{status}': the image is gone."
            );
        }
        let legal: Vec<_> = legal.iter().map(|command| command.as_str()).collect();
        write!(
            f,
            "Not allowed to {command} image in status '{status}'. Legal now: {}.",
            legal.join(", ")
        )
    }
}

impl std::error::Error for IllegalImageCommand {}

/// Decides a command: the status from the moment of acceptance on. To deactivate what is deactivated, or reactivate
/// what is active, changes nothing and is no error.
pub fn decide(
    status: ImageStatus,
    command: ImageCommand,
) -> Result<ImageStatus, IllegalImageCommand> {
    let row = status.row();
    if !row.is_some_and(|row| row.allows(command)) {
        let legal = row.into_iter().flat_map(|row| row.legal()).collect();
        return Err(IllegalImageCommand {
            command,
            status,
            legal,
        });
    }
    Ok(match command {
        ImageCommand::Upload => ImageStatus::Saving,
        ImageCommand::Stage => ImageStatus::Uploading,
        ImageCommand::ImportStaged => ImageStatus::Importing,
        // More copies of a complete image are made beside its status.
        ImageCommand::ImportRemote if status == ImageStatus::Queued => ImageStatus::Importing,
        ImageCommand::Deactivate => ImageStatus::Deactivated,
        ImageCommand::Reactivate => ImageStatus::Active,
        ImageCommand::Delete => ImageStatus::Deleted,
        ImageCommand::ImportRemote
        | ImageCommand::Download
        | ImageCommand::Update
        | ImageCommand::Share => status,
    })
}

/// The status when a transfer of data ends.
pub fn settle(status: ImageStatus, succeeded: bool) -> ImageStatus {
    match (status, succeeded) {
        (ImageStatus::Saving | ImageStatus::Importing, true) => ImageStatus::Active,
        // The data is staged; the import is a command of its own.
        (ImageStatus::Uploading, true) => ImageStatus::Uploading,
        (ImageStatus::Saving | ImageStatus::Uploading | ImageStatus::Importing, false) => {
            ImageStatus::Queued
        }
        (
            ImageStatus::Queued
            | ImageStatus::Active
            | ImageStatus::Deactivated
            | ImageStatus::Killed
            | ImageStatus::PendingDelete
            | ImageStatus::Deleted,
            _,
        ) => status,
    }
}
