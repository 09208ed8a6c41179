//! Creating an instance that is a whole server: a node is chosen and deployed.
//!
//! ```text
//!  Choose ──▶ Follow the deployment ──▶ done (Active)
//!    ▲  │           │
//!    │  │           └──▶ GiveBack ──▶ another node, or Error
//!    └──┼────────────────────┘
//!       └──▶ Error (no node fits)
//! ```
//!
//! A node that refuses to be deployed is passed over for the next that fits. One that cannot be given back in time is left in
//! maintenance, unwiped, for a person to look at; the instance is not kept waiting for it.

use super::node::{self, Return};
use crate::context::Context;
use crate::instance::work;
use crate::metal::choosing::Search;
use crate::metal::{deploy_node, work as metal_work};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, StepTx, Workflow};
use corten_model::ids::{InstanceId, NodeId};
use corten_model::lifecycle::node::{NodeVerb, ProvisionState};
use corten_model::lifecycle::{Command, Outcome, TaskState};
use corten_model::time::Timestamp;
use corten_store::instances::Instance;
use corten_store::metal::node::Node;
use corten_store::{Tx, record};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How often a node is looked at; it tells at the end of its work.
pub(super) const LOOK: Duration = Duration::from_secs(15);

/// How long giving a server back may keep the instance from another: longer than the life cycle lets `deleting` last.
const RETURN_LIMIT: Duration = Duration::from_secs(20 * 60);

pub struct CreateMetalInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    /// For the config drive.
    pub admin_pass: Option<String>,
}

/// How the nodes before fared.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tries {
    /// Why each did not come up.
    pub causes: Vec<String>,
    /// Those that found fault with the image: it, or they, are to blame.
    #[serde(default)]
    pub suspects: Vec<NodeId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// A node that fits is set aside, and its deployment begins.
    Choose {
        #[serde(flatten)]
        tries: Tries,
    },
    Follow {
        #[serde(flatten)]
        tries: Tries,
    },
    /// The server is given back; then the next, or the end.
    GiveBack {
        #[serde(flatten)]
        tries: Tries,
        give_up: bool,
        /// Since when nothing but the server itself is in the way; `None`: from now on.
        #[serde(default)]
        since: Option<Timestamp>,
    },
}

impl Step {
    pub fn first() -> Self {
        Self::Choose {
            tries: Tries::default(),
        }
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
            Step::Choose { tries } => self.choose(tries, input, cx).await,
            Step::Follow { tries } => self.follow(tries, input, cx).await,
            Step::GiveBack {
                tries,
                give_up,
                since,
            } => {
                let since = since.unwrap_or(cx.now());
                self.give_back((tries, give_up), since, input, cx).await
            }
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
        let mut tries = Tries::default();
        tries.causes.push(cause);
        let step = Step::GiveBack {
            tries,
            give_up: true,
            since: Some(cx.now()),
        };
        tx.next(Place::Control, step).await
    }
}

impl CreateMetalInstance {
    async fn choose(
        &self,
        tries: Tries,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let instance = work::read(cx, input.instance_id).await?;
        let need = super::need(&instance);
        let mut search = Search::of(&need, architecture(&instance));
        for suspect in &tries.suspects {
            search.pass_over(*suspect, format!("Node {suspect} could not use the image."));
        }
        loop {
            let mut tx = cx.commit().await?;
            let mut instance = work::lock(&mut tx, input.instance_id).await?;
            let mut node = match search.next(&mut tx).await? {
                Ok(node) => node,
                Err(why) => {
                    let mut cause = format!("No valid host was found. {why}");
                    for (index, earlier) in tries.causes.iter().enumerate() {
                        cause.push_str(&format!(" Try {}: {earlier}", index + 1));
                    }
                    return fail(tx, cx, instance, &cause).await;
                }
            };
            let verb = NodeVerb::Active;
            let pass = input.admin_pass.as_deref();
            match node::order(&mut tx, &self.0, cx, &mut node, &instance, verb, pass).await {
                Ok(()) => {}
                // What was written for this node is undone with the transaction.
                Err(StepError::Fail(why)) => {
                    search.pass_over(node.id, why);
                    continue;
                }
                Err(trouble) => return Err(trouble),
            }
            instance.host_name = Some(node.id.to_string());
            work::enter(&mut tx, cx, &mut instance, TaskState::Spawning).await?;
            let note = format!("node {} is being deployed", node.id);
            let until = cx.now().plus(LOOK);
            let step = Step::Follow { tries };
            return tx.wait(until, Place::Control, step, note).await;
        }
    }

    async fn follow(
        &self,
        mut tries: Tries,
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
                self.blame(&mut tx, cx, &tries.suspects).await?;
                instance.launched_at = Some(cx.now());
                work::succeed(&mut tx, cx, &mut instance, Command::Create).await?;
                tx.done().await
            }
            ProvisionState::DeployFailed | ProvisionState::Error => {
                let why = node.last_error.as_deref().unwrap_or_default();
                let cause = format!("node {} was not deployed: {why}", node.id);
                tries.causes.push(cause);
                if node.image_unfit {
                    tries.suspects.push(node.id);
                }
                let step = Step::GiveBack {
                    give_up: self.was_the_last(&tries),
                    tries,
                    since: Some(cx.now()),
                };
                tx.next(Place::Control, step).await
            }
            state => {
                let note = format!("node {} is {state}", node.id);
                let until = cx.now().plus(LOOK);
                tx.wait(until, Place::Control, Step::Follow { tries }, note)
                    .await
            }
        }
    }

    /// Whether no other node is tried after those that were not deployed. What two servers say of an image is believed.
    fn was_the_last(&self, tries: &Tries) -> bool {
        let most = self.0.settings.compute.max_attempts as usize;
        tries.causes.len() >= most || tries.suspects.len() >= 2
    }

    /// Another server can use the image that these could not: it was they that failed.
    async fn blame(&self, tx: &mut Tx, cx: &StepCx, suspects: &[NodeId]) -> Result<(), StepError> {
        for suspect in suspects {
            if let Some(mut node) = record::lock::<Node>(tx, *suspect).await? {
                node.image_unfit = false;
                deploy_node::count_failure(&mut node);
                metal_work::save(tx, cx, &mut node).await?;
            }
        }
        Ok(())
    }

    async fn give_back(
        &self,
        (tries, give_up): (Tries, bool),
        since: Timestamp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let instance = work::lock(&mut tx, input.instance_id).await?;
        let time_is_up = cx.now().since(since) >= RETURN_LIMIT;
        let back = node::give_back(&mut tx, &self.0, cx, instance.id, time_is_up).await?;
        let (note, since) = match back {
            Return::Held(note) => (note, cx.now()),
            Return::Waits(_) if time_is_up => {
                node::abandon(&mut tx, cx, instance.id, "did not come up").await?;
                return given_back(tx, cx, instance, tries, give_up).await;
            }
            Return::Waits(note) => (note, since),
            Return::Done => return given_back(tx, cx, instance, tries, give_up).await,
        };
        let step = Step::GiveBack {
            tries,
            give_up,
            since: Some(since),
        };
        let until = cx.now().plus(LOOK);
        tx.wait(until, Place::Control, step, note).await
    }
}

/// No node holds the instance any more: the next, or the end.
async fn given_back(
    tx: StepTx<'_>,
    cx: &StepCx,
    instance: Instance,
    tries: Tries,
    give_up: bool,
) -> Result<Committed, StepError> {
    if give_up {
        return fail(tx, cx, instance, &tries.causes.join(" ")).await;
    }
    tx.next(Place::Control, Step::Choose { tries }).await
}

/// What an instance's image is for, as the `cpu_arch` of nodes has it.
fn architecture(instance: &Instance) -> Option<&str> {
    let properties = &instance.intent.image.as_ref()?.properties;
    let said = ["hw_architecture", "architecture"];
    let said = said.iter().find_map(|key| properties.get(*key))?;
    Some(said)
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
