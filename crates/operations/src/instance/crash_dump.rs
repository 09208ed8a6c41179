//! A crash dump: the guest is sent a non-maskable interrupt, on which its kernel writes one if it is set up to.
//!
//! A whole server gets it from its BMC. Hypervisor hosts send none.

use super::capability::decide;
use super::command::refuse_if_locked;
use super::history::{self, Deed};
use super::query;
use crate::context::Context;
use crate::metal::{at_rest, firmware_steps, machine};
use crate::metal_instance;
use corten_bmc::{BmcError, PowerAction};
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::{Command, InstanceClass};
use corten_model::refusal::Refusal;
use corten_store::Failure;
use corten_store::instances::Instance;
use corten_store::metal::node::Node;

/// Interrupts a whole server, and keeps that it was done or tried.
pub async fn trigger(cx: &Context, actor: &Actor, id: InstanceId) -> Result<(), Failure> {
    let instance = query::show(cx, actor, id).await?;
    if instance.class == InstanceClass::Vm {
        return Err(Refusal::invalid(
            "There is no such action: trigger_crash_dump. Only whole servers are sent a non-maskable interrupt.",
        )
        .into());
    }
    query::permit(cx, actor, &instance, compute::SERVERS_WRITE)?;
    refuse_if_locked(cx, actor, &instance)?;
    decide(instance.class, instance.state, Command::TriggerCrashDump)
        .map_err(|illegal| Refusal::conflict(illegal.message(id)))?;
    at_rest(cx, server_of(cx, id).await?.id).await?;
    // What happened to it while the call waited counts.
    let node = server_of(cx, id).await?;
    // Who dumps itself boots afterwards.
    firmware_steps::check_quiet(&node, cx.now(), "interrupt")?;
    let refused = interrupt(cx, &instance, &node).await.err();
    let why = refused.as_ref().map(|refusal| refusal.message.as_str());
    let mut tx = cx.store.write().await?;
    history::keep(&mut tx, cx, actor, &instance, Deed::TriggerCrashDump, why).await?;
    tx.commit().await?;
    refused.map_or(Ok(()), |refusal| Err(refusal.into()))
}

async fn server_of(cx: &Context, id: InstanceId) -> Result<Node, Failure> {
    let node = metal_instance::node::find(&mut cx.store.read().await?, id).await?;
    let gone = || Refusal::conflict(format!("Instance {id} has no server."));
    Ok(node.ok_or_else(gone)?)
}

/// What its operator alone is told (addresses, accounts) goes to the log.
async fn interrupt(cx: &Context, instance: &Instance, node: &Node) -> Result<(), Refusal> {
    let bmc = machine::open(cx, node)?.bmc;
    let answer = bmc.set_power(PowerAction::Nmi).await;
    bmc.close().await;
    let id = instance.id;
    match answer {
        Ok(()) => Ok(()),
        Err(BmcError::Lacks { capability, .. }) => Err(Refusal::conflict(format!(
            "Cannot 'trigger_crash_dump' instance {id}: its server's BMC lacks the {capability}."
        ))),
        Err(error) => {
            tracing::warn!(instance = %id, node = %node.id, %error, "no crash dump was triggered");
            Err(Refusal::unavailable(format!(
                "The BMC under instance {id} did not take the interrupt. Try again later; its operator finds the reason in \
                 the log."
            )))
        }
    }
}
