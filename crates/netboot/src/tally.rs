//! Counts what comes again and again, and says when it is worth a word.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A flood of invented senders must not fill the memory; past this, counting starts anew.
const KEYS_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Tally<K>(Mutex<HashMap<K, Count>>);

#[derive(Debug, Clone, Copy)]
struct Count {
    times: u64,
    told: Instant,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// Counts one more. The count, if it is the first or has doubled since it was last told.
    pub fn count(&self, key: K) -> Option<u64> {
        self.count_at(key, Instant::now(), None)
    }

    /// Counts one more. The count, if that is so, or if it was not told for this long.
    pub fn count_again(&self, key: K, after: Duration) -> Option<u64> {
        self.count_at(key, Instant::now(), Some(after))
    }

    fn count_at(&self, key: K, now: Instant, again: Option<Duration>) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= KEYS_MAX && !counts.contains_key(&key) {
            counts.clear();
        }
        let count = counts.entry(key).or_insert(Count {
            times: 0,
            told: now,
        });
        count.times += 1;
        let due = again.is_some_and(|after| now.duration_since(count.told) >= after);
        if !due && !count.times.is_power_of_two() {
            return None;
        }
        count.told = now;
        Some(count.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_when_it_has_doubled() {
        let tally = Tally::default();
        let told: Vec<u64> = (0..9).filter_map(|_| tally.count("a")).collect();
        assert_eq!(told, [1, 2, 4, 8]);
        assert_eq!(tally.count("b"), Some(1));
    }

    #[test]
    fn a_count_that_was_long_not_told_is_told_again() {
        let tally = Tally::default();
        let minute = Duration::from_secs(60);
        let start = Instant::now();
        let at = |secs| tally.count_at("a", start + Duration::from_secs(secs), Some(minute));
        let told: Vec<u64> = [0, 1, 2, 61, 62, 63, 124]
            .into_iter()
            .filter_map(at)
            .collect();
        assert_eq!(told, [1, 2, 4, 7]);
    }

    #[test]
    fn a_flood_of_senders_fills_no_memory() {
        let tally = Tally::default();
        for sender in 0..3 * KEYS_MAX {
            tally.count(sender);
        }
        assert!(tally.0.lock().unwrap().len() <= KEYS_MAX);
    }
}
