//! `rescue` and `unrescue`: another system is run on a server whose own one does not let its owner in, and back.
//!
//! ```text
//!  rescuing ──▶ rescue          unrescuing ──▶ active
//!      └──────▶ rescue failed        └───────▶ unrescue failed
//! ```

use super::{machine, work};
use crate::context::Context;
use async_trait::async_trait;
use corten_bmc::{PowerAction, change_power};
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_model::ids::NodeId;
use corten_model::lifecycle::node::NodeEvent;
use corten_store::metal::node::PowerSeen;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

const POWER_LIMIT: Duration = Duration::from_secs(60);
/// Where the password is kept, sealed, until the node is no longer rescued.
pub const PASSWORD: &str = "instance_info/rescue_password";

pub struct RescueNode(pub Arc<Context>);

#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    pub node_id: NodeId,
    pub into: Into,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Into {
    RescueSystem,
    OwnSystem,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Boot,
}

#[async_trait]
impl Workflow for RescueNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "rescue_node"
    }

    /// As long as the life cycle lets `rescuing` and `unrescuing` last.
    fn budget(&self, _step: &Step) -> Duration {
        Duration::from_secs(900)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let Step::Boot = step;
        let node = work::read(cx, input.node_id).await?;
        let inside = work::reach_inside(&self.0, &node)?;
        let epoch = cx.fence().epoch;
        match input.into {
            Into::RescueSystem => {
                let password = machine::secret(&self.0, &node, PASSWORD)
                    .map_err(|refusal| StepError::Fail(refusal.message))?
                    .unwrap_or_default();
                inside.rescue(epoch, &password).await
            }
            Into::OwnSystem => inside.unrescue(epoch).await,
        }
        .map_err(machine::step_error)?;
        let bmc = work::reach(&self.0, &node)?.bmc;
        change_power(bmc.as_ref(), PowerAction::On, POWER_LIMIT)
            .await
            .map_err(machine::step_error)?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, input.node_id).await?;
        node.power.seen = Some(PowerSeen::On);
        if input.into == Into::OwnSystem {
            node.secrets.remove(PASSWORD);
        }
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
