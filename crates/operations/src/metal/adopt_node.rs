//! `adopt`: a server that runs already is taken over as it is.
//!
//! ```text
//!  adopting ──▶ active
//!      └──────▶ adopt failed
//! ```

use super::machine;
use super::work::{self, Input};
use crate::context::Context;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_model::lifecycle::node::NodeEvent;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct AdoptNode(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Ask,
}

#[async_trait]
impl Workflow for AdoptNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "adopt_node"
    }

    /// As long as the life cycle lets `adopting` last.
    fn budget(&self, _step: &Step) -> Duration {
        Duration::from_secs(600)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let Step::Ask = step;
        let node = work::read(cx, input.node_id).await?;
        let bmc = work::reach(&self.0, &node)?.bmc;
        let answer = bmc.power().await;
        bmc.close().await;
        let power = answer.map_err(machine::step_error)?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, input.node_id).await?;
        node.power.seen = work::power_seen(power);
        work::succeed(tx, cx, &mut node, NodeEvent::Done).await
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
