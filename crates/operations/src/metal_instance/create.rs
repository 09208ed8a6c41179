//! Creating an instance that is a whole server: a node is chosen and deployed.
//!
//! ```text
//!  Choose ──▶ Follow the deployment ──▶ done (Active)
//!    ▲  │           │
//!    │  │           └──▶ GiveBack ──▶ another node, or Error
//!    └──┼────────────────────┘
//!       └──▶ Error (no node fits)
//! ```

use super::node::{self, Return};
use crate::context::Context;
use crate::instance::work;
use crate::metal::choosing;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, StepTx, Workflow};
use corten_model::ids::InstanceId;
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::lifecycle::{Command, Outcome, TaskState};
use corten_store::instances::Instance;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How often a node is looked at; it tells at the end of its work.
pub(super) const LOOK: Duration = Duration::from_secs(15);

pub struct CreateMetalInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    /// For the config drive.
    pub admin_pass: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// A node that fits is set aside, and its deployment begins. `causes`: why the nodes before did not come up.
    Choose {
        causes: Vec<String>,
    },
    Follow {
        causes: Vec<String>,
    },
    /// The server is given back; then the next, or the end.
    GiveBack {
        causes: Vec<String>,
        give_up: bool,
    },
}

impl Step {
    pub fn first() -> Self {
        Self::Choose { causes: Vec::new() }
    }
}

#[async_trait]
impl Workflow for CreateMetalInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "create_metal_instance"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Choose { .. } => Duration::from_secs(60),
            Step::Follow { .. } => Duration::from_secs(3600),
            Step::GiveBack { .. } => Duration::from_secs(1800),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Choose { causes } => self.choose(causes, input, cx).await,
            Step::Follow { causes } => self.follow(causes, input, cx).await,
            Step::GiveBack { causes, give_up } => self.give_back(causes, give_up, input, cx).await,
        }
    }

    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let cause = match &why {
            GiveUp::Cancelled => "The create was cancelled.".to_owned(),
            other => other.to_string(),
        };
        let mut tx = cx.commit().await?;
        if node::find(&mut tx, input.instance_id).await?.is_none() {
            let instance = work::lock(&mut tx, input.instance_id).await?;
            return fail(tx, cx, instance, &cause).await;
        }
        let step = Step::GiveBack {
            causes: vec![cause],
            give_up: true,
        };
        tx.next(Place::Control, step).await
    }
}

impl CreateMetalInstance {
    async fn choose(
        &self,
        causes: Vec<String>,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        let chosen = choosing::choose(&mut tx, &super::need(&instance)).await?;
        let mut node = match chosen {
            Ok(node) => node,
            Err(why) => {
                let mut cause = format!("No valid host was found. {why}");
                for (index, earlier) in causes.iter().enumerate() {
                    cause.push_str(&format!(" Try {}: {earlier}", index + 1));
                }
                return fail(tx, cx, instance, &cause).await;
            }
        };
        let verb = NodeVerb::Active;
        let pass = input.admin_pass.as_deref();
        node::order(&mut tx, &self.0, cx, &mut node, &instance, verb, pass).await?;
        instance.host_name = Some(node.id.to_string());
        work::enter(&mut tx, cx, &mut instance, TaskState::Spawning).await?;
        let note = format!("node {} is being deployed", node.id);
        let until = cx.now().plus(LOOK);
        tx.wait(until, Place::Control, Step::Follow { causes }, note)
            .await
    }

    async fn follow(
        &self,
        mut causes: Vec<String>,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        let Some(node) = node::find(&mut tx, instance.id).await? else {
            let cause = "Its server was taken from it while it was being deployed.";
            return fail(tx, cx, instance, cause).await;
        };
        match node.provision.state {
            ProvisionState::Active => {
                instance.launched_at = Some(cx.now());
                work::succeed(&mut tx, cx, &mut instance, Command::Create).await?;
                tx.done().await
            }
            ProvisionState::DeployFailed | ProvisionState::Error => {
                let why = node.last_error.unwrap_or_default();
                causes.push(format!("node {} was not deployed: {why}", node.id));
                let give_up = causes.len() >= self.0.settings.compute.max_attempts as usize;
                let step = Step::GiveBack { causes, give_up };
                tx.next(Place::Control, step).await
            }
            state => {
                let note = format!("node {} is {state}", node.id);
                let until = cx.now().plus(LOOK);
                tx.wait(until, Place::Control, Step::Follow { causes }, note)
                    .await
            }
        }
    }

    async fn give_back(
        &self,
        causes: Vec<String>,
        give_up: bool,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let instance = work::lock(&mut tx, input.instance_id).await?;
        match node::give_back(&mut tx, &self.0, cx, instance.id).await? {
            Return::Waits(note, _) | Return::Held(note) => {
                let until = cx.now().plus(LOOK);
                let step = Step::GiveBack { causes, give_up };
                tx.wait(until, Place::Control, step, note).await
            }
            Return::Done if give_up => fail(tx, cx, instance, &causes.join(" ")).await,
            Return::Done => tx.next(Place::Control, Step::Choose { causes }).await,
        }
    }
}

/// No server came of it: the instance holds nothing but its row.
async fn fail(
    mut tx: StepTx<'_>,
    cx: &StepCx,
    mut instance: Instance,
    cause: &str,
) -> Result<Committed, StepError> {
    instance.host_name = None;
    let command = Command::Create;
    work::fail(&mut tx, cx, &mut instance, command, Outcome::Failed, cause).await?;
    tx.failed(cause).await
}
