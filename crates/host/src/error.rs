//! Why a host refused or failed. Plain data: it crosses the wire to the control plane and ends as an instance fault.

use crate::spec::DiskFormat;
use corten_model::error_text;
use corten_model::ids::{InstanceId, OperationId};
use corten_network::daemons::MachineError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum HostError {
    #[error(
        "guest {id} has seen epoch {seen}: the task of operation {operation} at epoch {epoch} comes from a worker that \
         lost its lease or from an operation that was replaced"
    )]
    Fenced {
        id: InstanceId,
        operation: OperationId,
        epoch: i64,
        seen: i64,
    },

    #[error("guest {id} is not on this host")]
    NoSuchGuest { id: InstanceId },

    /// The guest's state does not allow the task.
    #[error("guest {id} is {state}: {rule}")]
    WrongState {
        id: InstanceId,
        state: String,
        rule: String,
    },

    #[error("image {sha512} is not in the host's cache: ensure it first")]
    ImageNotCached { sha512: String },

    #[error("image {sha512} is in use by guest {id}: delete or rebuild the guest first")]
    ImageInUse { sha512: String, id: InstanceId },

    #[error("image file {} has SHA-512 {actual}, but {expected} was promised: upload it again", path.display())]
    WrongChecksum {
        path: PathBuf,
        expected: String,
        actual: String,
    },

    #[error("image file {} is refused: {reason}", path.display())]
    ImageRefused { path: PathBuf, reason: String },

    #[error(
        "the root disk of {root_gib} GiB is smaller than its image, which needs {needed_bytes} bytes"
    )]
    RootDiskTooSmall { root_gib: u64, needed_bytes: u64 },

    /// `needed` is unknown when the disk filled up in the middle of a write.
    #[error(
        "no room for {}: {} bytes are needed, {available} are available; free some space and try again",
        path.display(), needed.map_or_else(|| "more".to_owned(), |needed| needed.to_string())
    )]
    DiskFull {
        path: PathBuf,
        needed: Option<u64>,
        available: u64,
    },

    /// The spec names something that does not exist or cannot be.
    #[error("{field} '{value}' is not possible: {rule}")]
    InvalidSpec {
        field: String,
        value: String,
        rule: String,
    },

    #[error("a {format} image cannot be made by a snapshot: use raw or qcow2")]
    UnsupportedSnapshotFormat { format: DiskFormat },

    #[error("{program} is not installed: install the Debian package {package}")]
    ProgramMissing { program: String, package: String },

    #[error("{program} failed ({status}): {output}")]
    ProgramFailed {
        program: String,
        status: String,
        output: String,
    },

    /// QEMU ended before the guest could run.
    #[error("QEMU ended at start ({status}): {output}")]
    DiedAtStart {
        id: InstanceId,
        status: String,
        output: String,
    },

    #[error("guest {id} did not {what} within {secs} s")]
    TimedOut {
        id: InstanceId,
        what: String,
        secs: u64,
    },

    #[error("QEMU refused '{command}' for guest {id}: {reason}")]
    Qmp {
        id: InstanceId,
        command: String,
        reason: String,
    },

    #[error("cannot {doing} {}: {reason}", path.display())]
    Io {
        doing: String,
        path: PathBuf,
        reason: String,
    },

    /// The host's switch did not do its part.
    #[error("the host's switch: {reason}")]
    Switch { reason: String, transient: bool },

    /// The host's agent did not answer; whether it does the task is not known.
    #[error("the host is not reached: {reason}")]
    Away { reason: String },

    #[error("{doing}: the task was broken off inside the host: {reason}")]
    Internal { doing: String, reason: String },
}

impl HostError {
    /// Would the same task have a chance if it were given again later?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::DiskFull { .. }
            | Self::TimedOut { .. }
            | Self::Away { .. }
            | Self::Io { .. }
            | Self::Internal { .. } => true,
            Self::Switch { transient, .. } => *transient,
            Self::DiedAtStart { .. } | Self::Qmp { .. } | Self::ProgramFailed { .. } => true,
            Self::Fenced { .. }
            | Self::NoSuchGuest { .. }
            | Self::WrongState { .. }
            | Self::ImageNotCached { .. }
            | Self::ImageInUse { .. }
            | Self::WrongChecksum { .. }
            | Self::ImageRefused { .. }
            | Self::RootDiskTooSmall { .. }
            | Self::InvalidSpec { .. }
            | Self::UnsupportedSnapshotFormat { .. }
            | Self::ProgramMissing { .. } => false,
        }
    }

    /// For `map_err`: an I/O error while doing something to a path; a full disk becomes [`HostError::DiskFull`].
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.to_owned(),
                needed: None,
                available: crate::files::available_bytes(path).unwrap_or(0),
            },
            _ => Self::Io {
                doing: doing.to_owned(),
                path: path.to_owned(),
                reason: error.to_string(),
            },
        }
    }
}

impl From<MachineError> for HostError {
    fn from(error: MachineError) -> Self {
        Self::Switch {
            reason: error_text(&error),
            transient: error.is_transient(),
        }
    }
}
