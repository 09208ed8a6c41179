//! What is billed, as data, and the meter: a fold over the changes of an instance's state.
//!
//! The bill is never counted up as time goes by. It is computed from the transition log, at any time, and comes out
//! the same.

use super::display::Display;
use super::nova::{InstanceClass, InstanceState};
use super::table;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which states are billed in which region: the tables' column, and where a region differs (K54).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BilledStates {
    exceptions: BTreeMap<(String, InstanceClass, Display), bool>,
}

impl BilledStates {
    /// The seed's rule, the same in every region.
    pub fn seed() -> Self {
        Self::default()
    }

    /// The same rule, but for one state of one class in one region.
    #[must_use]
    pub fn except(
        mut self,
        region: &str,
        class: InstanceClass,
        state: Display,
        billed: bool,
    ) -> Self {
        self.exceptions
            .insert((region.to_owned(), class, state), billed);
        self
    }

    pub fn is_billed(&self, region: &str, class: InstanceClass, state: Display) -> bool {
        let exception = self.exceptions.get(&(region.to_owned(), class, state));
        exception
            .copied()
            .unwrap_or_else(|| is_billed(class, state))
    }
}

impl InstanceState {
    /// Whether the meter runs in this state, by the seed's rule.
    pub fn billed(self, class: InstanceClass) -> bool {
        is_billed(class, self.display(class))
    }
}

/// The seed's rule. A state that the class does not have is not billed.
pub fn is_billed(class: InstanceClass, state: Display) -> bool {
    table::find(class, state).is_some_and(|row| row.billed)
}

/// Whether the time counts against the operator: the tenant does not pay, yet the capacity is held (K56).
pub fn is_lost_capacity(state: Display) -> bool {
    state == Display::Error
}

/// A stretch of time in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    pub state: Display,
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Stay {
    pub fn duration(&self) -> Duration {
        self.until.since(self.from)
    }
}

/// The stretches that a log of changes (oldest first) makes, up to `now`. A change dated before its predecessor, by a
/// clock that was set back, counts as at the same moment; one after `now` is left out.
pub fn stays(changes: impl IntoIterator<Item = (Timestamp, Display)>, now: Timestamp) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    for (at, state) in changes {
        let from = match stays.last_mut() {
            Some(earlier) => {
                earlier.until = at.clamp(earlier.from, now.max(earlier.from));
                earlier.until
            }
            None => at.min(now),
        };
        stays.push(Stay {
            state,
            from,
            until: now.max(from),
        });
    }
    stays
}

/// How long the meter ran: the sum of the stretches in states for which `on` says so.
pub fn metered(
    changes: impl IntoIterator<Item = (Timestamp, Display)>,
    now: Timestamp,
    on: impl Fn(Display) -> bool,
) -> Duration {
    stays(changes, now)
        .iter()
        .filter(|stay| on(stay.state))
        .map(Stay::duration)
        .sum()
}
