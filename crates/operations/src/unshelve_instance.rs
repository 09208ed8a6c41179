//! Bringing a shelved instance back (K16): on a host that has room, from the image that holds its disk.
//!
//! ```text
//!  Schedule ──▶ MapDisks ──▶ Spawn ──▶ Finish ──▶ done (Active; the image is removed)
//!     │  ▲         │           │
//!     │  └───── CleanUp ◀──────┘        trouble on this host: another host is tried
//!     ▼            ▼
//!   failed: Shelved_offloaded as before, with the cause as its fault; Error if the image is gone
//!
//!  PowerOn ──▶ Start ──▶ Finish ──▶ done       if it was not offloaded yet
//!     └──────────┴─▶ failed: Shelved
//! ```

use crate::context::Context;
use crate::create_instance::Tried;
use crate::image::{self, files};
use crate::instance::{named, ports, spec, work};
use crate::placement;
use crate::shelve_instance::drop_shelved_image;
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_host::{GuestSpec, Task};
use corten_model::ids::{HostId, ImageId, InstanceId};
use corten_model::lifecycle::{Command, Outcome, TaskState, VmState};
use corten_model::refusal::Refusal;
use corten_scheduler::Request;
use corten_store::images::{self, Image, ImageStatus};
use corten_store::instances::{self, Instance};
use corten_store::{Tx, hosts};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

pub struct UnshelveInstance(pub Arc<Context>);

#[derive(Serialize, Deserialize)]
pub struct Input {
    pub instance_id: InstanceId,
    /// Only on this host, by name (an administrator asked).
    pub host: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// Choose a host and claim its capacity.
    Schedule { tried: Tried },
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
    /// The guest is on its host still.
    PowerOn { host: HostId },
    /// It is started there.
    Start { host: HostId },
    /// The guest runs from disks of its own, and the image is forgotten: there is only forward from here.
    Finish { image_id: Option<ImageId> },
}

impl Step {
    /// Where an unshelve begins.
    pub fn first(instance: &Instance) -> (Place, Self) {
        match instance.host_id {
            Some(host) if instance.state.vm == VmState::Shelved => {
                (work::at(host), Self::PowerOn { host })
            }
            _ => {
                let tried = Tried::default();
                (Place::Control, Self::Schedule { tried })
            }
        }
    }
}

/// How often a host's passing trouble is waited out before another host is tried.
const TRIES_PER_HOST: i64 = 3;

#[async_trait]
impl Workflow for UnshelveInstance {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "unshelve_instance"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Schedule { .. } => Duration::from_secs(60),
            // A large image may have to be copied and checked.
            Step::MapDisks { .. } => Duration::from_secs(1800),
            Step::PowerOn { .. } | Step::Finish { .. } => Duration::from_secs(60),
            Step::Spawn { .. } | Step::CleanUp { .. } | Step::Start { .. } => {
                Duration::from_secs(300)
            }
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Schedule { tried } => self.schedule(tried, input, cx).await,
            Step::MapDisks { host, tried } => match self.map_disks(host, input, cx).await {
                Ok(()) => {
                    let step = Step::Spawn { host, tried };
                    cx.commit().await?.next(work::at(host), step).await
                }
                Err(error) => self.next_host(error, host, tried, cx).await,
            },
            Step::Spawn { host, tried } => {
                let id = input.instance_id;
                work::wired(&self.0, &work::read(cx, id).await?).await?;
                match work::perform(&self.0, cx, host, Task::Start { id }).await {
                    Ok(_) => forget_image(host, input, cx).await,
                    Err(error) => self.next_host(error, host, tried, cx).await,
                }
            }
            Step::CleanUp {
                host,
                tried,
                give_up,
            } => self.clean_up(host, tried, give_up, input, cx).await,
            Step::PowerOn { host } => {
                let mut tx = cx.commit().await?;
                let mut instance = work::lock(&mut tx, input.instance_id).await?;
                work::enter(&mut tx, cx, &mut instance, TaskState::PoweringOn).await?;
                tx.next(work::at(host), Step::Start { host }).await
            }
            Step::Start { host } => {
                let id = input.instance_id;
                work::perform(&self.0, cx, host, Task::Start { id }).await?;
                forget_image(host, input, cx).await
            }
            Step::Finish { image_id } => self.finish(image_id, input, cx).await,
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
        let instance = work::lock(&mut tx, input.instance_id).await?;
        if let Ok(step @ Step::Finish { .. }) = serde_json::from_str(&cx.operation().step) {
            return tx.next(Place::Control, step).await;
        }
        match instance.host_id {
            Some(host) if instance.state.vm != VmState::Shelved => {
                let step = Step::CleanUp {
                    host,
                    tried: Tried::default(),
                    give_up: Some(cause),
                };
                tx.next(work::at(host), step).await
            }
            _ => {
                fail(&mut tx, cx, instance, &cause).await?;
                tx.failed(&cause).await
            }
        }
    }
}

impl UnshelveInstance {
    async fn schedule(
        &self,
        tried: Tried,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        if let Err(cause) = shelved_image(&mut tx, &instance).await? {
            fail(&mut tx, cx, instance, &cause).await?;
            return tx.failed(&cause).await;
        }
        let request = Request {
            host: input.host.clone(),
            tried: tried.hosts.clone(),
            ..placement::request(&mut tx, &instance).await?
        };
        let views = placement::inventory(&mut tx, &self.0, &instance).await?;
        match corten_scheduler::choose(&request, &views) {
            Ok(host) => {
                let chosen = views.into_iter().find(|view| view.id == host);
                if !placement::claim(&mut tx, &self.0, &instance, host).await? {
                    return Err(StepError::Retry(
                        "Another instance claimed the host first.".to_owned(),
                    ));
                }
                instance.host_id = Some(host);
                instance.host_name = chosen.map(|view| view.name);
                ports::join(&mut tx, &self.0, &instance, &cx.origin()).await?;
                work::enter(&mut tx, cx, &mut instance, TaskState::Spawning).await?;
                tx.next(work::at(host), Step::MapDisks { host, tried })
                    .await
            }
            Err(refusal) => {
                let cause = std::iter::once(refusal.to_string())
                    .chain(tried.causes)
                    .collect::<Vec<_>>()
                    .join(" Before: ");
                fail(&mut tx, cx, instance, &cause).await?;
                tx.failed(&cause).await
            }
        }
    }

    async fn map_disks(&self, host: HostId, input: &Input, cx: &StepCx) -> Result<(), StepError> {
        let spec = self.guest(input, cx).await?;
        if let Some(image) = spec.image.clone() {
            work::perform(&self.0, cx, host, Task::EnsureImage { image }).await?;
        }
        work::perform(&self.0, cx, host, Task::CreateGuest { spec }).await?;
        Ok(())
    }

    /// The guest as it was, with its disk from the image it was shelved to.
    async fn guest(&self, input: &Input, cx: &StepCx) -> Result<GuestSpec, StepError> {
        let mut tx = cx.read().await?;
        let (instance, cards) = work::read_with_cards(cx, input.instance_id).await?;
        let image = shelved_image(&mut tx, &instance)
            .await?
            .map_err(StepError::Fail)?;
        let refused = |refusal: Refusal| StepError::Fail(refusal.message);
        let image = spec::image_ref(&self.0, &named::image_row(image)).map_err(refused)?;
        let spec = spec::guest(&self.0, &instance, cards, None).map_err(refused)?;
        Ok(GuestSpec {
            image: Some(image),
            ..spec
        })
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
        let enough = attempts >= self.0.settings.compute.max_attempts;
        let give_up = enough.then(|| tried.causes.join(" "));
        let step = Step::CleanUp {
            host,
            tried,
            give_up,
        };
        cx.commit().await?.next(work::at(host), step).await
    }

    async fn clean_up(
        &self,
        host: HostId,
        tried: Tried,
        give_up: Option<String>,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let id = input.instance_id;
        work::clear_away(&self.0, cx, host, id).await?;
        let mut tx = cx.commit().await?;
        hosts::release(&mut tx, id, None).await?;
        let mut instance = work::lock(&mut tx, id).await?;
        ports::leave(&mut tx, &self.0, &instance, &cx.origin()).await?;
        instance.host_id = None;
        instance.host_name = None;
        match give_up {
            Some(cause) => {
                fail(&mut tx, cx, instance, &cause).await?;
                tx.failed(&cause).await
            }
            None => {
                work::enter(&mut tx, cx, &mut instance, TaskState::Unshelving).await?;
                tx.next(Place::Control, Step::Schedule { tried }).await
            }
        }
    }

    async fn finish(
        &self,
        image_id: Option<ImageId>,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let file = image_id.map(|id| image::file_path(&self.0, id));
        files::remove(file.into_iter().collect()).await?;
        let mut tx = cx.commit().await?;
        let mut instance = work::lock(&mut tx, input.instance_id).await?;
        instance.launched_at = Some(cx.now());
        work::succeed(&mut tx, cx, &mut instance, Command::Unshelve).await?;
        tx.done().await
    }
}

/// The guest runs: the image it was shelved to goes, unless its owner protected it.
async fn forget_image(host: HostId, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
    let mut tx = cx.commit().await?;
    let mut instance = work::lock(&mut tx, input.instance_id).await?;
    let before = instance.shelved_image_id;
    let why = "the server is back";
    drop_shelved_image(&mut tx, &mut instance, why, &cx.origin(), cx.now()).await?;
    instances::update(&mut tx, &mut instance, cx.now()).await?;
    let image_id = match before {
        Some(id) if images::get(&mut tx, id).await?.is_none() => Some(id),
        _ => None,
    };
    tx.next(work::at(host), Step::Finish { image_id }).await
}

/// The image that holds the disk of a shelved instance, or why it cannot be used.
async fn shelved_image(
    tx: &mut Tx,
    instance: &Instance,
) -> Result<Result<Image, String>, StepError> {
    let image = match instance.shelved_image_id {
        Some(id) => images::get(tx, id).await?,
        None => None,
    };
    Ok(match image {
        Some(image) if image.status == ImageStatus::Active => Ok(image),
        Some(image) => Err(format!(
            "Image {}, which holds the server's disk, is {}: make it active and unshelve the server again.",
            image.id, image.status
        )),
        None => Err(
            "The image that the server was shelved to could not be found: its disk is lost."
                .to_owned(),
        ),
    })
}

/// The instance stays shelved, and its fault says why; without its image it is in Error.
async fn fail(
    tx: &mut Tx,
    cx: &StepCx,
    mut instance: Instance,
    cause: &str,
) -> Result<(), StepError> {
    let image = match instance.shelved_image_id {
        Some(id) => images::get(tx, id).await?,
        None => None,
    };
    let on_its_host = instance.state.vm == VmState::Shelved;
    let outcome = if image.is_some() || on_its_host {
        Outcome::Failed
    } else {
        Outcome::Broken
    };
    work::fail(tx, cx, &mut instance, Command::Unshelve, outcome, cause).await?;
    Ok(())
}
