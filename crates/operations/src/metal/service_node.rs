//! `service`: firmware or settings are changed under an instance, step by step.
//!
//! ```text
//!  servicing ─Run, step by step─▶ active
//!      └──▶ service hold (a step asks for a person), or service failed
//! ```

use super::steps;
use super::work::{self, Input};
use crate::context::Context;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::lifecycle::node::NodeEvent;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct ServiceNode(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The first of the node's steps.
    Run,
}

#[async_trait]
impl Workflow for ServiceNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "service_node"
    }

    /// As long as the life cycle lets `servicing` last.
    fn budget(&self, _step: &Step) -> Duration {
        Duration::from_secs(3600)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let Step::Run = step;
        let node = work::read(cx, input.node_id).await?;
        let ran = steps::run(&self.0, cx, &node).await?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, input.node_id).await?;
        steps::finish(&mut tx, &mut node, &ran).await?;
        if ran.hold {
            return work::hold(tx, cx, &mut node).await;
        }
        if node.steps.is_empty() {
            return work::succeed(tx, cx, &mut node, NodeEvent::Done).await;
        }
        work::save(&mut tx, cx, &mut node).await?;
        tx.next(Place::Control, Step::Run).await
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        work::give_up(why, cx, input.node_id, |_| {}).await
    }
}
