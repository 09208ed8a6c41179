//! The power of a Redfish system: `PowerState`, and the action `ComputerSystem.Reset`.

use super::Redfish;
use super::answer::Answer;
use super::document::Document;
use crate::bmc::Bmc;
use crate::capability::{Capabilities, Capability};
use crate::error::BmcError;
use crate::power::{PowerAction, PowerState};
use serde_json::json;

const STATES: &[(&str, PowerState)] = &[
    ("On", PowerState::On),
    ("Off", PowerState::Off),
    ("PoweringOn", PowerState::Changing),
    ("PoweringOff", PowerState::Changing),
    ("Paused", PowerState::On),
];

/// The reset types that do what is asked, best first, and what it is called when there is none.
fn reset_types(action: PowerAction) -> (&'static [&'static str], Capability) {
    match action {
        PowerAction::On => (&["On", "ForceOn"], Capability::Power),
        PowerAction::Off => (&["ForceOff"], Capability::Power),
        // The button asks the operating system, as long as it is not held.
        PowerAction::SoftOff => (
            &["GracefulShutdown", "PushPowerButton"],
            Capability::SoftPowerOff,
        ),
        PowerAction::Reboot => (&["ForceRestart"], Capability::Reboot),
        PowerAction::SoftReboot => (&["GracefulRestart"], Capability::SoftReboot),
        PowerAction::Cycle => (&["PowerCycle"], Capability::PowerCycle),
        PowerAction::Nmi => (&["Nmi"], Capability::Nmi),
    }
}

impl Redfish {
    pub(super) async fn read_power(&self) -> Result<PowerState, BmcError> {
        self.power_in(&self.system().await?)
    }

    fn power_in(&self, system: &Document) -> Result<PowerState, BmcError> {
        match system.word("PowerState", STATES) {
            Some(state) => Ok(state),
            None if system.has("PowerState") => Ok(PowerState::Unknown),
            None => Err(system.without(self.name(), "PowerState", "On or Off")),
        }
    }

    pub(super) async fn ask_power(&self, action: PowerAction) -> Result<(), BmcError> {
        let system = self.system().await?;
        let state = self.power_in(&system)?;
        if action.is_done_at(state) {
            return Ok(());
        }
        action.check(state)?;
        let (wanted, capability) = reset_types(action);
        let (target, allowed) = self.reset_action(&system).await?;
        // Without a list each is tried as the standard names it.
        let chosen = wanted
            .iter()
            .find(|kind| allowed.is_empty() || allowed.iter().any(|other| other == *kind))
            .ok_or_else(|| self.lacks(capability))?;
        let asked = self
            .transport
            .post(&target, &json!({"ResetType": chosen}))
            .await;
        self.done_all_the_same(action, asked).await
    }

    /// A refusal of what became true meanwhile is none: BMCs refuse to turn on what is on.
    async fn done_all_the_same(
        &self,
        action: PowerAction,
        asked: Result<Answer, BmcError>,
    ) -> Result<(), BmcError> {
        match asked {
            Err(refused @ (BmcError::Refused { .. } | BmcError::Failed { .. })) => {
                let state = self.read_power().await;
                if state.is_ok_and(|state| action.is_done_at(state)) {
                    Ok(())
                } else {
                    Err(refused)
                }
            }
            other => other.map(|_| ()),
        }
    }

    /// Where a reset is asked for, and the types that are said to be taken.
    async fn reset_action(&self, system: &Document) -> Result<(String, Vec<String>), BmcError> {
        let action = system
            .action("ComputerSystem.Reset")
            .ok_or_else(|| self.lacks(Capability::Power))?;
        let mut allowed = action.allowed("ResetType");
        if allowed.is_empty()
            && let Some(path) = action.info()
            && let Some(info) = self.transport.get_part(&path).await?
        {
            allowed = info
                .list("Parameters")
                .iter()
                .filter(|parameter| parameter.text("Name").as_deref() == Some("ResetType"))
                .flat_map(|parameter| parameter.texts("AllowableValues"))
                .collect();
        }
        Ok((action.target, allowed))
    }

    pub(super) async fn power_capabilities(
        &self,
        system: &Document,
        found: &mut Capabilities,
    ) -> Result<(), BmcError> {
        if system.action("ComputerSystem.Reset").is_none() {
            return Ok(());
        }
        let (_, allowed) = self.reset_action(system).await?;
        for action in [
            PowerAction::On,
            PowerAction::SoftOff,
            PowerAction::Reboot,
            PowerAction::SoftReboot,
            PowerAction::Cycle,
            PowerAction::Nmi,
        ] {
            let (types, capability) = reset_types(action);
            let is_there = types
                .iter()
                .any(|kind| allowed.iter().any(|word| word == kind));
            found.add_if(is_there || allowed.is_empty(), capability);
        }
        Ok(())
    }
}
