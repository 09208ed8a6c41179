//! Counts what comes again and again, and says when it is worth a word.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// A flood of invented senders must not fill the memory; past this, counting starts anew.
const KEYS_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Tally<K>(Mutex<HashMap<K, u64>>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// Counts one more. The count, if it is the first or has doubled since it was last told.
    pub fn count(&self, key: K) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= KEYS_MAX && !counts.contains_key(&key) {
            counts.clear();
        }
        let times = counts.entry(key).or_default();
        *times += 1;
        times.is_power_of_two().then_some(*times)
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
    fn a_flood_of_senders_fills_no_memory() {
        let tally = Tally::default();
        for sender in 0..3 * KEYS_MAX {
            tally.count(sender);
        }
        assert!(tally.0.lock().unwrap().len() <= KEYS_MAX);
    }
}
