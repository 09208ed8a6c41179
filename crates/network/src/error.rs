//! Why the fabric did not take a change.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Passes: the work waits and is tried again.
    #[error("the {database} database at {remote} does not answer: {reason}")]
    Unreachable {
        database: &'static str,
        remote: String,
        reason: String,
    },

    /// This process carries no networks, and will not before it is started anew.
    #[error("there are no networks: {reason}")]
    Away { reason: String },

    /// The database took none of the transaction.
    #[error("the {database} database refused a change: {error}{}", details.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        database: &'static str,
        error: String,
        details: Option<String>,
    },

    #[error("the {database} database did not answer within {} s", limit.as_secs())]
    TimedOut {
        database: &'static str,
        limit: Duration,
    },

    /// The other end does not keep to the protocol or has another schema.
    #[error("the {database} database at {remote} answered what is not understood: {reason}")]
    NotUnderstood {
        database: &'static str,
        remote: String,
        reason: String,
    },
}

impl NetworkError {
    /// Whether the same may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Away { .. } | Self::TimedOut { .. }
        )
    }
}
