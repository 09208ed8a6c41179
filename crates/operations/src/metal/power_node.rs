//! A change of a node's power, and whoever may ask for one.
//!
//! ```text
//!  Act ──▶ done (the power as the BMC shows it)
//!    └───▶ failed (the last error, and no target any more)
//! ```

use super::access::{self, Ident};
use super::{ENDED, at_rest, firmware_steps, machine, work};
use crate::context::Context;
use async_trait::async_trait;
use corten_bmc::{PowerAction, PowerState, change_power};
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_iam::action::baremetal::NODES_OPERATE;
use corten_iam::actor::Actor;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::NodePowerTarget;
use corten_model::refusal::Refusal;
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::{Failure, record};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What Ironic waits for a power change, and for an operating system that was asked to shut down.
const HARD_SECS: u64 = 60;
const SOFT_SECS: u64 = 600;

pub struct PowerNode(pub Arc<Context>);

#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    pub node_id: NodeId,
    pub action: PowerAction,
    pub limit_secs: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Act,
}

#[async_trait]
impl Workflow for PowerNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "power_node"
    }

    fn budget(&self, _step: &Step) -> Duration {
        Duration::from_secs(SOFT_SECS + HARD_SECS)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let Step::Act = step;
        let node = work::read(cx, input.node_id).await?;
        let bmc = work::reach(&self.0, &node)?.bmc;
        let now = bmc.power().await.map_err(machine::step_error)?;
        // A server that is off is not rebooted but started.
        let action = match input.action {
            PowerAction::Reboot | PowerAction::SoftReboot if now == PowerState::Off => {
                PowerAction::On
            }
            action => action,
        };
        let limit = Duration::from_secs(input.limit_secs);
        let changed = change_power(bmc.as_ref(), action, limit).await;
        bmc.close().await;
        changed.map_err(machine::step_error)?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, input.node_id).await?;
        node.power.seen = work::power_seen(action.goal());
        node.power.target = None;
        node.last_error = None;
        work::save(&mut tx, cx, &mut node).await?;
        tx.wake(ENDED);
        tx.done().await
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let cause = why.to_string();
        let mut tx = cx.commit().await?;
        if let Some(mut node) = record::lock::<Node>(&mut tx, input.node_id).await? {
            node.power.target = None;
            node.last_error = Some(cause.clone());
            work::save(&mut tx, cx, &mut node).await?;
        }
        tx.wake(ENDED);
        tx.given_up(&why).await
    }
}

fn action_of(target: NodePowerTarget) -> PowerAction {
    match target {
        NodePowerTarget::On => PowerAction::On,
        NodePowerTarget::Off => PowerAction::Off,
        NodePowerTarget::Rebooting => PowerAction::Reboot,
        NodePowerTarget::SoftRebooting => PowerAction::SoftReboot,
        NodePowerTarget::SoftOff => PowerAction::SoftOff,
    }
}

/// Accepts a change of power. It waits a little for the end, so that what is asked next finds it done.
pub async fn set(
    cx: &Arc<Context>,
    actor: &Actor,
    ident: &Ident,
    target: NodePowerTarget,
    limit_secs: Option<u64>,
) -> Result<(), Failure> {
    let node = access::get::<Node>(&mut cx.store.read().await?, ident).await?;
    access::check_operate(cx, actor, &node, ident, NODES_OPERATE)?;
    firmware_steps::check_quiet(&node, cx.now(), "change of its power")?;
    at_rest(cx, node.id).await?;
    let mut tx = cx.store.write().await?;
    let mut node = access::lock_node_to_operate(cx, actor, &mut tx, ident, NODES_OPERATE).await?;
    let action = action_of(target);
    if node.disable_power_off && action.goal() == PowerState::Off {
        return Err(Refusal::invalid(format!(
            "Node {} has disable_power_off set: it is never turned off.",
            node.id
        ))
        .into());
    }
    machine::open(cx, &node)?;
    let soft = matches!(action, PowerAction::SoftOff | PowerAction::SoftReboot);
    let default = if soft { SOFT_SECS } else { HARD_SECS };
    let limit_secs = limit_secs.unwrap_or(default).min(SOFT_SECS);
    node.power.target = Some(match action.goal() {
        PowerState::Off => PowerSeen::Off,
        _ => PowerSeen::On,
    });
    node.last_error = None;
    node.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &node).await?;
    let workflow = PowerNode(cx.clone());
    let input = Input {
        node_id: node.id,
        action,
        limit_secs,
    };
    let origin = actor.origin();
    work::start(&mut tx, cx, &origin, &node, &workflow, Step::Act, input).await?;
    tx.commit().await?;
    // That it goes on in the background is no failure.
    let _ = at_rest(cx, node.id).await;
    Ok(())
}
