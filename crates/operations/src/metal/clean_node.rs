//! `provide`, `clean` and `deleted`: a server is taken from whoever had it, and its disks are erased, with a record.
//!
//! ```text
//!  deleting ─TakeOff─▶ cleaning ─Visit, Wipe, Leave─▶ available (with the record of the wipe)
//!                      cleaning ─Visit, Run step by step, Leave─▶ manageable (asked for by hand)
//!                          └──▶ clean hold (a step asks for a person), or clean failed
//! ```
//!
//! A wipe that a known disk is missing from proves nothing: its record stays, and the cleaning fails once the ramdisk is left.
//!
//! While the ramdisk is booted and at work the node is in `clean wait`, where it can be aborted.

use super::ramdisk::visit::Visit;
use super::ramdisk::{boots, leave, orders, visit};
use super::work::{self, Input};
use super::{steps, vif};
use crate::context::Context;
use async_trait::async_trait;
use corten_bmc::{PowerAction, Task};
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::lifecycle::node::{NodeEvent, ProvisionState};
use corten_store::metal::allocation::NodeAllocation;
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::metal::wipe::{self, Wipe};
use corten_store::{Tx, record};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

mod disks;

pub struct CleanNode(pub Arc<Context>);

/// What the ramdisk is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    Wipe,
    /// The node's steps.
    Run,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The instance ends.
    TakeOff,
    Visit {
        visit: Visit,
        purpose: Purpose,
    },
    Wipe,
    /// The first of the node's steps.
    Run,
    Leave(Purpose),
    /// The ramdisk is left, and what was wiped is not all that is known.
    Unproved {
        why: String,
    },
}

impl Step {
    pub fn visit(purpose: Purpose) -> Self {
        let visit = Visit::Off;
        Self::Visit { visit, purpose }
    }
}

#[async_trait]
impl Workflow for CleanNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "clean_node"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::TakeOff | Step::Leave(_) | Step::Unproved { .. } => Duration::from_secs(900),
            Step::Visit { visit, .. } => visit.budget(),
            Step::Wipe | Step::Run => Duration::from_secs(3600),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        match step {
            Step::TakeOff => self.take_off(node, cx).await,
            Step::Visit { visit, purpose } => self.visit(&node, visit, purpose, cx).await,
            Step::Wipe => self.wipe(&node, cx).await,
            Step::Run => self.run_one(&node, cx).await,
            Step::Leave(purpose) => self.leave(&node, purpose, cx).await,
            Step::Unproved { why } => Err(StepError::Fail(why)),
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
                node.wiped = None;
                work::quarantine(node, "clean failure");
            }
        })
        .await
    }
}

impl CleanNode {
    async fn take_off(&self, node: Node, cx: &StepCx) -> Result<Committed, StepError> {
        if node.provision.state == ProvisionState::Deleting && !node.disable_power_off {
            work::switch(&self.0, &node, PowerAction::Off).await?;
        }
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        if !node.disable_power_off {
            node.power.seen = Some(PowerSeen::Off);
        }
        // Its own operation finds that it is on no server any more.
        work::tell(&mut tx, cx, &node).await?;
        end_instance(&mut tx, &mut node).await?;
        let why = "the instance is off";
        work::event(&mut tx, cx, &mut node, NodeEvent::Clean, why).await?;
        visit::begin(&mut tx, &self.0, &mut node, cx.now()).await?;
        work::save(&mut tx, cx, &mut node).await?;
        tx.next(Place::Control, Step::visit(Purpose::Wipe)).await
    }

    async fn visit(
        &self,
        node: &Node,
        visit: Visit,
        purpose: Purpose,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let step = |visit| Step::Visit { visit, purpose };
        let arrived = match purpose {
            Purpose::Wipe => Step::Wipe,
            Purpose::Run => Step::Run,
        };
        visit::go(&self.0, cx, node, visit, step, arrived).await
    }

    async fn wipe(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let erased = orders::give(&self.0, cx, node, "erase", Task::Erase).await?;
        let report = match erased {
            Ok(report) => report,
            Err(pending) => {
                let step = |visit| Step::Visit {
                    visit,
                    purpose: Purpose::Wipe,
                };
                return orders::pend(&self.0, cx, node, pending, Step::Wipe, step).await;
            }
        };
        let wipe = steps::proof(node.id, report.wiped, cx.now(), cx.origin());
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        steps::prove(&mut tx, &mut node, &wipe).await?;
        visit::resume(&mut tx, cx, &mut node, "the disks are erased").await?;
        if boots(&node) || left_out(&mut tx, &node, &wipe).await?.is_some() {
            work::save(&mut tx, cx, &mut node).await?;
            return tx.next(Place::Control, Step::Leave(Purpose::Wipe)).await;
        }
        work::release(tx, cx, &mut node, &wipe).await
    }

    async fn run_one(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let ran = match steps::run(&self.0, cx, node).await? {
            Ok(ran) => ran,
            Err(pending) => {
                let step = |visit| Step::Visit {
                    visit,
                    purpose: Purpose::Run,
                };
                return orders::pend(&self.0, cx, node, pending, Step::Run, step).await;
            }
        };
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        let hold = ran.hold;
        steps::finish(&mut tx, &mut node, ran).await?;
        if hold {
            return work::hold(tx, cx, &mut node).await;
        }
        let next = if node.steps.is_empty() {
            visit::resume(&mut tx, cx, &mut node, "all steps are done").await?;
            Step::Leave(Purpose::Run)
        } else {
            Step::Run
        };
        work::save(&mut tx, cx, &mut node).await?;
        tx.next(Place::Control, next).await
    }

    async fn leave(
        &self,
        node: &Node,
        purpose: Purpose,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        leave::go(&self.0, cx, node).await?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        leave::note(&mut tx, cx, &mut node).await?;
        let wipe: Option<Wipe> = match node.wiped {
            Some(id) => record::get(&mut tx, id).await?,
            None => None,
        };
        // By hand, that of an erasure that was among the steps.
        let begun = cx.operation().created_at;
        let made = wipe.filter(|wipe| purpose == Purpose::Wipe || wipe.at >= begun);
        if let Some(wipe) = &made
            && let Some(why) = left_out(&mut tx, &node, wipe).await?
        {
            node.wiped = None;
            work::save(&mut tx, cx, &mut node).await?;
            return tx.next(Place::Control, Step::Unproved { why }).await;
        }
        if purpose == Purpose::Run {
            return work::succeed(tx, cx, &mut node, NodeEvent::DoneByHand).await;
        }
        let wipe = made
            .ok_or_else(|| StepError::Fail(format!("No wipe of node {} is on record.", node.id)))?;
        work::release(tx, cx, &mut node, &wipe).await
    }
}

/// Why a wipe that is on record does not prove that the node's server is blank.
async fn left_out(tx: &mut Tx, node: &Node, wipe: &Wipe) -> Result<Option<String>, StepError> {
    let wipes = wipe::of_node(tx, node.id).await?;
    Ok(disks::left_out(node, wipe, &wipes))
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
