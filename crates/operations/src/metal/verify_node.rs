//! `manage`: is there a BMC at the address, does it let us in, and does it tell the power?
//!
//! ```text
//!  enroll ──▶ verifying ──▶ manageable
//!    ▲            └── the reason is the node's last error ──┐
//!    └──────────────────────────────────────────────────────┘
//! ```

use super::machine;
use super::seen::Boots;
use super::work::{self, Input};
use crate::context::Context;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_model::lifecycle::node::NodeEvent;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct VerifyNode(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Ask,
}

#[async_trait]
impl Workflow for VerifyNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "verify_node"
    }

    /// As long as the life cycle lets `verifying` last.
    fn budget(&self, _step: &Step) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let Step::Ask = step;
        let node = work::read(cx, input.node_id).await?;
        let bmc = work::reach(&self.0, &node)?.bmc;
        let answer = bmc.power().await;
        let boots = match &answer {
            Ok(_) => Boots::asked(bmc.as_ref()).await,
            Err(_) => Boots::default(),
        };
        bmc.close().await;
        // Whoever asked is waiting for the reason: what a BMC does not answer now is told now.
        let power = answer.map_err(|error| StepError::Fail(error.to_string()))?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, input.node_id).await?;
        node.power.seen = work::power_seen(power);
        boots.keep(&mut node);
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

/// Whether what the driver must know is there, without asking the BMC.
pub fn is_complete(
    cx: &Context,
    node: &corten_store::metal::node::Node,
) -> Result<(), corten_model::refusal::Refusal> {
    machine::open(cx, node).map(|_| ())
}
