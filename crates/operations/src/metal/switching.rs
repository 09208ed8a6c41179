//! A change of a server's power as an operation waits for it: the BMC is asked, then looked at a moment at a time, so that no
//! worker stands by while a server takes minutes, or does not listen at all.
//!
//! ```text
//!  ask ──▶ look, after 0.5, 1, 2, 4, 5, 5 … s ──▶ done
//!                      └──▶ the limit is over
//! ```

use corten_bmc::{Bmc, BmcError, PowerAction, PowerState};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::time::Duration;

/// How long a BMC may take to tell the power, and to take a wish for another. It is asked again by then.
const TELL_LIMIT: Duration = Duration::from_secs(20);
const TAKE_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A change that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub action: PowerAction,
    pub limit_secs: u64,
    pub since: Timestamp,
    looks: u32,
}

/// What one look says of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// It is looked at again after this.
    Wait(Duration),
    /// Its time is over.
    Over,
}

impl Asked {
    fn new(action: PowerAction, limit: Duration, now: Timestamp) -> Self {
        Self {
            action,
            limit_secs: limit.as_secs(),
            since: now,
            looks: 0,
        }
    }

    /// Judges what the BMC shows.
    pub fn judge(&self, shown: PowerState, now: Timestamp) -> Verdict {
        if shown == self.action.goal() {
            return Verdict::Done;
        }
        let limit = Duration::from_secs(self.limit_secs);
        let Some(left) = limit
            .checked_sub(now.since(self.since))
            .filter(|left| !left.is_zero())
        else {
            return Verdict::Over;
        };
        let pause = PAUSE_MIN.saturating_mul(1 << self.looks.min(8));
        // The last look is at the very end.
        Verdict::Wait(pause.min(PAUSE_MAX).min(left))
    }

    /// The same after one more look.
    #[must_use]
    pub fn looked(self) -> Self {
        Self {
            looks: self.looks.saturating_add(1),
            ..self
        }
    }
}

/// Asks for a change of power. A server that is off is not rebooted but started.
pub async fn ask(
    bmc: &dyn Bmc,
    action: PowerAction,
    limit: Duration,
    now: Timestamp,
) -> Result<Asked, BmcError> {
    let shown = power(bmc).await?;
    let action = match action {
        PowerAction::Reboot | PowerAction::SoftReboot if shown == PowerState::Off => {
            PowerAction::On
        }
        action => action,
    };
    let asked = bmc.set_power(action);
    within(TAKE_LIMIT, bmc, "a change of power", asked).await?;
    Ok(Asked::new(action, limit, now))
}

/// What the BMC shows now.
pub async fn power(bmc: &dyn Bmc) -> Result<PowerState, BmcError> {
    within(TELL_LIMIT, bmc, "the power state", bmc.power()).await
}

async fn within<T>(
    limit: Duration,
    bmc: &dyn Bmc,
    request: &str,
    asked: impl Future<Output = Result<T, BmcError>> + Send,
) -> Result<T, BmcError> {
    let answer = tokio::time::timeout(limit, asked).await;
    answer.unwrap_or_else(|_| {
        Err(BmcError::TimedOut {
            bmc: bmc.name().to_owned(),
            request: request.to_owned(),
            limit,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_micros(0).plus(Duration::from_secs(secs))
    }

    #[test]
    fn looks_are_ever_further_apart_and_the_last_is_at_the_very_end() {
        let mut asked = Asked::new(PowerAction::Off, Duration::from_secs(20), at(0));
        let mut now = at(0);
        let mut pauses = Vec::new();
        while let Verdict::Wait(pause) = asked.judge(PowerState::On, now) {
            pauses.push(pause.as_millis());
            now = now.plus(pause);
            asked = asked.looked();
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 5000, 5000, 2500]);
        assert_eq!(now, at(20));
        assert_eq!(asked.judge(PowerState::On, now), Verdict::Over);
        assert_eq!(
            asked.judge(PowerState::Off, now),
            Verdict::Done,
            "late is done too"
        );
    }

    #[test]
    fn a_power_that_changes_is_not_there_yet() {
        let asked = Asked::new(PowerAction::On, Duration::from_secs(60), at(0));
        for shown in [PowerState::Off, PowerState::Changing, PowerState::Unknown] {
            assert!(matches!(asked.judge(shown, at(1)), Verdict::Wait(_)));
        }
        assert_eq!(asked.judge(PowerState::On, at(1)), Verdict::Done);
    }
}
