//! Finding instances, each with the permission beside the row. Lists of them are in [`super::list`].

use crate::context::Context;
use corten_iam::action::{Action, compute};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::InstanceId;
use corten_model::refusal::Refusal;
use corten_store::hosts;
use corten_store::instances::{self, Instance};
use corten_store::{Failure, Tx};
use std::collections::HashMap;

/// Nova's 404.
pub fn missing(id: impl std::fmt::Display) -> Refusal {
    Refusal::not_found(format!("Instance {id} could not be found."))
}

/// The instance, if `actor` may see it.
pub async fn show(cx: &Context, actor: &Actor, id: InstanceId) -> Result<Instance, Failure> {
    let mut tx = cx.store.read().await?;
    let instance = instances::get(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    permit(cx, actor, &instance, compute::SERVERS_READ)?;
    Ok(instance)
}

/// The instance, to be changed by `actor` in this transaction.
pub async fn lock(
    cx: &Context,
    tx: &mut Tx,
    actor: &Actor,
    id: InstanceId,
    action: Action,
) -> Result<Instance, Failure> {
    let instance = instances::lock(tx, id).await?.ok_or_else(|| missing(id))?;
    permit(cx, actor, &instance, action)?;
    Ok(instance)
}

/// May `actor` do `action` to this instance? What they may not see does not exist for them.
pub fn permit(
    cx: &Context,
    actor: &Actor,
    instance: &Instance,
    action: Action,
) -> Result<(), Refusal> {
    let target = Target::project(&instance.project_id).owned_by(&instance.user_id);
    cx.policy
        .check_hidden(actor, action, compute::SERVERS_READ, &target, || {
            missing(instance.id)
        })
}

/// What Nova calls the status of each host, by the host's name.
pub async fn host_statuses(cx: &Context) -> Result<HashMap<String, &'static str>, Failure> {
    let now = cx.now();
    let hosts = hosts::with_usage(&mut cx.store.read().await?).await?;
    let status = |usage: &hosts::HostUsage| match &usage.agent.service {
        service if service.forced_down => "DOWN",
        _ if !usage.agent.is_up(now) => "UNKNOWN",
        service if !service.enabled => "MAINTENANCE",
        _ => "UP",
    };
    Ok(hosts
        .into_iter()
        .map(|usage| (usage.host.name.clone(), status(&usage)))
        .collect())
}
