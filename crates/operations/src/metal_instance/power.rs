//! The power of a node reaches the instance on it: what its owner sees is what the server does, whoever switched it.
//!
//! ```text
//!  Active  ── the server is off ──▶ Stopped
//!  Stopped ── the server is on ───▶ Active
//! ```
//!
//! A guest that runs though it must not is switched off by its host; a server is not. Who switched it on stands before it, and
//! Nova follows Ironic's word in the same way (its event `power-update`). While an operation works on the instance, the
//! operation alone moves its state; who carries a reading here has seen that none works on the node.

use crate::context::Context;
use crate::instance::ports;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::node::ProvisionState;
use corten_model::lifecycle::{
    InstanceClass, InstanceState, PowerAction, PowerState, VmState, apply, reconcile,
};
use corten_model::origin::Origin;
use corten_store::instances::{self, Instance};
use corten_store::metal::node::{Node, PowerSeen};
use corten_store::{Failure, Tx, operations, record};
use std::sync::Arc;

/// Nova's word for it.
pub fn power_state(seen: PowerSeen) -> PowerState {
    match seen {
        PowerSeen::On => PowerState::Running,
        PowerSeen::Off => PowerState::Shutdown,
    }
}

/// The state of an instance whose server shows this power; `None`: it is in that state.
fn state_by(state: InstanceState, seen: PowerSeen) -> Option<InstanceState> {
    let power = power_state(seen);
    let next = match reconcile(state, power) {
        PowerAction::ForceOff if state.vm == VmState::Stopped => {
            InstanceState::stable(VmState::Active, power)
        }
        action => apply(action, state, power),
    };
    (next != state).then_some(next)
}

/// In every other state the server runs something else than the instance's own system.
fn carries(node: &Node) -> Option<InstanceId> {
    node.instance_id
        .filter(|_| node.provision.state == ProvisionState::Active)
}

fn is_followed(instance: &Instance) -> bool {
    instance.class == InstanceClass::Metal && !instance.deleted
}

/// Whether the instance on a node is not in the state that this power means. Only a look: nothing is locked.
pub(crate) async fn differs(cx: &Context, node: &Node, seen: PowerSeen) -> Result<bool, Failure> {
    let Some(id) = carries(node) else {
        return Ok(false);
    };
    let instance: Option<Instance> = record::get(&mut cx.store.read().await?, id).await?;
    Ok(instance
        .filter(is_followed)
        .is_some_and(|instance| state_by(instance.state, seen).is_some()))
}

/// The instance that a node holds, locked before the node is; `None` while an operation works on it.
pub(crate) async fn lock_idle(
    tx: &mut Tx,
    holder: Option<InstanceId>,
) -> Result<Option<Instance>, Failure> {
    let Some(id) = holder else {
        return Ok(None);
    };
    let subject = id.to_string();
    // What works on it is not waited for: it holds its own row, and may want the instance's.
    if operations::running_on(tx, instances::SUBJECT, &subject)
        .await?
        .is_some()
    {
        return Ok(None);
    }
    let instance: Option<Instance> = record::lock(tx, id).await?;
    let running = operations::running_on(tx, instances::SUBJECT, &subject).await?;
    Ok(instance.filter(|instance| running.is_none() && is_followed(instance)))
}

/// Moves the instance from [`lock_idle`] to the state that its node's power means, with a line in its log. Whether there
/// was anything to do.
pub(crate) async fn follow(
    tx: &mut Tx,
    cx: &Arc<Context>,
    node: &Node,
    instance: Option<Instance>,
    why: &str,
    origin: &Origin,
) -> Result<bool, Failure> {
    let (Some(mut instance), Some(seen)) = (instance, node.power.seen) else {
        return Ok(false);
    };
    if carries(node) != Some(instance.id) {
        return Ok(false);
    }
    let Some(state) = state_by(instance.state, seen) else {
        return Ok(false);
    };
    let now = cx.now();
    instance.observed.at = Some(now);
    if state.vm == VmState::Stopped {
        ports::release_public(tx, cx, &instance, origin).await?;
    }
    instances::change_state(tx, &mut instance, state, why, origin, now).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_model::lifecycle::TaskState;

    const RUNS: InstanceState = InstanceState::stable(VmState::Active, PowerState::Running);
    const STOPPED: InstanceState = InstanceState::stable(VmState::Stopped, PowerState::Shutdown);

    #[test]
    fn an_instance_is_what_its_server_does() {
        assert_eq!(state_by(RUNS, PowerSeen::On), None);
        assert_eq!(state_by(RUNS, PowerSeen::Off), Some(STOPPED));
        assert_eq!(state_by(STOPPED, PowerSeen::Off), None);
        assert_eq!(state_by(STOPPED, PowerSeen::On), Some(RUNS));
    }

    #[test]
    fn power_alone_heals_nothing_and_ends_no_task() {
        let broken = InstanceState::stable(VmState::Error, PowerState::Shutdown);
        let moved = state_by(broken, PowerSeen::On).unwrap_or(broken);
        assert_eq!(moved.vm, VmState::Error);
        let stopping = InstanceState {
            task: Some(TaskState::PoweringOff),
            ..RUNS
        };
        let moved = state_by(stopping, PowerSeen::Off).unwrap();
        assert_eq!((moved.vm, moved.task), (VmState::Active, stopping.task));
    }
}
