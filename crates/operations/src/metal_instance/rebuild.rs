//! Rebuilding an instance that is a whole server: the same server gets an operating system anew, with the key that was
//! chosen; the old key is on it no more (K49).
//!
//! ```text
//!  Begin ──▶ Follow the deployment ──▶ done (Active)
//!    │               └──▶ Error, with the server still held
//!    └── waits while something else works on the server
//! ```

use super::create::LOOK;
use super::{node, ready};
use crate::context::Context;
use crate::instance::work;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::ids::InstanceId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::lifecycle::{Command, Outcome, TaskState, VmState};
use corten_store::Tx;
use corten_store::metal::node::Node;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long a rebuild waits for work on its server that began when it was accepted already.
const PATIENCE: Duration = Duration::from_secs(1800);

pub struct RebuildMetalInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    /// For the config drive.
    pub admin_pass: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    Begin,
    Follow,
}

impl RebuildMetalInstance {
    /// Why the server is not to be rebuilt yet.
    async fn hindrance(
        &self,
        tx: &mut Tx,
        cx: &StepCx,
        node: &Node,
        id: InstanceId,
    ) -> Result<Option<String>, StepError> {
        let (command, now) = (Command::Rebuild, cx.now());
        if let Some(running) = ready::working_on(tx, node).await? {
            return Ok(Some(ready::busy(node, id, command, &running, now)));
        }
        let taken = ready::takes(node, id, command, now);
        Ok(taken.err().map(|refusal| refusal.message))
    }
}

#[async_trait]
impl Workflow for RebuildMetalInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "rebuild_metal_instance"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Begin => Duration::from_secs(60),
            Step::Follow => Duration::from_secs(3600),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        let Some(mut node) = node::lock(&mut tx, instance.id).await? else {
            let refusal = ready::without_server(instance.id);
            return Err(StepError::Fail(refusal.message));
        };
        match (step, node.provision.state) {
            (Step::Begin, _) => {
                if let Some(note) = self.hindrance(&mut tx, cx, &node, instance.id).await? {
                    if cx.now().since(cx.operation().created_at) > PATIENCE {
                        return Err(StepError::Fail(note));
                    }
                    let until = cx.now().plus(LOOK);
                    return tx.wait(until, Place::Control, Step::Begin, note).await;
                }
                let verb = NodeVerb::Rebuild;
                let pass = input.admin_pass.as_deref();
                node::order(&mut tx, &self.0, cx, &mut node, &instance, verb, pass).await?;
                work::enter(&mut tx, cx, &mut instance, TaskState::RebuildSpawning).await?;
                let note = format!("node {} is being deployed anew", node.id);
                let until = cx.now().plus(LOOK);
                tx.wait(until, Place::Control, Step::Follow, note).await
            }
            (Step::Follow, ProvisionState::Active) => {
                instance.launched_at = Some(cx.now());
                if instance.state.vm == VmState::Stopped {
                    instance.state.vm = VmState::Active;
                }
                work::succeed(&mut tx, cx, &mut instance, Command::Rebuild).await?;
                tx.done().await
            }
            (Step::Follow, ProvisionState::DeployFailed | ProvisionState::Error) => {
                let why = node.last_error.clone().unwrap_or_default();
                Err(StepError::Fail(why))
            }
            (Step::Follow, state) => {
                let note = format!("node {} is {state}", node.id);
                let until = cx.now().plus(LOOK);
                tx.wait(until, Place::Control, Step::Follow, note).await
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
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        let (command, outcome) = (Command::Rebuild, Outcome::Failed);
        work::fail(&mut tx, cx, &mut instance, command, outcome, &cause).await?;
        tx.failed(&cause).await
    }
}
