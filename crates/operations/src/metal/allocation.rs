//! Allocations: a node set aside for whoever asked for one of its kind.

use super::access::{self, Ident, Narrow, Page, is_name};
use super::allocate_node::{self, AllocateNode};
use super::{at_rest, traits};
use crate::context::Context;
use corten_engine::{Place, Subject, Submission, submit};
use corten_iam::action::Action;
use corten_iam::action::baremetal::{ALLOCATIONS_READ, ALLOCATIONS_READ_ALL, ALLOCATIONS_WRITE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{InstanceId, ProjectId};
use corten_model::lifecycle::node::ProvisionState;
use corten_model::refusal::Refusal;
use corten_store::metal::allocation::{AllocationState, NodeAllocation};
use corten_store::metal::node::Node;
use corten_store::{Error, Failure, Query, Tx, record};
use std::sync::Arc;

fn may(
    cx: &Context,
    actor: &Actor,
    action: Action,
    allocation: &NodeAllocation,
) -> Result<(), Refusal> {
    let target = allocation
        .owner
        .as_deref()
        .map_or_else(Target::cloud, |owner| {
            Target::project(&ProjectId::from(owner))
        });
    cx.policy.check(actor, action, &target)
}

/// Asks for a node. `backfill`: for this one, which is active already.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    mut allocation: NodeAllocation,
    candidates: &[Ident],
    backfill: Option<&Ident>,
) -> Result<NodeAllocation, Failure> {
    if allocation.owner.is_none() && !actor.is_admin() {
        allocation.owner = actor.project_id().map(ToString::to_string);
    }
    may(cx, actor, ALLOCATIONS_WRITE, &allocation)?;
    if let Some(name) = &allocation.name
        && !is_name(name)
    {
        return Err(Refusal::invalid(format!(
            "Cannot create allocation with invalid name '{name}'."
        ))
        .into());
    }
    allocation
        .traits
        .iter()
        .try_for_each(|word| traits::check(word))?;
    let mut tx = cx.store.write().await?;
    for ident in candidates {
        let node = access::find::<Node>(&mut tx, ident)
            .await?
            .filter(|node| access::sees(cx, actor, node))
            .ok_or_else(|| {
                Refusal::invalid(format!("Candidate node {} could not be found.", ident.text))
            })?;
        allocation.candidates.push(node.id);
    }
    if let Some(ident) = backfill {
        self::backfill(cx, actor, &mut tx, &mut allocation, ident).await?;
    } else if allocation.resource_class.is_none() {
        return Err(Refusal::invalid("Mandatory field missing: resource_class.").into());
    }
    match record::insert(&mut tx, &allocation).await {
        Err(Error::Exists { .. }) => {
            return Err(Refusal::conflict(format!(
                "An allocation with UUID {} or name {} already exists.",
                allocation.id,
                allocation.name.as_deref().unwrap_or_default()
            ))
            .into());
        }
        other => other?,
    }
    if backfill.is_none() {
        let submission = Submission {
            workflow: &AllocateNode(cx.clone()),
            subject: Subject {
                kind: allocate_node::SUBJECT,
                id: allocation.id.to_string(),
                project_id: allocation.owner.as_deref().map(ProjectId::from),
            },
            origin: actor.origin(),
            place: Place::Control,
            step: allocate_node::Step::Choose,
            input: allocate_node::Input {
                allocation_id: allocation.id,
            },
        };
        submit(&mut tx, cx.now(), submission).await?;
    }
    tx.commit().await?;
    Ok(allocation)
}

async fn backfill(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    allocation: &mut NodeAllocation,
    ident: &Ident,
) -> Result<(), Failure> {
    let found = access::find::<Node>(tx, ident)
        .await?
        .filter(|node| access::sees(cx, actor, node))
        .ok_or_else(|| Refusal::invalid(format!("Node {} could not be found.", ident.text)))?;
    let mut node = record::lock::<Node>(tx, found.id)
        .await?
        .ok_or_else(|| access::missing::<Node>(found.id))?;
    let instance = InstanceId(allocation.id.0);
    let other = node.instance_id.filter(|other| *other != instance);
    if node.provision.state != ProvisionState::Active
        || node.allocation_id.is_some()
        || other.is_some()
    {
        return Err(Refusal::conflict(format!(
            "Node {} cannot be given to an allocation afterwards: it must be active, without an allocation and without another instance; it is {}.",
            node.id, node.provision.state
        ))
        .into());
    }
    let class = allocation.resource_class.as_ref();
    if class.is_some() && class != node.resource_class.as_ref() {
        return Err(Refusal::conflict(format!(
            "Node {} has the resource class {:?}, not {:?}.",
            node.id, node.resource_class, allocation.resource_class
        ))
        .into());
    }
    allocation.resource_class.clone_from(&node.resource_class);
    allocation.node_id = Some(node.id);
    allocation.state = AllocationState::Active;
    node.allocation_id = Some(allocation.id);
    node.instance_id = Some(instance);
    record::update(tx, &node).await?;
    Ok(())
}

pub async fn list(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
    page: &Page,
) -> Result<Vec<NodeAllocation>, Failure> {
    let mut query = Query::new();
    if cx
        .policy
        .check(actor, ALLOCATIONS_READ_ALL, &Target::cloud())
        .is_err()
    {
        let project = actor.project_id().ok_or_else(|| {
            Refusal::forbidden(
                "A list of allocations needs a token for the system or for a project.",
            )
        })?;
        cx.policy
            .check(actor, ALLOCATIONS_READ, &Target::project(project))?;
        query = query.equals("owner", project);
    }
    access::page(&mut cx.store.read().await?, query, narrow, page).await
}

async fn get(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    ident: &Ident,
) -> Result<NodeAllocation, Failure> {
    let allocation = access::get::<NodeAllocation>(tx, ident).await?;
    let sees = cx
        .policy
        .check(actor, ALLOCATIONS_READ_ALL, &Target::cloud())
        .is_ok()
        || may(cx, actor, ALLOCATIONS_READ, &allocation).is_ok();
    if sees {
        return Ok(allocation);
    }
    Err(access::missing::<NodeAllocation>(&ident.text).into())
}

pub async fn show(cx: &Context, actor: &Actor, ident: &Ident) -> Result<NodeAllocation, Failure> {
    get(cx, actor, &mut cx.store.read().await?, ident).await
}

/// The allocation that a node is set aside by.
pub async fn of_node(cx: &Context, actor: &Actor, node: &Ident) -> Result<NodeAllocation, Failure> {
    let node = access::read_node(cx, actor, node).await?;
    let id = node
        .allocation_id
        .ok_or_else(|| Refusal::not_found(format!("Node {} has no allocation.", node.id)))?;
    get(cx, actor, &mut cx.store.read().await?, &Ident::id(id)).await
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    ident: &Ident,
    edit: impl FnOnce(&NodeAllocation) -> Result<NodeAllocation, Refusal> + Send,
) -> Result<NodeAllocation, Failure> {
    let mut tx = cx.store.write().await?;
    let before = get(cx, actor, &mut tx, ident).await?;
    may(cx, actor, ALLOCATIONS_WRITE, &before)?;
    record::lock::<NodeAllocation>(&mut tx, before.id).await?;
    let mut allocation = edit(&before)?;
    if let Some(name) = &allocation.name {
        if !is_name(name) {
            return Err(Refusal::invalid(format!(
                "Cannot update allocation with invalid name '{name}'."
            ))
            .into());
        }
        let other: Option<NodeAllocation> = Query::new()
            .equals("name", name.as_str())
            .differs("id", &before.id)
            .first(&mut tx)
            .await?;
        if other.is_some() {
            return Err(Refusal::conflict(format!(
                "An allocation with name {name} already exists."
            ))
            .into());
        }
    }
    allocation.standard.updated_at = Some(cx.now());
    record::update(&mut tx, &allocation).await?;
    tx.commit().await?;
    Ok(allocation)
}

/// Gives a node back, unless it is in use.
pub async fn delete(cx: &Context, actor: &Actor, ident: &Ident) -> Result<(), Failure> {
    let found = get(cx, actor, &mut cx.store.read().await?, ident).await?;
    may(cx, actor, ALLOCATIONS_WRITE, &found)?;
    if let Some(node) = found.node_id {
        at_rest(cx, node).await?;
    }
    let mut tx = cx.store.write().await?;
    let allocation = get(cx, actor, &mut tx, ident).await?;
    if let Some(id) = allocation.node_id
        && let Some(mut node) = record::lock::<Node>(&mut tx, id).await?
    {
        let resting = matches!(
            node.provision.state,
            ProvisionState::Available | ProvisionState::Manageable | ProvisionState::Enroll
        );
        if !resting && !node.maintenance {
            return Err(Refusal::conflict(format!(
                "Allocation {} is in use: node {} is {}. Undeploy it first.",
                allocation.id, node.id, node.provision.state
            ))
            .into());
        }
        node.allocation_id = None;
        node.instance_id = None;
        node.instance_info.remove("traits");
        record::update(&mut tx, &node).await?;
    }
    record::delete::<NodeAllocation>(&mut tx, allocation.id).await?;
    tx.commit().await?;
    Ok(())
}
