//! What a cloud *is*: ids, resources, life cycles, legal commands, billing rules.
//!
//! Everything here is pure: no I/O, no async, no clock of its own. The floors above read rows into these types, ask
//! them what is legal and what comes next, and write the answer back.

pub mod ids;
pub mod lifecycle;
pub mod mac;
pub mod origin;
pub mod refusal;
pub mod time;

/// An error with all its causes, in one line.
pub fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
