//! What the steps of all instance operations have in common: reaching a host, moving the state, ending well or badly.

use super::metadata::Card;
use super::ports;
use crate::context::Context;
use crate::network;
use corten_engine::{Place, StepCx, StepError};
use corten_host::{Fence, HostError, Observation, Power, Report, Task};
use corten_model::ids::{HostId, InstanceId};
use corten_model::lifecycle::{Command, InstanceState, Outcome, PowerState, TaskState, settle};
use corten_model::time::Timestamp;
use corten_store::instances::{self, Fault, Instance};
use corten_store::{Error, Tx};

/// The place of a host's steps.
pub fn at(host: HostId) -> Place {
    Place::Host(host.to_string())
}

/// Has a host do a task, under the fence of this step's operation.
pub async fn perform(
    cx: &Context,
    step: &StepCx,
    host: HostId,
    task: Task,
) -> Result<Report, StepError> {
    let hands = cx
        .hosts
        .get(host)
        .map_err(|refusal| StepError::Retry(refusal.message))?;
    let fence = step.fence();
    let fence = Fence {
        operation: fence.operation,
        epoch: fence.epoch,
    };
    hands.perform(fence, task).await.map_err(step_error)
}

/// Has a host remove what there is of a guest. A host that is away for longer than the step's budget is not waited for:
/// it removes a guest that is no instance's when it is back.
pub async fn clear_away(
    cx: &Context,
    step: &StepCx,
    host: HostId,
    id: InstanceId,
) -> Result<(), StepError> {
    if cx.hosts.get(host).is_err() && step.now() > step.operation().deadline {
        tracing::warn!(%host, instance = %id, "a host is away, and will find a guest to remove when it is back");
        return Ok(());
    }
    perform(cx, step, host, Task::DeleteGuest { id })
        .await
        .map(drop)
}

/// Trouble that may pass is tried again; a rule that is broken will stay broken.
pub fn step_error(error: HostError) -> StepError {
    let text = crate::error_text(&error);
    if error.is_transient() || matches!(error, HostError::Fenced { .. }) {
        StepError::Retry(text)
    } else {
        StepError::Fail(text)
    }
}

/// The instance an operation works on, to be changed in this transaction.
pub async fn lock(tx: &mut Tx, id: InstanceId) -> Result<Instance, StepError> {
    let instance = instances::lock(tx, id).await?;
    instance.ok_or_else(|| StepError::Fail(format!("Instance {id} is gone.")))
}

/// The instance an operation works on, for reading.
pub async fn read(step: &StepCx, id: InstanceId) -> Result<Instance, StepError> {
    let mut tx = step.read().await?;
    let instance = instances::get(&mut tx, id).await?;
    instance.ok_or_else(|| StepError::Fail(format!("Instance {id} is gone.")))
}

/// The instance an operation works on with its network cards, for reading.
pub async fn read_with_cards(
    step: &StepCx,
    id: InstanceId,
) -> Result<(Instance, Vec<Card>), StepError> {
    let instance = read(step, id).await?;
    let cards = ports::cards(&mut step.read().await?, &instance).await?;
    Ok((instance, cards))
}

/// Waits a little until the fabric was told of the instance's ports. A fabric that is away does not keep a guest from
/// running: its network works when the fabric is back.
pub async fn wired(cx: &Context, instance: &Instance) -> Result<(), StepError> {
    let patience = cx.settings.network.patience();
    if !network::told(cx, &ports::units(instance), patience).await? {
        tracing::warn!(instance = %instance.id, "the fabric was not told of the instance's ports yet");
    }
    Ok(())
}

/// The host an instance is on.
pub fn host_of(instance: &Instance) -> Result<HostId, StepError> {
    instance
        .host_id
        .ok_or_else(|| StepError::Fail(format!("Instance {} is on no host.", instance.id)))
}

/// Moves an instance on to the next task of its operation.
pub async fn enter(
    tx: &mut Tx,
    step: &StepCx,
    instance: &mut Instance,
    task: TaskState,
) -> Result<(), Error> {
    let state = instance.state.enter(task);
    instances::change_state(
        tx,
        instance,
        state,
        step.operation().kind.as_str(),
        &step.origin(),
        step.now(),
    )
    .await
}

/// The operation reached its goal: the state that follows, and no fault any more.
pub async fn succeed(
    tx: &mut Tx,
    step: &StepCx,
    instance: &mut Instance,
    command: Command,
) -> Result<(), Error> {
    instance.fault = None;
    instance.progress = 0;
    let state = settle(command, instance.state, Outcome::Succeeded);
    instances::change_state(
        tx,
        instance,
        state,
        step.operation().kind.as_str(),
        &step.origin(),
        step.now(),
    )
    .await
}

/// The operation failed: the state that follows, with the cause as the instance's fault.
pub async fn fail(
    tx: &mut Tx,
    step: &StepCx,
    instance: &mut Instance,
    command: Command,
    outcome: Outcome,
    cause: &str,
) -> Result<(), Error> {
    instance.fault = Some(fault(cause, step.now()));
    instance.progress = 0;
    let state = settle(command, instance.state, outcome);
    instances::change_state(tx, instance, state, cause, &step.origin(), step.now()).await
}

/// Trouble as the server body shows it.
pub fn fault(cause: &str, now: Timestamp) -> Fault {
    // Nova's fault message is at most 255 characters; the whole text is for administrators.
    let message: String = cause.chars().take(255).collect();
    Fault {
        code: 500,
        message,
        details: cause.to_owned(),
        created_at: now,
    }
}

/// Nova's word for what a host saw.
pub fn power_state(seen: Option<&Observation>) -> PowerState {
    match seen.map(|observation| observation.power) {
        None => PowerState::NoState,
        Some(Power::Running) => PowerState::Running,
        Some(Power::Paused) => PowerState::Paused,
        Some(Power::Shutdown) => PowerState::Shutdown,
        Some(Power::Crashed) => PowerState::Crashed,
        Some(Power::Suspended) => PowerState::Suspended,
    }
}

/// What the host sees of the guest now, if it can be asked.
pub async fn look(cx: &Context, instance: &Instance) -> Option<PowerState> {
    let hands = cx.hosts.get(instance.host_id?).ok()?;
    let seen = hands.observe(instance.id).await.ok()?;
    Some(power_state(seen.as_ref()))
}

/// The state with the power that the host sees, if it could be asked.
pub fn with_power(state: InstanceState, seen: Option<PowerState>) -> InstanceState {
    InstanceState {
        power: seen.unwrap_or(state.power),
        ..state
    }
}
