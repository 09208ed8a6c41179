//! Why a BMC did not do, or tell, what it was asked.

use crate::capability::Capability;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BmcError {
    #[error("{bmc} cannot be reached: {reason}")]
    Unreachable { bmc: String, reason: String },

    /// It may have been done all the same: look before asking again.
    #[error("{bmc} did not answer {request} within {} s", limit.as_secs_f32())]
    TimedOut {
        bmc: String,
        request: String,
        limit: Duration,
    },

    /// One connection is kept for questions.
    #[error(
        "no stream of {bmc} is opened: it gets at most {connections} connections, and streams have what they may of those"
    )]
    NoConnectionLeft { bmc: String, connections: usize },

    /// It is reached and asks to be left alone.
    #[error("{bmc} is too busy for {request}{}; ask again later", after.map(|after| format!(" for {} s", after.as_secs())).unwrap_or_default())]
    Busy {
        bmc: String,
        request: String,
        /// What the BMC asked for.
        after: Option<Duration>,
    },

    /// Not tried again: BMCs lock accounts after a few wrong passwords.
    #[error(
        "{bmc} does not let {username:?} in; set the right user and password, and check that the account is enabled and not locked"
    )]
    LoginRefused { bmc: String, username: String },

    #[error(
        "{bmc} lets {username:?} in, but not do {request}; give the account the role of an administrator"
    )]
    NotAllowed {
        bmc: String,
        username: String,
        request: String,
    },

    #[error(
        "the certificate of {bmc} is not trusted: {reason}; give the authority that signed it, or pin it"
    )]
    Untrusted { bmc: String, reason: String },

    /// It understood and said no.
    #[error("{bmc} refused {request}{}: {message}", shown(*status))]
    Refused {
        bmc: String,
        request: String,
        /// HTTP's; IPMI has words only.
        status: Option<u16>,
        message: String,
    },

    /// It failed at its end.
    #[error("{bmc} failed at {request}{}: {message}", shown(*status))]
    Failed {
        bmc: String,
        request: String,
        status: Option<u16>,
        message: String,
    },

    /// The one thing asked for is not in the answer.
    #[error(
        "{bmc} answered {request} with what is not understood: expected {expected}, found {found}"
    )]
    Odd {
        bmc: String,
        request: String,
        expected: String,
        found: String,
    },

    #[error("{bmc} has no {capability}; {}", capability.instead())]
    Lacks { bmc: String, capability: Capability },

    /// It said yes and did not.
    #[error(
        "{bmc} took {what} {asked:?} but shows {seen:?}; look at the BMC's own event log, and reset the BMC if it stays so"
    )]
    NotAsAsked {
        bmc: String,
        what: &'static str,
        asked: String,
        seen: String,
    },

    #[error("{bmc} ended {task} as {state}: {message}")]
    TaskFailed {
        bmc: String,
        task: String,
        state: String,
        message: String,
    },

    /// The image is at fault, so it would be on any server of the kind.
    #[error("{bmc} cannot use the image: {message}")]
    ImageUnfit { bmc: String, message: String },

    /// Refused before anything was sent.
    #[error("{rule}, but {value:?} was given; {fix}")]
    Invalid {
        rule: &'static str,
        value: String,
        fix: String,
    },

    #[error("{program} cannot be run: {reason}; install the Debian package {package}")]
    ProgramMissing {
        program: &'static str,
        reason: String,
        package: &'static str,
    },
}

fn shown(status: Option<u16>) -> String {
    status
        .map(|status| format!(" (status {status})"))
        .unwrap_or_default()
}

impl BmcError {
    /// Whether the same may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Busy { .. }
            | Self::NoConnectionLeft { .. }
            | Self::Failed { .. }
            | Self::Odd { .. }
            | Self::NotAsAsked { .. } => true,
            Self::LoginRefused { .. }
            | Self::NotAllowed { .. }
            | Self::Untrusted { .. }
            | Self::Refused { .. }
            | Self::Lacks { .. }
            | Self::TaskFailed { .. }
            | Self::ImageUnfit { .. }
            | Self::Invalid { .. }
            | Self::ProgramMissing { .. } => false,
        }
    }
}
