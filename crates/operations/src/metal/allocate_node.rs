//! Choosing a node for an allocation.
//!
//! ```text
//!  allocating ─Choose─▶ active (a node is set aside)
//!                 └───▶ error (with how many nodes each rule dropped)
//! ```

use super::choosing::{self, Need};
use crate::context::Context;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_model::ids::{InstanceId, NodeAllocationId};
use corten_store::metal::allocation::{AllocationState, NodeAllocation};
use corten_store::record;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

pub const SUBJECT: &str = "allocation";

pub struct AllocateNode(pub Arc<Context>);

#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    pub allocation_id: NodeAllocationId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Choose,
}

#[async_trait]
impl Workflow for AllocateNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "allocate_node"
    }

    fn budget(&self, _step: &Step) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let Step::Choose = step;
        let mut tx = cx.commit().await?;
        let Some(mut allocation) =
            record::lock::<NodeAllocation>(&mut tx, input.allocation_id).await?
        else {
            return tx.cancelled("the allocation is gone").await;
        };
        let need = Need {
            resource_class: allocation.resource_class.clone(),
            traits: allocation.traits.clone(),
            owner: allocation.owner.clone(),
            candidates: allocation.candidates.clone(),
            name: allocation.name.clone(),
        };
        let chosen = choosing::choose(&mut tx, &need).await?;
        allocation.standard.updated_at = Some(cx.now());
        match chosen {
            Ok(mut node) => {
                allocation.node_id = Some(node.id);
                allocation.state = AllocationState::Active;
                allocation.last_error = None;
                node.allocation_id = Some(allocation.id);
                node.instance_id = Some(InstanceId(allocation.id.0));
                if !allocation.traits.is_empty() {
                    node.instance_info
                        .insert("traits".to_owned(), json!(allocation.traits));
                }
                record::update(&mut tx, &node).await?;
                record::update(&mut tx, &allocation).await?;
                tx.done().await
            }
            Err(why) => {
                allocation.state = AllocationState::Error;
                allocation.last_error = Some(why.clone());
                record::update(&mut tx, &allocation).await?;
                tx.failed(&why).await
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
        let mut tx = cx.commit().await?;
        if let Some(mut allocation) =
            record::lock::<NodeAllocation>(&mut tx, input.allocation_id).await?
        {
            allocation.state = AllocationState::Error;
            allocation.last_error = Some(cause.clone());
            record::update(&mut tx, &allocation).await?;
        }
        tx.given_up(&why).await
    }
}
