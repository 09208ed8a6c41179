//! Choosing a node for an allocation.
//!
//! ```text
//!  allocating ─Choose─▶ active (a node is set aside)
//!                 └───▶ error (with how many nodes each rule dropped)
//! ```

use crate::context::Context;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_model::ids::{InstanceId, NodeAllocationId};
use corten_model::lifecycle::node::ProvisionState;
use corten_store::metal::allocation::{AllocationState, NodeAllocation};
use corten_store::metal::node::Node;
use corten_store::record::Direction;
use corten_store::{Query, Tx, record};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
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
        let chosen = choose(&mut tx, &allocation).await?;
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
        match why {
            GiveUp::Cancelled => tx.cancelled(&cause).await,
            GiveUp::Failed(_) | GiveUp::OverBudget(_) => tx.failed(&cause).await,
        }
    }
}

/// The first node that fits, locked, or how many each rule dropped.
async fn choose(
    tx: &mut Tx,
    allocation: &NodeAllocation,
) -> Result<Result<Node, String>, StepError> {
    let mut query = Query::<Node>::new().order_by("created_at", Direction::Ascending);
    if !allocation.candidates.is_empty() {
        let ids = allocation.candidates.iter().map(ToString::to_string);
        query = query.any_of("id", ids);
    }
    let mut dropped: BTreeMap<&'static str, (usize, String)> = BTreeMap::new();
    for found in query.all(tx).await? {
        let reason = misfit(&found, allocation);
        if reason.is_none()
            && let Some(node) = record::lock::<Node>(tx, found.id).await?
            && misfit(&node, allocation).is_none()
        {
            return Ok(Ok(node));
        }
        let name = found.name.clone().unwrap_or_else(|| found.id.to_string());
        let rule = reason.unwrap_or("was taken meanwhile");
        dropped.entry(rule).or_insert((0, name)).0 += 1;
    }
    let dropped: Vec<String> = dropped
        .into_iter()
        .map(|(rule, (count, example))| format!("{count} {rule} (for example {example})"))
        .collect();
    let why = if dropped.is_empty() {
        "there is no node".to_owned()
    } else {
        dropped.join("; ")
    };
    Ok(Err(format!(
        "No node fits the resource class {} and the traits {:?}: {why}.",
        allocation.resource_class.as_deref().unwrap_or_default(),
        allocation.traits
    )))
}

/// The rule that drops a node.
fn misfit(node: &Node, allocation: &NodeAllocation) -> Option<&'static str> {
    if node.resource_class != allocation.resource_class {
        return Some("of another resource class");
    }
    if !allocation.traits.is_subset(&node.traits) {
        return Some("without the traits");
    }
    if node.provision.state != ProvisionState::Available {
        return Some("not available");
    }
    if node.maintenance {
        return Some("in maintenance");
    }
    if node.instance_id.is_some() || node.allocation_id.is_some() {
        return Some("given already");
    }
    if node.power.seen.is_none() {
        return Some("of unknown power");
    }
    let stranger =
        node.owner.is_some() && allocation.owner.is_some() && node.owner != allocation.owner;
    if stranger {
        return Some("of another owner");
    }
    None
}
