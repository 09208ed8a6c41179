//! Creating an instance: from an accepted request to a running guest.
//!
//! ```text
//!  Schedule ──▶ Accept ──▶ MapDisks ──▶ Spawn ──▶ done (Active)
//!     │  ▲                    │           │
//!     │  └───── CleanUp ◀─────┴───────────┘   trouble on this host: another host is tried
//!     ▼              │
//!   Error ◀──────────┘   no host is left, or somebody cancelled
//! ```
//!
//! The states are K7 Scheduling, K5 Building (capacity is claimed), K6 Starting (the host took the work), K9 Networking,
//! K8 Block_device_mapping, K10 Spawning, K1 Active.

use crate::context::Context;
use crate::instance::{ports, spec, work};
use crate::placement;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, StepTx, Workflow};
use corten_host::Task;
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::{Command, Outcome, TaskState};
use corten_scheduler::Request;
use corten_store::hosts;
use corten_store::instances::Instance;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub struct CreateInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    /// Only on this host, by name (an administrator asked).
    pub host: Option<String>,
    /// For the config drive.
    pub admin_pass: Option<String>,
}

/// What went wrong on the hosts tried so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tried {
    pub hosts: BTreeSet<HostId>,
    pub causes: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// Choose a host and claim its capacity.
    Schedule { tried: Tried },
    /// The host takes the work, and the ports are made and joined to it.
    Accept { host: HostId, tried: Tried },
    /// The image is cached, the disks and the config drive are made.
    MapDisks { host: HostId, tried: Tried },
    /// The guest is started.
    Spawn { host: HostId, tried: Tried },
    /// What was begun on this host is removed; then the next host, or the end.
    CleanUp {
        host: HostId,
        tried: Tried,
        give_up: Option<String>,
    },
}

/// How often a host's passing trouble is waited out before another host is tried.
const TRIES_PER_HOST: i64 = 3;

#[async_trait]
impl Workflow for CreateInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "create_instance"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Schedule { .. } | Step::Accept { .. } => Duration::from_secs(60),
            // A large image may have to be copied and checked.
            Step::MapDisks { .. } => Duration::from_secs(1800),
            Step::Spawn { .. } | Step::CleanUp { .. } => Duration::from_secs(300),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Schedule { tried } => self.schedule(tried, input, cx).await,
            Step::Accept { host, tried } => self.accept(host, tried, input, cx).await,
            Step::MapDisks { host, tried } => {
                let done = self.map_disks(host, input, cx).await;
                match done {
                    Ok(()) => {
                        let mut tx = cx.commit().await?;
                        let mut instance = work::lock(&mut tx, input.instance_id).await?;
                        work::enter(&mut tx, cx, &mut instance, TaskState::Spawning).await?;
                        tx.next(work::at(host), Step::Spawn { host, tried }).await
                    }
                    Err(error) => self.next_host(error, host, tried, cx).await,
                }
            }
            Step::Spawn { host, tried } => match self.spawn(host, input, cx).await {
                Ok(()) => finish(input, cx).await,
                Err(error) => self.next_host(error, host, tried, cx).await,
            },
            Step::CleanUp {
                host,
                tried,
                give_up,
            } => self.clean_up(host, tried, give_up, input, cx).await,
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
        let instance = work::lock(&mut tx, input.instance_id).await?;
        match instance.host_id {
            Some(host) => {
                let step = Step::CleanUp {
                    host,
                    tried: Tried::default(),
                    give_up: Some(cause),
                };
                tx.next(work::at(host), step).await
            }
            None => self.fail(tx, cx, instance, &cause).await,
        }
    }
}

impl CreateInstance {
    /// No guest came of it: the instance holds nothing but its row.
    async fn fail(
        &self,
        mut tx: StepTx<'_>,
        cx: &StepCx,
        mut instance: Instance,
        cause: &str,
    ) -> Result<Committed, StepError> {
        ports::release(&mut tx, &self.0, &instance, &cx.origin()).await?;
        let command = Command::Create;
        work::fail(&mut tx, cx, &mut instance, command, Outcome::Failed, cause).await?;
        tx.failed(cause).await
    }

    async fn schedule(
        &self,
        tried: Tried,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        let request = Request {
            host: input.host.clone(),
            tried: tried.hosts.clone(),
            ..placement::request(&mut tx, &instance).await?
        };
        let views = placement::inventory(&mut tx, &self.0, &instance).await?;
        match corten_scheduler::choose(&request, &views) {
            Ok(host) => {
                let name = views
                    .into_iter()
                    .find(|view| view.id == host)
                    .map(|view| view.name);
                if !placement::claim(&mut tx, &self.0, &instance, host).await? {
                    return Err(StepError::Retry(
                        "Another instance claimed the host first.".to_owned(),
                    ));
                }
                instance.host_id = Some(host);
                instance.host_name = name;
                work::enter(&mut tx, cx, &mut instance, TaskState::Claimed).await?;
                tx.next(work::at(host), Step::Accept { host, tried }).await
            }
            Err(refusal) => {
                let mut cause = refusal.to_string();
                for (index, earlier) in tried.causes.iter().enumerate() {
                    cause.push_str(&format!(" Try {}: {earlier}", index + 1));
                }
                self.fail(tx, cx, instance, &cause).await
            }
        }
    }

    async fn accept(
        &self,
        host: HostId,
        tried: Tried,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        for task in [TaskState::Accepted, TaskState::Networking] {
            work::enter(&mut tx, cx, &mut instance, task).await?;
        }
        ports::make_and_join(&mut tx, &self.0, &instance, &cx.origin()).await?;
        work::enter(&mut tx, cx, &mut instance, TaskState::BlockDeviceMapping).await?;
        tx.next(work::at(host), Step::MapDisks { host, tried })
            .await
    }

    async fn map_disks(&self, host: HostId, input: &Input, cx: &StepCx) -> Result<(), StepError> {
        let (instance, cards) = work::read_with_cards(cx, input.instance_id).await?;
        let spec = spec::guest(&self.0, &instance, cards, input.admin_pass.as_deref())
            .map_err(|refusal| StepError::Fail(refusal.message))?;
        if let Some(image) = &spec.image {
            work::perform(
                &self.0,
                cx,
                host,
                Task::EnsureImage {
                    image: image.clone(),
                },
            )
            .await?;
        }
        work::perform(&self.0, cx, host, Task::CreateGuest { spec }).await?;
        Ok(())
    }

    async fn spawn(&self, host: HostId, input: &Input, cx: &StepCx) -> Result<(), StepError> {
        let id = input.instance_id;
        work::wired(&self.0, &work::read(cx, id).await?).await?;
        work::perform(&self.0, cx, host, Task::Start { id }).await?;
        Ok(())
    }

    /// Trouble on a host: tried again there a few times if it may pass, then cleaned up for the next host.
    async fn next_host(
        &self,
        error: StepError,
        host: HostId,
        mut tried: Tried,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let cause = match error {
            StepError::Retry(why) if cx.operation().attempt + 1 < TRIES_PER_HOST => {
                return Err(StepError::Retry(why));
            }
            StepError::Retry(cause) | StepError::Fail(cause) => cause,
            other => return Err(other),
        };
        tried.hosts.insert(host);
        tried.causes.push(cause.clone());
        let attempts = tried.causes.len() as u32;
        let give_up =
            (attempts >= self.0.settings.compute.max_attempts).then(|| tried.causes.join(" "));
        cx.commit()
            .await?
            .next(
                work::at(host),
                Step::CleanUp {
                    host,
                    tried,
                    give_up,
                },
            )
            .await
    }

    async fn clean_up(
        &self,
        host: HostId,
        tried: Tried,
        give_up: Option<String>,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        work::clear_away(&self.0, cx, host, input.instance_id).await?;
        let mut tx = cx.commit().await?;
        hosts::release(&mut tx, input.instance_id, None).await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        instance.host_id = None;
        instance.host_name = None;
        match give_up {
            Some(cause) => self.fail(tx, cx, instance, &cause).await,
            None => {
                ports::leave(&mut tx, &self.0, &instance, &cx.origin()).await?;
                work::enter(&mut tx, cx, &mut instance, TaskState::Scheduling).await?;
                tx.next(Place::Control, Step::Schedule { tried }).await
            }
        }
    }
}

async fn finish(input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
    let mut tx = cx.commit().await?;
    let mut instance = work::lock(&mut tx, input.instance_id).await?;
    instance.launched_at = Some(cx.now());
    work::succeed(&mut tx, cx, &mut instance, Command::Create).await?;
    tx.done().await
}
