//! QoS policies: how much may pass the ports that follow one. A change reaches every network where one does.

use super::access::{self, Lendable, Narrow, list as visible, lock, owner};
use super::rbac_policy::{self, SHARED, Shown, is_everyones};
use super::{commit, invalid_input};
use crate::context::Context;
use async_trait::async_trait;
use corten_iam::action::network::{AGENTS_READ, QOS_READ, QOS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ProjectId, QosPolicyId, QosRuleId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::qos_policy::{self, BandwidthLimit, QosPolicy};
use corten_store::network::rbac_policy::RbacPolicy;
use corten_store::network::security_group::Direction;
use corten_store::{Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct NewQosPolicy {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub shared: bool,
    pub is_default: bool,
    pub tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
pub struct QosPolicyChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub shared: Option<bool>,
    pub is_default: Option<bool>,
}

/// A limit that was asked for, or what of it is to change.
#[derive(Debug, Clone, Default)]
pub struct LimitChange {
    pub direction: Option<Direction>,
    pub max_kbps: Option<i64>,
    pub max_burst_kbps: Option<i64>,
}

#[async_trait]
impl Lendable for QosPolicy {
    const OBJECT_TYPE: &'static str = "qos_policy";

    fn follow(&mut self, grants: &[RbacPolicy]) {
        self.shared = is_everyones(grants, SHARED);
    }

    async fn users(&self, tx: &mut Tx, _: &str) -> Result<BTreeSet<ProjectId>, Failure> {
        let networks = qos_policy::networks_of(tx, self.id).await?;
        let ports = qos_policy::ports_of(tx, self.id).await?;
        Ok(networks
            .into_iter()
            .map(|network| network.standard.project_id)
            .chain(ports.into_iter().map(|port| port.standard.project_id))
            .collect())
    }
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    new: NewQosPolicy,
) -> Result<Shown<QosPolicy>, Failure> {
    let mut tx = cx.store.write().await?;
    let NewQosPolicy {
        project_id,
        name,
        description,
        shared,
        is_default,
        tags,
    } = new;
    let project = owner(cx, actor, project_id, QOS_WRITE)?;
    let policy = QosPolicy {
        id: QosPolicyId::random(),
        standard: Standard {
            tags,
            ..Standard::new(project, name, description, cx.now())
        },
        shared,
        is_default,
        bandwidth_limits: Vec::new(),
    };
    check_default(&mut tx, &policy).await?;
    record::insert(&mut tx, &policy).await?;
    rbac_policy::set_everyone(&mut tx, &policy, SHARED, shared).await?;
    let shown = rbac_policy::shown_one(&mut tx, actor, policy).await?;
    tx.commit().await?;
    Ok(shown)
}

/// A project has one default.
async fn check_default(tx: &mut Tx, policy: &QosPolicy) -> Result<(), Failure> {
    if !policy.is_default {
        return Ok(());
    }
    let project = &policy.standard.project_id;
    match default_of(tx, project).await? {
        Some(other) if other != policy.id => Err(Refusal::conflict(format!(
            "A default QoS policy exists for project {project}: {other}."
        ))
        .named("QoSPolicyDefaultAlreadyExists")
        .into()),
        _ => Ok(()),
    }
}

/// What networks of a project follow that name no policy.
pub(super) async fn default_of(
    tx: &mut Tx,
    project: &ProjectId,
) -> Result<Option<QosPolicyId>, Failure> {
    let own: Vec<QosPolicy> = Query::new().equals("project_id", project).all(tx).await?;
    let default = own.into_iter().find(|policy| policy.is_default);
    Ok(default.map(|policy| policy.id))
}

/// The policies that the actor sees.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
) -> Result<Vec<Shown<QosPolicy>>, Failure> {
    rbac_policy::list_shown(cx, actor, narrow).await
}

pub async fn show(
    cx: &Context,
    actor: &Actor,
    id: QosPolicyId,
) -> Result<Shown<QosPolicy>, Failure> {
    rbac_policy::get_shown(cx, actor, id).await
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    id: QosPolicyId,
    change: QosPolicyChange,
) -> Result<Shown<QosPolicy>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut policy = lock::<QosPolicy>(cx, actor, &mut tx, id).await?;
    let QosPolicyChange {
        name,
        description,
        shared,
        is_default,
    } = change;
    let standard = &mut policy.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    policy.is_default = is_default.unwrap_or(policy.is_default);
    check_default(&mut tx, &policy).await?;
    if let Some(shared) = shared {
        if policy.shared && !shared {
            rbac_policy::refuse_to_unshare(&mut tx, &policy).await?;
        }
        policy.shared = shared;
        rbac_policy::set_everyone(&mut tx, &policy, SHARED, shared).await?;
    }
    policy.standard.touch(cx.now());
    record::update(&mut tx, &policy).await?;
    let shown = rbac_policy::shown_one(&mut tx, actor, policy).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Whether what follows one policy may follow another, or none: the actor sees both. What an operator put on something
/// without sharing it, stays.
pub(super) async fn check_change(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    before: Option<QosPolicyId>,
    after: Option<Option<QosPolicyId>>,
) -> Result<(), Failure> {
    let Some(after) = after.filter(|after| *after != before) else {
        return Ok(());
    };
    if let Some(id) = after {
        access::get::<QosPolicy>(cx, actor, tx, id).await?;
    }
    let Some(id) = before else { return Ok(()) };
    match access::get::<QosPolicy>(cx, actor, tx, id).await {
        Ok(_) => Ok(()),
        Err(Failure::Refused(_)) => Err(Refusal::forbidden(format!(
            "QoS policy {id} is not shared with you: only an administrator takes it off."
        ))
        .named("PolicyRemoveAuthorizationError")
        .into()),
        Err(trouble) => Err(trouble),
    }
}

/// Removes a policy that nothing follows.
pub async fn delete(cx: &Context, actor: &Actor, id: QosPolicyId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let policy = lock::<QosPolicy>(cx, actor, &mut tx, id).await?;
    let networks = qos_policy::networks_of(&mut tx, id).await?;
    let ports = qos_policy::ports_of(&mut tx, id).await?;
    let follower = networks
        .first()
        .map(|network| format!("network {}", network.id))
        .or_else(|| ports.first().map(|port| format!("port {}", port.id)));
    if let Some(follower) = follower {
        return Err(
            Refusal::conflict(format!("QoS Policy {id} is used by {follower}."))
                .named("QosPolicyInUse")
                .into(),
        );
    }
    rbac_policy::forget(&mut tx, &policy).await?;
    record::delete::<QosPolicy>(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}

/// The bandwidth limits of a policy that the actor sees.
pub async fn limits(
    cx: &Context,
    actor: &Actor,
    id: QosPolicyId,
) -> Result<Vec<BandwidthLimit>, Failure> {
    let mut tx = cx.store.read().await?;
    let policy = access::get::<QosPolicy>(cx, actor, &mut tx, id).await?;
    Ok(policy.bandwidth_limits)
}

pub async fn limit(
    cx: &Context,
    actor: &Actor,
    id: QosPolicyId,
    rule: QosRuleId,
) -> Result<BandwidthLimit, Failure> {
    let limits = limits(cx, actor, id).await?;
    let found = limits.into_iter().find(|limit| limit.id == rule);
    Ok(found.ok_or_else(|| no_rule(id, rule))?)
}

fn no_rule(policy: QosPolicyId, rule: impl std::fmt::Display) -> Refusal {
    Refusal::not_found(format!(
        "QoS rule {rule} for policy {policy} could not be found."
    ))
    .named("QosRuleNotFound")
}

/// The policy that has a rule, for those who know the rule alone.
pub async fn policy_of(
    cx: &Context,
    actor: &Actor,
    rule: QosRuleId,
) -> Result<QosPolicyId, Failure> {
    let mut tx = cx.store.read().await?;
    let policies = visible::<QosPolicy>(cx, actor, &mut tx, Narrow::default()).await?;
    let has_it = |policy: &QosPolicy| policy.bandwidth_limits.iter().any(|limit| limit.id == rule);
    let found = policies.into_iter().find(has_it);
    let found = found.ok_or_else(|| {
        Refusal::not_found(format!("QoS rule {rule} could not be found.")).named("QosRuleNotFound")
    })?;
    Ok(found.id)
}

pub async fn add_limit(
    cx: &Arc<Context>,
    actor: &Actor,
    id: QosPolicyId,
    new: LimitChange,
) -> Result<BandwidthLimit, Failure> {
    let mut tx = cx.store.write().await?;
    let mut policy = lock::<QosPolicy>(cx, actor, &mut tx, id).await?;
    let fresh = BandwidthLimit {
        id: QosRuleId::random(),
        direction: Direction::Egress,
        max_kbps: 0,
        max_burst_kbps: 0,
    };
    if new.max_kbps.is_none() {
        return Err(Refusal::invalid(
            "Failed to parse request. Required attribute 'max_kbps' not specified",
        )
        .into());
    }
    let limit = changed(fresh, new)?;
    check_one_each_way(&policy, &limit)?;
    policy.bandwidth_limits.push(limit.clone());
    keep(cx, actor, tx, policy).await?;
    Ok(limit)
}

fn changed(mut limit: BandwidthLimit, change: LimitChange) -> Result<BandwidthLimit, Refusal> {
    let LimitChange {
        direction,
        max_kbps,
        max_burst_kbps,
    } = change;
    let rate = |name: &str, value: i64| {
        u32::try_from(value)
            .ok()
            .filter(|value| *value <= i32::MAX.unsigned_abs())
            .ok_or_else(|| {
                Refusal::invalid(format!(
                    "Invalid input for {name}. Reason: '{value}' is not in [0, 2147483647]."
                ))
            })
    };
    limit.direction = direction.unwrap_or(limit.direction);
    if let Some(value) = max_kbps {
        limit.max_kbps = rate("max_kbps", value)?;
    }
    if let Some(value) = max_burst_kbps {
        limit.max_burst_kbps = rate("max_burst_kbps", value)?;
    }
    if limit.max_kbps == 0 {
        return Err(invalid_input(
            "max_kbps 0 would stop all traffic; disable the port instead",
        ));
    }
    Ok(limit)
}

/// A policy has one limit in each direction.
fn check_one_each_way(policy: &QosPolicy, limit: &BandwidthLimit) -> Result<(), Refusal> {
    let is_same_way =
        |other: &&BandwidthLimit| other.id != limit.id && other.direction == limit.direction;
    match policy.bandwidth_limits.iter().find(is_same_way) {
        None => Ok(()),
        Some(other) => Err(Refusal::conflict(format!(
            "Rule bandwidth_limit is conflicting with rule {} which already exists in QoS Policy {}.",
            other.id, policy.id
        ))
        .named("QoSRulesConflict")),
    }
}

pub async fn update_limit(
    cx: &Arc<Context>,
    actor: &Actor,
    id: QosPolicyId,
    rule: QosRuleId,
    change: LimitChange,
) -> Result<BandwidthLimit, Failure> {
    let mut tx = cx.store.write().await?;
    let mut policy = lock::<QosPolicy>(cx, actor, &mut tx, id).await?;
    let at = position(&policy, rule)?;
    let limit = changed(policy.bandwidth_limits[at].clone(), change)?;
    check_one_each_way(&policy, &limit)?;
    policy.bandwidth_limits[at] = limit.clone();
    keep(cx, actor, tx, policy).await?;
    Ok(limit)
}

pub async fn remove_limit(
    cx: &Arc<Context>,
    actor: &Actor,
    id: QosPolicyId,
    rule: QosRuleId,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut policy = lock::<QosPolicy>(cx, actor, &mut tx, id).await?;
    let at = position(&policy, rule)?;
    policy.bandwidth_limits.remove(at);
    keep(cx, actor, tx, policy).await
}

fn position(policy: &QosPolicy, rule: QosRuleId) -> Result<usize, Refusal> {
    let mut limits = policy.bandwidth_limits.iter();
    limits
        .position(|limit| limit.id == rule)
        .ok_or_else(|| no_rule(policy.id, rule))
}

/// Writes a policy and has every network told in which something follows it.
async fn keep(
    cx: &Arc<Context>,
    actor: &Actor,
    mut tx: Tx,
    mut policy: QosPolicy,
) -> Result<(), Failure> {
    policy.standard.touch(cx.now());
    record::update(&mut tx, &policy).await?;
    let networks = qos_policy::networks_of(&mut tx, policy.id).await?;
    let ports = qos_policy::ports_of(&mut tx, policy.id).await?;
    let ids: BTreeSet<_> = networks
        .iter()
        .map(|network| network.id)
        .chain(ports.iter().map(|port| port.network_id))
        .collect();
    let units: Vec<Unit> = ids.into_iter().map(Unit::Network).collect();
    commit(tx, cx, &actor.origin(), &units).await
}

/// Who may read policies may read which kinds of rules there are.
pub fn check_reader(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    let project = access::own_project(actor, QOS_READ)?;
    cx.policy.check(actor, QOS_READ, &Target::project(project))
}

/// How rules are enforced is the operator's business.
pub fn check_operator(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy.check(actor, AGENTS_READ, &Target::cloud())
}
