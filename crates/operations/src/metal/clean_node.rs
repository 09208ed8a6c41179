//! `provide`, `clean` and `deleted`: a server is taken from whoever had it, and its disks are erased, with a record.
//!
//! ```text
//!  deleting ─TakeOff─▶ cleaning ─Wipe─▶ available (with the record of the wipe)
//!                      cleaning ─Run, step by step─▶ manageable (asked for by hand)
//!                          └──▶ clean hold (a step asks for a person), or clean failed
//! ```

use super::{machine, steps, vif, work};
use crate::context::Context;
use async_trait::async_trait;
use corten_bmc::{PowerAction, change_power};
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::{NodeEvent, ProvisionState};
use corten_store::metal::allocation::NodeAllocation;
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::{Tx, record};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

const POWER_LIMIT: Duration = Duration::from_secs(60);

pub struct CleanNode(pub Arc<Context>);

#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    pub node_id: NodeId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The instance ends.
    TakeOff,
    Wipe,
    /// The first of the node's steps.
    Run,
}

#[async_trait]
impl Workflow for CleanNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "clean_node"
    }

    /// As long as the life cycle lets `deleting` and `cleaning` last.
    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::TakeOff => Duration::from_secs(900),
            Step::Wipe | Step::Run => Duration::from_secs(3600),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::TakeOff => self.take_off(input, cx).await,
            Step::Wipe => self.wipe(input, cx).await,
            Step::Run => self.run_one(input, cx).await,
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        work::give_up(why, cx, input.node_id, |node| {
            if node.provision.state == ProvisionState::CleanFailed {
                node.fault = Some("clean failure".to_owned());
                node.maintenance = true;
                node.maintenance_reason.clone_from(&node.last_error);
            }
        })
        .await
    }
}

impl CleanNode {
    async fn take_off(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        if node.provision.state == ProvisionState::Deleting && !node.disable_power_off {
            let bmc = work::reach(&self.0, &node)?.bmc;
            change_power(bmc.as_ref(), PowerAction::Off, POWER_LIMIT)
                .await
                .map_err(machine::step_error)?;
        }
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, input.node_id).await?;
        if !node.disable_power_off {
            node.power.seen = Some(PowerSeen::Off);
        }
        end_instance(&mut tx, &mut node).await?;
        work::event(
            &mut tx,
            cx,
            &mut node,
            NodeEvent::Clean,
            "the instance is off",
        )
        .await?;
        work::save(&mut tx, cx, &mut node).await?;
        tx.next(Place::Control, Step::Wipe).await
    }

    async fn wipe(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        let wipe = steps::wipe(&self.0, cx, &node).await?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, input.node_id).await?;
        record::insert(&mut tx, &wipe).await?;
        work::release(tx, cx, &mut node, &wipe).await
    }

    async fn run_one(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        let ran = steps::run(&self.0, cx, &node).await?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, input.node_id).await?;
        steps::finish(&mut tx, &mut node, &ran).await?;
        if ran.hold {
            return work::hold(tx, cx, &mut node).await;
        }
        if node.steps.is_empty() {
            return work::succeed(tx, cx, &mut node, NodeEvent::DoneByHand).await;
        }
        work::save(&mut tx, cx, &mut node).await?;
        tx.next(Place::Control, Step::Run).await
    }
}

/// Nothing of the instance stays in the node's row.
async fn end_instance(tx: &mut Tx, node: &mut Node) -> Result<(), StepError> {
    vif::detach_all(tx, node).await?;
    if let Some(allocation) = node.allocation_id.take() {
        record::delete::<NodeAllocation>(tx, allocation).await?;
    }
    node.instance_id = None;
    node.instance_name = None;
    node.instance_info.clear();
    node.secrets
        .retain(|place, _| !place.starts_with("instance_info/"));
    node.agent = None;
    node.console_enabled = false;
    Ok(())
}
