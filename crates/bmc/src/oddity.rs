//! What was odd in a BMC's answers: written down once, never a reason to stop.

use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// One deviation from what the standard promises.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Oddity {
    /// The document, and the key in it if one is meant.
    pub place: String,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, found {}",
            self.place, self.expected, self.found
        )
    }
}

/// A BMC with more than these is broken in a way that more of them do not tell.
const KEPT: usize = 500;

/// The oddities of one BMC, shared by all that reads its answers.
#[derive(Debug, Clone, Default)]
pub struct Oddities(Arc<Mutex<BTreeSet<Oddity>>>);

impl Oddities {
    pub fn note(
        &self,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let oddity = Oddity {
            place: place.into(),
            expected: expected.into(),
            found: shortened(found.into()),
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT && !kept.contains(&oddity) {
            tracing::debug!(%oddity, "a BMC answered oddly");
            kept.insert(oddity);
        }
    }

    pub fn list(&self) -> Vec<Oddity> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}

/// At most 200 characters of what a BMC said.
pub(crate) fn shortened(text: String) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
