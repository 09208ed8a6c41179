//! `rescue` and `unrescue`: another system is run on a server whose own one does not let its owner in, and back.
//!
//! ```text
//!  rescuing ─Visit, Open─▶ rescue          unrescuing ─Own, Boot─▶ active
//!      └──────▶ rescue failed                  └───────▶ unrescue failed
//! ```

use super::ramdisk::visit::Visit;
use super::ramdisk::{boots, leave, orders, visit};
use super::{agent, machine, work};
use crate::context::Context;
use async_trait::async_trait;
use corten_bmc::{PowerAction, Task};
use corten_engine::{Committed, GiveUp, StepCx, StepError, Workflow};
use corten_model::lifecycle::node::NodeEvent;
use corten_store::instances::Instance;
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::record;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use work::Input;

/// Where the password is kept, sealed, until the node is no longer rescued.
pub const PASSWORD: &str = "instance_info/rescue_password";

pub struct RescueNode(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Visit(Visit),
    /// The rescue system lets the password in, and the instance's key.
    Open,
    /// The server is off, and boots from its own disk.
    Own,
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
        let node = work::read(cx, input.node_id).await?;
        match step {
            Step::Visit(visit) => {
                let arrived = Step::Open;
                visit::go(&self.0, cx, &node, visit, Step::Visit, arrived).await
            }
            Step::Open => self.open(&node, cx).await,
            Step::Own => self.own(&node, cx).await,
            Step::Boot => self.boot(&node, cx).await,
        }
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

impl RescueNode {
    async fn open(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let password = machine::secret(&self.0, node, PASSWORD)
            .map_err(|refusal| StepError::Fail(refusal.message))?
            .unwrap_or_default();
        let task = Task::Rescue {
            password: password.into(),
            authorized_keys: keys_of(node, cx).await?,
        };
        if let Err(pending) = orders::give(&self.0, cx, node, "rescue", task).await? {
            return orders::pend(&self.0, cx, node, pending, Step::Open, Step::Visit).await;
        }
        if !boots(node) {
            work::switch(&self.0, node, PowerAction::On).await?;
        }
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        node.power.seen = Some(PowerSeen::On);
        agent::dismiss_stock(&mut node);
        visit::resume(&mut tx, cx, &mut node, "the rescue system is open").await?;
        work::succeed(tx, cx, &mut node, NodeEvent::Done).await
    }

    async fn own(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        if !boots(node)
            && let Err(pending) = orders::give(&self.0, cx, node, "settle", Task::Settle).await?
        {
            return orders::pend(&self.0, cx, node, pending, Step::Own, Step::Visit).await;
        }
        leave::then(&self.0, cx, node, Step::Boot).await
    }

    async fn boot(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let power = leave::as_found(&self.0, node).await?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        node.power.seen = Some(power);
        node.secrets.remove(PASSWORD);
        work::succeed(tx, cx, &mut node, NodeEvent::Done).await
    }
}

/// Whoever the instance lets in by its key pair, its rescue system lets in too.
async fn keys_of(node: &Node, cx: &StepCx) -> Result<String, StepError> {
    let Some(id) = node.instance_id else {
        return Ok(String::new());
    };
    let instance: Option<Instance> = record::get(&mut cx.read().await?, id).await?;
    let key = instance.and_then(|instance| instance.intent.key);
    let ssh = key.filter(|key| key.kind == "ssh");
    Ok(ssh.map_or_else(String::new, |key| key.public_key))
}
