//! `service`: firmware or settings are changed under an instance, step by step.
//!
//! ```text
//!  servicing ─Visit, Run step by step, Leave, Boot─▶ active
//!      └──▶ service hold (a step asks for a person), or service failed
//!  service failed ─abort─▶ active, and Leave, Boot: the instance has its server back
//! ```

use super::ramdisk::visit::Visit;
use super::ramdisk::{boots, leave, orders, visit};
use super::steps;
use super::work::{self, Input};
use crate::context::Context;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::lifecycle::node::{NodeEvent, ProvisionState};
use corten_store::metal::node::Node;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct ServiceNode(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Visit(Visit),
    /// The first of the node's steps.
    Run,
    Leave,
    /// Into its own system.
    Boot,
}

#[async_trait]
impl Workflow for ServiceNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "service_node"
    }

    /// As long as the life cycle lets `servicing` last.
    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Visit(visit) => visit.budget(),
            Step::Run => Duration::from_secs(3600),
            Step::Leave | Step::Boot => Duration::from_secs(300),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        match step {
            Step::Visit(visit) => {
                let arrived = Step::Run;
                visit::go(&self.0, cx, &node, visit, Step::Visit, arrived).await
            }
            Step::Run => self.run_one(&node, cx).await,
            Step::Leave => leave::then(&self.0, cx, &node, Step::Boot).await,
            Step::Boot => self.boot(&node, cx).await,
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        work::give_up(why, cx, input.node_id, |node| {
            // The instance's own system does not run, whatever the state says.
            if node.provision.state == ProvisionState::Active {
                work::quarantine(node, "service failure");
            }
        })
        .await
    }
}

impl ServiceNode {
    async fn run_one(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let ran = match steps::run(&self.0, cx, node).await? {
            Ok(ran) => ran,
            Err(pending) => {
                let same = Step::Run;
                return orders::pend(&self.0, cx, node, pending, same, Step::Visit).await;
            }
        };
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        let hold = ran.hold;
        steps::finish(&mut tx, &mut node, ran).await?;
        if hold {
            return work::hold(tx, cx, &mut node).await;
        }
        if !node.steps.is_empty() {
            work::save(&mut tx, cx, &mut node).await?;
            return tx.next(Place::Control, Step::Run).await;
        }
        visit::resume(&mut tx, cx, &mut node, "all steps are done").await?;
        if boots(&node) {
            work::save(&mut tx, cx, &mut node).await?;
            return tx.next(Place::Control, Step::Leave).await;
        }
        work::succeed(tx, cx, &mut node, NodeEvent::Done).await
    }

    async fn boot(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let power = leave::as_found(&self.0, node).await?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        node.power.seen = Some(power);
        if node.provision.state == ProvisionState::Active {
            work::save(&mut tx, cx, &mut node).await?;
            work::tell(&mut tx, cx, &node).await?;
            return tx.done().await;
        }
        work::succeed(tx, cx, &mut node, NodeEvent::Done).await
    }
}
