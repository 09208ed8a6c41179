//! `active` and `rebuild`: an operating system is put on a server, and it is booted.
//!
//! ```text
//!  deploying: Prepare ─▶ Visit ─▶ Run ─▶ Install ─▶ Run, step by step ─▶ Leave ─▶ Boot ─▶ active
//!                └─────────┴───────┴────────┴────────────┴────────────────┴───────┴───▶ deploy failed
//! ```
//!
//! Steps of a priority above 80 come before the image, as Ironic has it: RAID arrays, BIOS settings, another erasure.
//!
//! While the ramdisk is booted and at work the node is in `wait call-back`, where it can be aborted. A node whose
//! deployments failed twice in a row is put into quarantine, but not for an image that is at fault itself.

use super::ramdisk::orders::Pending;
use super::ramdisk::visit::Visit;
use super::ramdisk::{boots, leave, orders, timeline, visit};
use super::work::{self, Input};
use super::{deploy_image, machine, steps};
use crate::context::Context;
use async_trait::async_trait;
use corten_bmc::{Boot, BootDevice, PowerAction, Task};
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, StepTx, Workflow};
use corten_model::lifecycle::node::NodeEvent;
use corten_store::metal::node::{Node, PowerSeen};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// So many failed deployments in a row take a server out of the choice.
const FAILURES_MAX: u32 = 2;

pub struct DeployNode(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The image can be written, the server is off, and will boot from its disk.
    Prepare,
    Visit(Visit),
    Install,
    /// The first of the node's steps.
    Run,
    Leave,
    Boot,
    /// The image is at fault, as `why` tells.
    Unfit {
        why: String,
    },
}

impl Step {
    /// What comes next while the ramdisk is there: the steps before the image, the image, the steps after it.
    pub fn of(node: &Node) -> Self {
        match node.steps.first() {
            Some(step) if steps::comes_before_the_image(step) => Self::Run,
            _ if !node.image_written => Self::Install,
            Some(_) => Self::Run,
            None => Self::Leave,
        }
    }
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
            Step::Prepare | Step::Leave | Step::Boot | Step::Unfit { .. } => {
                Duration::from_secs(300)
            }
            Step::Visit(visit) => visit.budget(),
            Step::Install | Step::Run => Duration::from_secs(1500),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let node = work::read(cx, input.node_id).await?;
        match step {
            Step::Prepare => self.prepare(&node, cx).await,
            Step::Visit(visit) => {
                let arrived = Step::of(&node);
                visit::go(&self.0, cx, &node, visit, Step::Visit, arrived).await
            }
            Step::Install => self.install(&node, cx).await,
            Step::Run => self.run_one(&node, cx).await,
            Step::Leave => leave::then(&self.0, cx, &node, Step::Boot).await,
            Step::Boot => self.boot(&node, cx).await,
            Step::Unfit { why } => Err(StepError::Fail(why)),
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let failed = matches!(why, GiveUp::Failed(_) | GiveUp::OverBudget(_));
        let step = serde_json::from_str(&cx.operation().step);
        let unfit = matches!(step, Ok(Step::Unfit { .. }));
        work::give_up(why, cx, input.node_id, |node| {
            node.image_unfit = failed && unfit;
            if failed && !unfit {
                count_failure(node);
            }
        })
        .await
    }
}

impl DeployNode {
    async fn prepare(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        match deploy_image::resolve(&self.0, &mut cx.read().await?, node).await {
            Err(StepError::Fail(why)) => return unfit(cx, why).await,
            resolved => resolved?,
        };
        if !boots(node) {
            if !node.disable_power_off {
                work::switch(&self.0, node, PowerAction::Off).await?;
            }
            let bmc = work::reach(&self.0, node)?.bmc;
            let set = bmc.set_boot(machine::in_its_mode(node, Boot::always(BootDevice::Disk)));
            let set = set.await;
            bmc.close().await;
            set.map_err(machine::step_error)?;
        }
        let step = Step::Visit(Visit::Off);
        cx.commit().await?.next(Place::Control, step).await
    }

    async fn install(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        let image = match deploy_image::resolve(&self.0, &mut cx.read().await?, node).await {
            Err(StepError::Fail(why)) => return unfit(cx, why).await,
            resolved => resolved?,
        };
        let id = image.id.clone();
        let task = Task::Write(Box::new(image));
        let report = match orders::give(&self.0, cx, node, "write", task).await? {
            Ok(report) => report,
            Err(Pending::Unfit(why)) => return unfit(cx, why).await,
            Err(pending) => {
                let same = Step::Install;
                return orders::pend(&self.0, cx, node, pending, same, Step::Visit).await;
            }
        };
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        node.image_written = true;
        if boots(&node) {
            // The stock agent does not tell how many they were.
            let bytes = report.details["downloaded_bytes"].as_u64();
            let bytes = bytes.map_or_else(String::new, |bytes| format!("{bytes} bytes, "));
            let detail = format!("image {id}, {bytes}checksum right");
            timeline::note(&mut tx, node.id, cx.now(), "written", detail).await?;
        }
        self.go_on(tx, cx, &mut node).await
    }

    /// With what is left, or out of the ramdisk.
    async fn go_on(
        &self,
        mut tx: StepTx<'_>,
        cx: &StepCx,
        node: &mut Node,
    ) -> Result<Committed, StepError> {
        let next = Step::of(node);
        if matches!(next, Step::Leave) {
            visit::resume(&mut tx, cx, node, "the image is on the disk").await?;
        }
        work::save(&mut tx, cx, node).await?;
        tx.next(Place::Control, next).await
    }

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
        // What was written to a wiped disk is not wiped; and an erasure before the image is no proof for whoever comes next.
        node.wiped = None;
        if hold {
            return work::hold(tx, cx, &mut node).await;
        }
        self.go_on(tx, cx, &mut node).await
    }

    async fn boot(&self, node: &Node, cx: &StepCx) -> Result<Committed, StepError> {
        work::switch(&self.0, node, PowerAction::On).await?;
        let mut tx = cx.commit().await?;
        let mut node = work::lock(&mut tx, node.id).await?;
        node.power.seen = Some(PowerSeen::On);
        node.failures = 0;
        if boots(&node) {
            let detail = "from its disk";
            timeline::note(&mut tx, node.id, cx.now(), "rebooted", detail).await?;
        }
        work::succeed(tx, cx, &mut node, NodeEvent::Done).await
    }
}

/// One more deployment that failed for its server.
pub(crate) fn count_failure(node: &mut Node) {
    node.failures += 1;
    if node.failures >= FAILURES_MAX {
        work::quarantine(node, "deploy failure");
    }
}

/// Ends the deployment for its image's fault, and not for the server's.
async fn unfit(cx: &StepCx, why: String) -> Result<Committed, StepError> {
    let tx = cx.commit().await?;
    tx.next(Place::Control, Step::Unfit { why }).await
}
