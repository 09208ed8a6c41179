//! A server's power: its states, what changes them, and waiting for it.

use crate::bmc::Bmc;
use crate::error::BmcError;
use crate::settle::Settle;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    On,
    Off,
    /// On its way to on or off.
    Changing,
    /// The BMC says it in a word that is not known; it is among the oddities.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    On,
    /// At once; the operating system is not asked.
    Off,
    /// Asks the operating system to shut down.
    SoftOff,
    /// Resets a running server.
    Reboot,
    /// Asks the operating system to boot anew.
    SoftReboot,
    /// Takes the power away and gives it back.
    Cycle,
    /// A non-maskable interrupt, for a crash dump.
    Nmi,
}

impl PowerAction {
    /// The state after it.
    pub fn goal(self) -> PowerState {
        match self {
            Self::Off | Self::SoftOff => PowerState::Off,
            Self::On | Self::Reboot | Self::SoftReboot | Self::Cycle | Self::Nmi => PowerState::On,
        }
    }

    /// Whether nothing is left to do where the state is the goal already.
    pub(crate) fn is_done_at(self, state: PowerState) -> bool {
        matches!(self, Self::On | Self::Off | Self::SoftOff) && self.goal() == state
    }

    /// Refuses what makes no sense for a server in this state.
    pub(crate) fn check(self, state: PowerState) -> Result<(), BmcError> {
        if matches!(self, Self::On | Self::Off | Self::SoftOff) || state != PowerState::Off {
            return Ok(());
        }
        Err(BmcError::Invalid {
            rule: "only a server that is on is rebooted, cycled or interrupted",
            value: format!("{self:?} of a server that is off"),
            fix: "turn it on".to_owned(),
        })
    }
}

/// Asks for a change of power and waits until the BMC shows its end.
///
/// That a server that is on was booted anew cannot be seen here; its ramdisk or operating system tells.
pub async fn change_power(
    bmc: &dyn Bmc,
    action: PowerAction,
    limit: Duration,
) -> Result<(), BmcError> {
    bmc.set_power(action).await?;
    wait_for_power(bmc, action.goal(), limit).await
}

/// Waits until the BMC shows this state; [`BmcError::NotAsAsked`] when it does not within the limit.
pub async fn wait_for_power(
    bmc: &dyn Bmc,
    wanted: PowerState,
    limit: Duration,
) -> Result<(), BmcError> {
    let asked = format!("{wanted:?}");
    let mut settle = Settle::new(bmc.name(), "the power state", asked, limit);
    loop {
        // One question that gets no answer is no reason to end a wait of minutes.
        let seen = match bmc.power().await {
            Ok(seen) if seen == wanted => return Ok(()),
            Ok(seen) => seen,
            Err(error) if error.is_transient() && !settle.is_over() => PowerState::Unknown,
            Err(error) => return Err(error),
        };
        settle.wait(format!("{seen:?}")).await?;
    }
}
