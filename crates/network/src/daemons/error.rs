//! Why something could not be done on this machine for its networks.

use crate::error::NetworkError;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    #[error("{program} is not installed: install the Debian package {package}")]
    ProgramMissing { program: String, package: String },

    #[error("{program} failed ({status}): {output}")]
    ProgramFailed {
        program: String,
        status: String,
        output: String,
    },

    #[error("cannot {doing} {}: {reason}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        reason: String,
    },

    #[error("{what} did not {doing} within {secs} s")]
    TimedOut {
        what: String,
        doing: &'static str,
        secs: u64,
    },

    /// One network namespace holds one Open vSwitch.
    #[error(
        "another Open vSwitch runs in {namespace}: stop it, or give this cloud's switch a network namespace of its own"
    )]
    ForeignSwitch { namespace: String },

    #[error("{field} '{value}' is not possible: {rule}")]
    Invalid {
        field: &'static str,
        value: String,
        rule: String,
    },

    #[error("the host's switch could not be configured")]
    Database(#[from] NetworkError),
}

impl MachineError {
    /// Whether the same may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::ProgramFailed { .. } | Self::Io { .. } | Self::TimedOut { .. } => true,
            Self::Database(error) => error.is_transient(),
            Self::ProgramMissing { .. } | Self::ForeignSwitch { .. } | Self::Invalid { .. } => {
                false
            }
        }
    }

    /// For `map_err`: an I/O error while doing something to a path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io {
            doing,
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}
