//! What the operations on nodes have in common: starting, reaching the server, moving the state, ending well or badly.

use super::{ENDED, agent, firmware_steps, locked, machine, ramdisk};
use crate::context::Context;
use corten_bmc::{Inside, Machine, PowerAction, PowerState, RemoteAgent, StockAgent, change_power};
use corten_engine::{
    Committed, GiveUp, Place, StepCx, StepError, StepTx, Subject, Submission, Workflow, submit,
};
use corten_model::ids::{InstanceId, NodeId, ProjectId};
use corten_model::lifecycle::node::NodeEvent;
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_store::metal::node::{Node, PowerSeen, SUBJECT};
use corten_store::metal::wipe::Wipe;
use corten_store::{Error, Failure, Tx, instances, operations, record};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long a server may take to be switched on or off.
pub const POWER_LIMIT: Duration = Duration::from_secs(60);

/// The input of an operation that needs to know the node alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Input {
    pub node_id: NodeId,
}

/// Starts an operation on a node, in the transaction that changes it; 409 while another runs.
pub async fn start<W: Workflow>(
    tx: &mut Tx,
    cx: &Context,
    origin: &Origin,
    node: &Node,
    workflow: &W,
    step: W::Step,
    input: W::Input,
) -> Result<(), Failure> {
    let id = node.id.to_string();
    if let Some(running) = operations::running_on(tx, SUBJECT, &id).await? {
        return Err(locked(cx, node.id, &running).into());
    }
    let submission = Submission {
        workflow,
        subject: Subject {
            kind: SUBJECT,
            id,
            project_id: node.owner.as_deref().map(ProjectId::from),
        },
        origin: origin.clone(),
        place: Place::Control,
        step,
        input,
    };
    match submit(tx, cx.now(), submission).await {
        Ok(_) => Ok(()),
        Err(Error::Exists { .. }) => Err(Refusal::conflict(format!(
            "Node {} is locked by work that has just begun. Ask again.",
            node.id
        ))
        .into()),
        Err(error) => Err(error.into()),
    }
}

fn gone(id: NodeId) -> StepError {
    StepError::Fail(format!("Node {id} is gone."))
}

/// The node an operation works on, to be changed in this transaction.
pub async fn lock(tx: &mut Tx, id: NodeId) -> Result<Node, StepError> {
    record::lock(tx, id).await?.ok_or_else(|| gone(id))
}

/// The node an operation works on, for reading, before a BMC is told anything: it knows no epochs.
pub async fn read(step: &StepCx, id: NodeId) -> Result<Node, StepError> {
    step.check_lease().await?;
    record::get(&mut step.read().await?, id)
        .await?
        .ok_or_else(|| gone(id))
}

/// Writes a node that the service itself changed.
pub async fn save(tx: &mut Tx, step: &StepCx, node: &mut Node) -> Result<(), Error> {
    node.standard.updated_at = Some(step.now());
    record::update(tx, node).await.map(|_| ())
}

pub fn reach(cx: &Context, node: &Node) -> Result<Machine, StepError> {
    machine::open(cx, node).map_err(|refusal| StepError::Fail(refusal.message))
}

/// Has the server in this power state.
pub async fn switch(cx: &Context, node: &Node, action: PowerAction) -> Result<(), StepError> {
    let bmc = reach(cx, node)?.bmc;
    let done = change_power(bmc.as_ref(), action, POWER_LIMIT).await;
    bmc.close().await;
    done.map_err(machine::step_error)
}

/// Takes a node out of every choice until a person has looked at it.
pub fn quarantine(node: &mut Node, fault: &str) {
    node.fault = Some(fault.to_owned());
    node.maintenance = true;
    node.maintenance_reason.clone_from(&node.last_error);
}

/// The hands within the server: a simulated one's at once, a real one's ramdisk once it has called.
pub fn reach_inside(cx: &Context, node: &Node) -> Result<Arc<dyn Inside>, StepError> {
    let machine = reach(cx, node)?;
    match machine.inside {
        Some(inside) => Ok(inside),
        None => ramdisk_of(cx, node),
    }
}

fn ramdisk_of(cx: &Context, node: &Node) -> Result<Arc<dyn Inside>, StepError> {
    let failed = |refusal: Refusal| StepError::Fail(refusal.message);
    let token = machine::secret(cx, node, agent::TOKEN).map_err(failed)?;
    let nobody = || {
        StepError::Fail(format!(
            "No ramdisk runs on node {}: nothing can be done from within.",
            node.id
        ))
    };
    let agent = node.agent.as_ref().ok_or_else(nobody)?;
    let (Some(url), Some(certificate), Some(token)) = (&agent.url, &agent.certificate, token)
    else {
        return Err(nobody());
    };
    let token = token.into();
    if agent.stock {
        let seen = ramdisk::stock::node_as_it_reads(node);
        let agent = StockAgent::new(url, certificate, token, seen, agent.version.as_deref());
        return Ok(Arc::new(agent.map_err(machine::step_error)?));
    }
    let agent = RemoteAgent::new(url, certificate, token).map_err(machine::step_error)?;
    Ok(Arc::new(agent))
}

/// Moves a node as the life cycle says for this event.
pub async fn event(
    tx: &mut Tx,
    step: &StepCx,
    node: &mut Node,
    event: NodeEvent,
    why: &str,
) -> Result<(), StepError> {
    let state = node.provision.state.on(event).ok_or_else(|| {
        StepError::Fail(format!(
            "'{event}' cannot happen to node {}, which is {}.",
            node.id, node.provision.state
        ))
    })?;
    Ok(node
        .enter(tx, state, why, &step.origin(), step.now())
        .await?)
}

/// Whoever waits for the end of work on a node goes on: calls, and the operation of the instance on it.
pub async fn tell(tx: &mut Tx, step: &StepCx, node: &Node) -> Result<(), Error> {
    tell_holder(tx, step, node.instance_id).await
}

/// The same before the rows of instance and node are locked. Whoever locks several does it in this order: operations, the
/// instance, its node.
pub async fn tell_holder(
    tx: &mut Tx,
    step: &StepCx,
    holder: Option<InstanceId>,
) -> Result<(), Error> {
    tx.wake(ENDED);
    match holder {
        Some(id) => operations::hasten(tx, instances::SUBJECT, &id.to_string(), step.now()).await,
        None => Ok(()),
    }
}

/// The work has reached its goal.
pub async fn succeed(
    mut tx: StepTx<'_>,
    step: &StepCx,
    node: &mut Node,
    outcome: NodeEvent,
) -> Result<Committed, StepError> {
    event(&mut tx, step, node, outcome, &step.operation().kind).await?;
    node.provision.target = None;
    node.last_error = None;
    node.steps.clear();
    save(&mut tx, step, node).await?;
    tell(&mut tx, step, node).await?;
    tx.done().await
}

/// The work stands until a person lets it go on; what is left of it stays in the node's row.
pub async fn hold(
    mut tx: StepTx<'_>,
    step: &StepCx,
    node: &mut Node,
) -> Result<Committed, StepError> {
    event(
        &mut tx,
        step,
        node,
        NodeEvent::Hold,
        "a step asks for consent",
    )
    .await?;
    save(&mut tx, step, node).await?;
    tell(&mut tx, step, node).await?;
    tx.done().await
}

/// A wiped node becomes available, or manageable if it is retired. There is no other way to get there: without the record of
/// a wipe it is refused.
pub async fn release(
    tx: StepTx<'_>,
    step: &StepCx,
    node: &mut Node,
    wipe: &Wipe,
) -> Result<Committed, StepError> {
    if wipe.node_id != node.id || wipe.disks.is_empty() {
        return Err(StepError::Fail(format!(
            "Wipe {} proves nothing about node {}.",
            wipe.id, node.id
        )));
    }
    node.wiped = Some(wipe.id);
    let outcome = if node.retired {
        NodeEvent::DoneByHand
    } else {
        NodeEvent::Done
    };
    succeed(tx, step, node, outcome).await
}

/// The work will not reach its goal: the state that follows, with the cause as the node's last error.
pub async fn give_up(
    why: GiveUp,
    step: &StepCx,
    id: NodeId,
    change: impl FnOnce(&mut Node) + Send,
) -> Result<Committed, StepError> {
    let cause = why.to_string();
    let mut tx = step.commit().await?;
    if let Some(mut node) = record::lock::<Node>(&mut tx, id).await? {
        if node.provision.state.on(NodeEvent::Fail).is_some() {
            event(&mut tx, step, &mut node, NodeEvent::Fail, &cause).await?;
        }
        node.provision.target = None;
        node.last_error = Some(cause.clone());
        node.steps.clear();
        firmware_steps::give_up(&mut tx, &mut node, step.now(), &cause).await?;
        ramdisk::boot::forget(&mut node);
        change(&mut node);
        save(&mut tx, step, &mut node).await?;
        tell(&mut tx, step, &node).await?;
    }
    tx.given_up(&why).await
}

/// The power as a row keeps it; `None` while it changes or is not known.
pub fn power_seen(state: PowerState) -> Option<PowerSeen> {
    match state {
        PowerState::On => Some(PowerSeen::On),
        PowerState::Off => Some(PowerSeen::Off),
        PowerState::Changing | PowerState::Unknown => None,
    }
}
