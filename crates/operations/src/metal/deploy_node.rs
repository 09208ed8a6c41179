//! `active` and `rebuild`: an operating system is put on a server, and it is booted.
//!
//! ```text
//!  deploying: Prepare ─▶ Install ─▶ Run, step by step ─▶ Boot ─▶ active
//!                └──────────┴──────────────┴───────────────┴───▶ deploy failed
//! ```

use super::work::{self, Input};
use super::{machine, steps};
use crate::context::Context;
use async_trait::async_trait;
use corten_bmc::{Boot, BootDevice, PowerAction, change_power};
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::lifecycle::node::NodeEvent;
use corten_store::metal::node::{Node, PowerSeen};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const POWER_LIMIT: Duration = Duration::from_secs(60);
/// Of an instance that names none, which the simulated servers allow.
const NO_IMAGE: &str = "no image";

pub struct DeployNode(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The server is off, and will boot from its disk.
    Prepare,
    Install,
    /// The first of the node's steps.
    Run,
    Boot,
}

#[async_trait]
impl Workflow for DeployNode {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "deploy_node"
    }

    /// Together no longer than the life cycle lets `deploying` last.
    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Prepare | Step::Boot => Duration::from_secs(300),
            Step::Install | Step::Run => Duration::from_secs(1500),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        match step {
            Step::Prepare => {
                let bmc = work::reach(&self.0, &node)?.bmc;
                if !node.disable_power_off {
                    change_power(bmc.as_ref(), PowerAction::Off, POWER_LIMIT)
                        .await
                        .map_err(machine::step_error)?;
                }
                bmc.set_boot(Boot::always(BootDevice::Disk))
                    .await
                    .map_err(machine::step_error)?;
                cx.commit().await?.next(Place::Control, Step::Install).await
            }
            Step::Install => {
                let epoch = cx.fence().epoch;
                work::reach_inside(&self.0, &node)?
                    .install(epoch, image(&node))
                    .await
                    .map_err(machine::step_error)?;
                let next = if node.steps.is_empty() {
                    Step::Boot
                } else {
                    Step::Run
                };
                cx.commit().await?.next(Place::Control, next).await
            }
            Step::Run => self.run_one(&node, cx).await,
            Step::Boot => {
                let bmc = work::reach(&self.0, &node)?.bmc;
                change_power(bmc.as_ref(), PowerAction::On, POWER_LIMIT)
                    .await
                    .map_err(machine::step_error)?;
                let mut tx = cx.commit().await?;
                let mut node = work::lock(&mut tx, input.node_id).await?;
                node.power.seen = Some(PowerSeen::On);
                work::succeed(tx, cx, &mut node, NodeEvent::Done).await
            }
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

impl DeployNode {
    async fn run_one(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let ran = steps::run(&self.0, cx, node).await?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        steps::finish(&mut tx, &mut node, &ran).await?;
        // What was written to a wiped disk is not wiped.
        node.wiped = None;
        if ran.hold {
            return work::hold(tx, cx, &mut node).await;
        }
        work::save(&mut tx, cx, &mut node).await?;
        let next = if node.steps.is_empty() {
            Step::Boot
        } else {
            Step::Run
        };
        tx.next(Place::Control, next).await
    }
}

fn image(node: &Node) -> &str {
    node.instance_info
        .get("image_source")
        .and_then(Value::as_str)
        .unwrap_or(NO_IMAGE)
}
