//! What is broken about one node, on order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What happens to a request in place of, or on the way to, its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not done; the answer is this status (503: busy), with `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// It is not done, and never answered.
    Hang,
    /// It is done, and the connection is cut in the middle of the answer.
    Cut,
    /// It is done, and half of the JSON is sent as if it were all.
    Truncated,
    /// The password is the wrong one, whichever it is.
    WrongPassword,
    /// A reset is taken and does nothing.
    PowerLies,
    /// It is done after this time.
    Slow(Duration),
}

/// Which requests meet a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum On {
    #[default]
    All,
    /// GET and HEAD.
    Reads,
    /// All others.
    Writes,
}

struct Rule {
    fault: Fault,
    on: On,
    /// `None`: until it is mended.
    times: Option<u32>,
}

/// The faults of a node. A request meets the first that is for it.
#[derive(Default)]
pub(super) struct Faults {
    rules: Mutex<VecDeque<Rule>>,
    met: AtomicU64,
}

impl Faults {
    pub(super) fn add(&self, fault: Fault, on: On, times: Option<u32>) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.push_back(Rule { fault, on, times });
    }

    pub(super) fn mend(&self) {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.clear();
    }

    /// What this request meets. Lies about power are met by resets only, by [`Self::lies`].
    pub(super) fn meet(&self, is_read: bool) -> Option<Fault> {
        let is_for = |rule: &Rule| match rule.on {
            _ if rule.fault == Fault::PowerLies => false,
            On::All => true,
            On::Reads => is_read,
            On::Writes => !is_read,
        };
        self.take(is_for)
    }

    pub(super) fn lies(&self) -> bool {
        self.take(|rule| rule.fault == Fault::PowerLies).is_some()
    }

    fn take(&self, is_for: impl Fn(&Rule) -> bool) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let index = rules.iter().position(is_for)?;
        let rule = rules.get_mut(index)?;
        let fault = rule.fault.clone();
        self.met.fetch_add(1, Ordering::Relaxed);
        if let Some(times) = &mut rule.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(index);
            }
        }
        Some(fault)
    }

    pub(super) fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    pub(super) fn left(&self) -> usize {
        self.rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
