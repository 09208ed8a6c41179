//! A change of a node's power, and whoever may ask for one: its operator, or the operation of the instance on it.
//!
//! ```text
//!  Act ──▶ Look, until the BMC shows it ──▶ done
//!             │  ▲          └── the power is to come back: Ask
//!             │  └── Ask (a server that does not shut down is cut off)
//!             └──▶ failed (the last error, and no target any more)
//! ```
//!
//! No worker waits for a server: between two looks the operation waits (`switching`). What it does reaches the instance on
//! the node (`metal_instance::power`).

use super::access::{self, Ident};
use super::switching::{self, Asked, Verdict};
use super::{at_rest, firmware_steps, machine, work};
use crate::context::Context;
use crate::metal_instance::power;
use async_trait::async_trait;
use corten_bmc::{BmcError, PowerAction, PowerState};
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_iam::action::baremetal::NODES_OPERATE;
use corten_iam::actor::Actor;
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::NodePowerTarget;
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::{Failure, Tx, record};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What Ironic waits for a power change, and for an operating system that was asked to shut down.
const HARD_SECS: u64 = 60;
const SOFT_SECS: u64 = 600;
/// A BMC that cannot be asked to shut the system down is asked so often before the power is cut, where it may be.
const SOFT_TRIES: i64 = 3;

pub struct PowerNode(pub Arc<Context>);

/// What is to become of a server's power.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Change {
    pub action: PowerAction,
    pub limit_secs: u64,
    /// A server that does not shut down when it is asked to is cut off.
    #[serde(default)]
    pub cut: bool,
    /// What follows when that is done.
    #[serde(default)]
    pub then: Option<PowerAction>,
}

impl Change {
    /// At once.
    pub fn hard(action: PowerAction) -> Self {
        Self {
            action,
            limit_secs: HARD_SECS,
            cut: false,
            then: None,
        }
    }

    fn goal(&self) -> PowerState {
        self.then.unwrap_or(self.action).goal()
    }

    fn turns_off(&self) -> bool {
        self.action.goal() == PowerState::Off
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    pub node_id: NodeId,
    #[serde(flatten)]
    pub change: Change,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The BMC is asked for what was asked of this operation.
    Act,
    /// It is asked for what comes after.
    Ask(PowerAction),
    Look {
        asked: Asked,
        then: Option<PowerAction>,
    },
}

#[async_trait]
impl Workflow for PowerNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "power_node"
    }

    /// Of a step, with the tries of a BMC that gives no answer: how long a change may take, its limit says.
    fn budget(&self, _step: &Step) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        let change = &input.change;
        match step {
            Step::Act => {
                let limit = Duration::from_secs(change.limit_secs);
                self.ask(&node, change.action, change.then, limit, input, cx)
                    .await
            }
            Step::Ask(action) => {
                // What is left to do once the power is cut.
                let then = change.then.filter(|_| action == PowerAction::Off);
                let limit = Duration::from_secs(HARD_SECS);
                self.ask(&node, action, then, limit, input, cx).await
            }
            Step::Look { asked, then } => {
                let bmc = work::reach(&self.0, &node)?.bmc;
                let shown = switching::power(bmc.as_ref()).await;
                bmc.close().await;
                self.go_on(&node, asked, then, shown, input, cx).await
            }
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let cause = why.to_string();
        let before: Option<Node> = record::get(&mut cx.read().await?, input.node_id).await?;
        let mut tx = cx.commit().await?;
        let holder = before.and_then(|node| node.instance_id);
        work::tell_holder(&mut tx, cx, holder).await?;
        let instance = power::lock_idle(&mut tx, holder).await?;
        if let Some(mut node) = record::lock::<Node>(&mut tx, input.node_id).await? {
            node.power.target = None;
            node.last_error = Some(cause);
            work::save(&mut tx, cx, &mut node).await?;
            power::follow(&mut tx, &self.0, &node, instance, self.kind(), &cx.origin()).await?;
        }
        tx.given_up(&why).await
    }
}

impl PowerNode {
    async fn ask(
        &self,
        node: &Node,
        action: PowerAction,
        then: Option<PowerAction>,
        limit: Duration,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let bmc = work::reach(&self.0, node)?.bmc;
        let asked = switching::ask(bmc.as_ref(), action, limit, cx.now()).await;
        bmc.close().await;
        match asked {
            // Nothing else is in this step: what is done again for a collision in its commit must not reset a server twice.
            Ok(asked) => {
                let look = Step::Look { asked, then };
                cx.commit().await?.next(Place::Control, look).await
            }
            Err(error) => {
                let in_vain = !error.is_transient() || cx.operation().attempt >= SOFT_TRIES;
                if in_vain && is_cut(input, action) {
                    return cut_off(cx).await;
                }
                Err(machine::step_error(error))
            }
        }
    }

    /// As one look at the BMC says.
    async fn go_on(
        &self,
        node: &Node,
        asked: Asked,
        then: Option<PowerAction>,
        shown: Result<PowerState, BmcError>,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let (power, words) = match shown {
            Ok(power) => (power, format!("it shows {power:?}")),
            // One question that gets no answer is no reason to end a wait of minutes.
            Err(error) if error.is_transient() => (PowerState::Unknown, error.to_string()),
            Err(error) => return Err(machine::step_error(error)),
        };
        match asked.judge(power, cx.now()) {
            Verdict::Done => match then {
                None => self.finish(node, asked.action, cx).await,
                Some(next) => {
                    let mut tx = cx.commit().await?;
                    see(&mut tx, cx, node.id, power).await?;
                    tx.next(Place::Control, Step::Ask(next)).await
                }
            },
            Verdict::Wait(pause) => {
                let note = format!("the BMC was asked for {:?}; {words}", asked.action);
                let mut tx = cx.commit().await?;
                see(&mut tx, cx, node.id, power).await?;
                let asked = asked.looked();
                let until = cx.now().plus(pause);
                tx.wait(until, Place::Control, Step::Look { asked, then }, note)
                    .await
            }
            Verdict::Over if is_cut(input, asked.action) => cut_off(cx).await,
            Verdict::Over => Err(StepError::Fail(format!(
                "The BMC of node {} was asked for the power {:?}, and did not show it within {} s: {words}. Look at the server's \
                 console and at its BMC's own log, then ask again.",
                node.id,
                asked.action.goal(),
                asked.limit_secs
            ))),
        }
    }

    async fn finish(
        &self,
        before: &Node,
        action: PowerAction,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        work::tell_holder(&mut tx, cx, before.instance_id).await?;
        let instance = power::lock_idle(&mut tx, before.instance_id).await?;
        let mut node = work::lock(&mut tx, before.id).await?;
        node.power.seen = work::power_seen(action.goal());
        node.power.target = None;
        node.last_error = None;
        work::save(&mut tx, cx, &mut node).await?;
        power::follow(&mut tx, &self.0, &node, instance, self.kind(), &cx.origin()).await?;
        tx.done().await
    }
}

/// Whether the power may be cut where this was asked for in vain.
fn is_cut(input: &Input, action: PowerAction) -> bool {
    input.change.cut && action == PowerAction::SoftOff
}

async fn cut_off(cx: &StepCx) -> Result<Committed, StepError> {
    let step = Step::Ask(PowerAction::Off);
    cx.commit().await?.next(Place::Control, step).await
}

/// Writes down what the BMC shows on the way.
async fn see(tx: &mut Tx, cx: &StepCx, id: NodeId, power: PowerState) -> Result<(), StepError> {
    let Some(seen) = work::power_seen(power) else {
        return Ok(());
    };
    let mut node = work::lock(tx, id).await?;
    if node.power.seen != Some(seen) {
        node.power.seen = Some(seen);
        work::save(tx, cx, &mut node).await?;
    }
    Ok(())
}

/// Starts a change of a node's power, in the transaction that holds the node's lock. Refused while something works on the
/// node or its BMC may be at firmware, and where it would turn off what is never turned off.
pub(crate) async fn order(
    tx: &mut Tx,
    cx: &Arc<Context>,
    origin: &Origin,
    node: &mut Node,
    change: Change,
) -> Result<(), Failure> {
    firmware_steps::check_quiet(node, cx.now(), "change of its power")?;
    if node.disable_power_off && change.turns_off() {
        return Err(Refusal::invalid(format!(
            "Node {} has disable_power_off set: it is never turned off.",
            node.id
        ))
        .into());
    }
    machine::open(cx, node)?;
    node.power.target = Some(match change.goal() {
        PowerState::Off => PowerSeen::Off,
        _ => PowerSeen::On,
    });
    node.last_error = None;
    node.standard.updated_at = Some(cx.now());
    record::update(tx, node).await?;
    let workflow = PowerNode(cx.clone());
    let input = Input {
        node_id: node.id,
        change,
    };
    work::start(tx, cx, origin, node, &workflow, Step::Act, input).await
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
    let soft = matches!(action, PowerAction::SoftOff | PowerAction::SoftReboot);
    let default = if soft { SOFT_SECS } else { HARD_SECS };
    let change = Change {
        limit_secs: limit_secs.unwrap_or(default).min(SOFT_SECS),
        ..Change::hard(action)
    };
    order(&mut tx, cx, &actor.origin(), &mut node, change).await?;
    tx.commit().await?;
    // That it goes on in the background is no failure.
    let _ = at_rest(cx, node.id).await;
    Ok(())
}
