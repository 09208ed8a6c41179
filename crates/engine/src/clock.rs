//! The clock, so that tests can hold it in their hands.

use corten_model::time::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(since_epoch.as_micros() as i64)
    }
}

/// A clock that moves only when told to.
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn starting_at(moment: Timestamp) -> Self {
        Self(AtomicI64::new(moment.micros()))
    }

    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(span.as_micros() as i64, Ordering::SeqCst);
    }

    /// Moves to `moment`, never back.
    pub fn advance_to(&self, moment: Timestamp) {
        self.0.fetch_max(moment.micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    /// Each reading is a microsecond later than the one before, so that no two moments are the same.
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1, Ordering::SeqCst))
    }
}
