//! What is known of a node's stream of events: whether it is held, whether it is believed, and when it is tried again.
//!
//! ```text
//!  none ─a reading opens it─▶ held, believed ─a change that it did not tell─▶ held, not believed
//!   ▲                            │    ▲                                            │
//!   └──── it ended: a rest ──────┴────┼────────────────────────────────────────────┘
//!                                     └─ it tells of power
//! ```

use corten_model::time::Timestamp;
use std::time::Duration;
use tokio::task::AbortHandle;

/// A stream that ended sooner was not worth its opening; each further one in a row is waited for twice as long.
const SHORT: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(60);
const REST_MAX: Duration = Duration::from_secs(3600);

/// The work on a stream, which ends with this.
#[derive(Debug, Default)]
pub(super) struct Task(Option<AbortHandle>);

impl Task {
    pub(super) fn new(handle: AbortHandle) -> Self {
        Self(Some(handle))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

#[derive(Debug)]
struct Held {
    /// Tells it from those before.
    number: u64,
    /// Of what the BMC was reached with.
    fingerprint: u64,
    since: Timestamp,
    believed: bool,
    task: Task,
}

/// A node's stream of events.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    held: Option<Held>,
    made: u64,
    /// Tries in a row that brought none, or none that lasted.
    in_vain: u32,
    rest: Option<Rest>,
}

/// None is tried for now, as long as the BMC is reached as it was then.
#[derive(Debug)]
struct Rest {
    until: Timestamp,
    fingerprint: u64,
}

impl Streamed {
    /// Whether one is to be opened.
    pub(super) fn is_wanted(&self, fingerprint: u64, now: Timestamp) -> bool {
        let is_over = |rest: &Rest| rest.until <= now || rest.fingerprint != fingerprint;
        self.held.is_none() && self.rest.as_ref().is_none_or(is_over)
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether it is relied upon to tell of a change.
    pub(super) fn is_believed(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.believed)
    }

    /// Keeps one that was opened; `start` begins the work on it, which is told its number.
    pub(super) fn hold(
        &mut self,
        fingerprint: u64,
        now: Timestamp,
        start: impl FnOnce(u64) -> Task,
    ) {
        self.made += 1;
        self.held = Some(Held {
            number: self.made,
            fingerprint,
            since: now,
            believed: true,
            task: start(self.made),
        });
    }

    /// The BMC has none; another version of its firmware may.
    pub(super) fn is_lacking(&mut self, fingerprint: u64, now: Timestamp) {
        self.rest_for(REST_MAX, fingerprint, now);
    }

    /// It could not be opened now.
    pub(super) fn was_not_opened(&mut self, fingerprint: u64, now: Timestamp) {
        let rest = REST.saturating_mul(1 << self.in_vain.min(6));
        self.in_vain = self.in_vain.saturating_add(1);
        self.rest_for(rest.min(REST_MAX), fingerprint, now);
    }

    fn rest_for(&mut self, time: Duration, fingerprint: u64, now: Timestamp) {
        self.rest = Some(Rest {
            until: now.plus(time),
            fingerprint,
        });
    }

    /// It ended by itself. `false`: it is not the one that is held.
    pub(super) fn ended(&mut self, number: u64, now: Timestamp) -> bool {
        let Some(mut held) = self.held.take_if(|held| held.number == number) else {
            return false;
        };
        // It is the task itself that says so, and it has more to do.
        held.task.0 = None;
        if now.since(held.since) >= SHORT {
            self.in_vain = 0;
            self.rest = None;
        } else {
            self.was_not_opened(held.fingerprint, now);
        }
        true
    }

    /// Closes it.
    pub(super) fn close(&mut self) {
        self.held = None;
    }

    /// Closes it if the BMC is no longer reached as it was then.
    pub(super) fn close_unless(&mut self, fingerprint: u64) {
        self.held.take_if(|held| held.fingerprint != fingerprint);
    }

    /// A change was found that it did not tell. Returns whether it was believed.
    pub(super) fn missed_a_change(&mut self) -> bool {
        match &mut self.held {
            Some(held) => std::mem::replace(&mut held.believed, false),
            None => false,
        }
    }

    /// It told of power.
    pub(super) fn told_of_power(&mut self) {
        if let Some(held) = &mut self.held {
            held.believed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_micros(0).plus(Duration::from_secs(secs))
    }

    fn hold(streamed: &mut Streamed, now: Timestamp) {
        streamed.hold(7, now, |_| Task(None));
    }

    #[test]
    fn one_that_does_not_last_is_tried_ever_more_seldom() {
        let mut streamed = Streamed::default();
        let mut now = 0;
        let mut rests = Vec::new();
        for number in 1..=9 {
            assert!(streamed.is_wanted(7, at(now)));
            hold(&mut streamed, at(now));
            assert!(!streamed.is_wanted(7, at(now)));
            assert!(streamed.ended(number, at(now + 1)));
            let rest = (1..).find(|secs| streamed.is_wanted(7, at(now + 1 + secs)));
            rests.push(rest.unwrap());
            now += 1 + rest.unwrap();
        }
        assert_eq!(rests, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
        hold(&mut streamed, at(now));
        assert!(streamed.ended(10, at(now + 60)), "it lasted");
        assert!(streamed.is_wanted(7, at(now + 60)));
    }

    #[test]
    fn a_bmc_without_one_is_asked_again_in_an_hour_or_when_it_is_another() {
        let mut streamed = Streamed::default();
        streamed.is_lacking(7, at(0));
        assert!(!streamed.is_wanted(7, at(3599)));
        assert!(streamed.is_wanted(7, at(3600)));
        assert!(streamed.is_wanted(8, at(1)));
    }

    #[test]
    fn one_that_missed_a_change_is_not_believed_until_it_tells_of_one() {
        let mut streamed = Streamed::default();
        assert!(!streamed.missed_a_change());
        hold(&mut streamed, at(0));
        assert!(streamed.is_believed());
        assert!(streamed.missed_a_change());
        assert!(!streamed.is_believed() && !streamed.missed_a_change());
        streamed.told_of_power();
        assert!(streamed.is_believed());
    }

    #[test]
    fn the_end_of_one_that_was_closed_says_nothing_of_the_next() {
        let mut streamed = Streamed::default();
        hold(&mut streamed, at(0));
        streamed.close_unless(7);
        assert!(streamed.is_believed());
        streamed.close_unless(8);
        assert!(!streamed.is_believed());
        hold(&mut streamed, at(1));
        assert!(!streamed.ended(1, at(2)));
        assert!(streamed.is_believed());
    }
}
