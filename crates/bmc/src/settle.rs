//! Looking again until a BMC shows what was asked of it.

use crate::error::BmcError;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One thing that was asked for, and how long it may take to show.
pub(crate) struct Settle {
    bmc: String,
    what: &'static str,
    asked: String,
    deadline: Instant,
    pause: Duration,
}

impl Settle {
    pub(crate) fn new(bmc: &str, what: &'static str, asked: String, limit: Duration) -> Self {
        Self {
            bmc: bmc.to_owned(),
            what,
            asked,
            deadline: Instant::now() + limit,
            pause: PAUSE_MIN,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Waits before the next look; [`BmcError::NotAsAsked`] with what is seen instead when the time is over.
    pub(crate) async fn wait(&mut self, seen: String) -> Result<(), BmcError> {
        if self.is_over() {
            return Err(BmcError::NotAsAsked {
                bmc: self.bmc.clone(),
                what: self.what,
                asked: self.asked.clone(),
                seen,
            });
        }
        // The last look is at the very end.
        sleep(self.pause.min(self.deadline - Instant::now())).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}
