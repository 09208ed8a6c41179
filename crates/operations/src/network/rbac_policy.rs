//! RBAC policies: lending a resource to other projects, and taking it back while nobody uses it.

use super::access::{self, Lendable, Narrow, own_project, owner, sees_all};
use super::{invalid_input, quota};
use crate::context::Context;
use corten_iam::action::network::{RBAC_READ, RBAC_WRITE, SHARE};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ProjectId, RbacPolicyId};
use corten_model::refusal::Refusal;
use corten_store::network::address_group::AddressGroup;
use corten_store::network::address_scope::AddressScope;
use corten_store::network::network::Network;
use corten_store::network::qos_policy::QosPolicy;
use corten_store::network::rbac_policy::{self, EVERYONE, RbacPolicy};
use corten_store::network::security_group::SecurityGroup;
use corten_store::network::subnet_pool::SubnetPool;
use corten_store::{Error, Failure, Query, Tx, record};
use std::collections::BTreeSet;

/// The right to use a resource.
pub const SHARED: &str = "access_as_shared";
/// The right to have a network as the way out.
pub const EXTERNAL: &str = "access_as_external";

/// The longest id of a project.
const TARGET_MAX: usize = 255;

#[derive(Debug, Clone)]
pub struct NewRbacPolicy {
    pub project_id: Option<ProjectId>,
    pub object_type: String,
    pub object_id: String,
    pub target: String,
    pub action: String,
}

/// A resource with whether the actor's project may use it by an RBAC policy.
#[derive(Debug, Clone)]
pub struct Shown<T> {
    pub resource: T,
    pub shared: bool,
}

/// Whom a list of policies is narrowed to, and what the actor sees of it.
pub async fn list(cx: &Context, actor: &Actor, narrow: Narrow) -> Result<Vec<RbacPolicy>, Failure> {
    let mut tx = cx.store.read().await?;
    let mut query = Query::<RbacPolicy>::new();
    if !sees_all(cx, actor) {
        let project = own_project(actor, RBAC_READ)?;
        cx.policy
            .check(actor, RBAC_READ, &Target::project(project))?;
        query = query.equals("project_id", project);
    }
    for (column, values) in narrow.0 {
        query = query.any_of(column, values);
    }
    Ok(query.all(&mut tx).await?)
}

pub async fn show(cx: &Context, actor: &Actor, id: RbacPolicyId) -> Result<RbacPolicy, Failure> {
    let mut tx = cx.store.read().await?;
    let found = record::get::<RbacPolicy>(&mut tx, id).await?;
    Ok(seen(cx, actor, id, found)?)
}

fn seen(
    cx: &Context,
    actor: &Actor,
    id: RbacPolicyId,
    found: Option<RbacPolicy>,
) -> Result<RbacPolicy, Refusal> {
    let sees = |policy: &RbacPolicy| {
        sees_all(cx, actor)
            || cx
                .policy
                .check(actor, RBAC_READ, &Target::project(&policy.project_id))
                .is_ok()
    };
    found
        .filter(sees)
        .ok_or_else(|| Refusal::no_such("RBAC policy", id).named("RbacPolicyNotFound"))
}

async fn lock(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    id: RbacPolicyId,
) -> Result<RbacPolicy, Failure> {
    let found = record::lock::<RbacPolicy>(tx, id).await?;
    let policy = seen(cx, actor, id, found)?;
    cx.policy
        .check(actor, RBAC_WRITE, &Target::project(&policy.project_id))?;
    Ok(policy)
}

/// Calls a function of the kind of resource that a policy names.
macro_rules! by_type {
    ($object_type:expr, $function:ident($($argument:expr),*)) => {
        match $object_type {
            "network" => $function::<Network>($($argument),*).await,
            "security_group" => $function::<SecurityGroup>($($argument),*).await,
            "address_scope" => $function::<AddressScope>($($argument),*).await,
            "address_group" => $function::<AddressGroup>($($argument),*).await,
            "subnetpool" => $function::<SubnetPool>($($argument),*).await,
            "qos_policy" => $function::<QosPolicy>($($argument),*).await,
            other => Err(Refusal::invalid(format!(
                "Invalid input for object_type. Reason: '{other}' is not in ['address_group', 'address_scope', \
                 'network', 'qos_policy', 'security_group', 'subnetpool']."
            ))
            .into()),
        }
    };
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    new: NewRbacPolicy,
) -> Result<RbacPolicy, Failure> {
    let mut tx = cx.store.write().await?;
    let project = owner(cx, actor, new.project_id.clone(), RBAC_WRITE)?;
    check_action(&new)?;
    check_target(cx, actor, &new.target, &new.action)?;
    quota::check(&mut tx, cx, &project, quota::RBAC_POLICY, 1).await?;
    let NewRbacPolicy {
        project_id: _,
        object_type,
        object_id,
        target,
        action,
    } = new;
    let policy = RbacPolicy {
        id: RbacPolicyId::random(),
        project_id: project,
        object_type,
        object_id,
        target,
        action,
    };
    by_type!(
        policy.object_type.as_str(),
        lend(cx, actor, &mut tx, &policy)
    )?;
    tx.commit().await?;
    Ok(policy)
}

fn check_action(new: &NewRbacPolicy) -> Result<(), Refusal> {
    let legal: &[&str] = match new.object_type.as_str() {
        "network" => &[SHARED, EXTERNAL],
        _ => &[SHARED],
    };
    if legal.contains(&new.action.as_str()) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Invalid action '{}' for object type '{}'. Valid actions: {}.",
        new.action,
        new.object_type,
        legal.join(", ")
    ))
    .named("InvalidInput"))
}

/// Lending to everyone, and ways out of the cloud, are for its administrators.
fn check_target(cx: &Context, actor: &Actor, target: &str, action: &str) -> Result<(), Refusal> {
    if target.is_empty() || target.len() > TARGET_MAX {
        return Err(Refusal::invalid(
            "Invalid input for target_tenant. Reason: it is a project's id, or '*' for everyone.",
        ));
    }
    if target == EVERYONE || action == EXTERNAL {
        cx.policy.check(actor, SHARE, &Target::cloud())?;
    }
    Ok(())
}

async fn lend<T: Lendable>(
    cx: &Context,
    actor: &Actor,
    tx: &mut Tx,
    policy: &RbacPolicy,
) -> Result<(), Failure> {
    let seen = access::get::<T>(cx, actor, tx, &policy.object_id).await?;
    let owner = Target::project(seen.project_id());
    if cx.policy.check(actor, RBAC_WRITE, &owner).is_err() {
        return Err(invalid_input(format!(
            "Only admins can manipulate policies on objects they do not own: {} is another project's",
            seen.id()
        ))
        .into());
    }
    seen.check_target(tx, &policy.target).await?;
    let object = record::lock::<T>(tx, &policy.object_id).await?;
    let mut object = object.ok_or_else(|| access::missing::<T>(&policy.object_id))?;
    add(tx, policy).await?;
    follow(cx, tx, &mut object).await
}

async fn add(tx: &mut Tx, policy: &RbacPolicy) -> Result<(), Failure> {
    record::insert(tx, policy)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => {
                Refusal::conflict("An RBAC policy already exists with those values.")
                    .named("DuplicateRbacPolicy")
                    .into()
            }
            other => Failure::from(other),
        })
}

/// Brings a resource's own words in line with its policies.
async fn follow<T: Lendable>(cx: &Context, tx: &mut Tx, object: &mut T) -> Result<(), Failure> {
    let grants = rbac_policy::of_object(tx, T::OBJECT_TYPE, &object.id()).await?;
    object.follow(&grants);
    object.standard_mut().touch(cx.now());
    record::update(tx, object).await?;
    Ok(())
}

/// Lends to another project in place of the first.
pub async fn update(
    cx: &Context,
    actor: &Actor,
    id: RbacPolicyId,
    target: Option<String>,
) -> Result<RbacPolicy, Failure> {
    let mut tx = cx.store.write().await?;
    let before = lock(cx, actor, &mut tx, id).await?;
    let after = RbacPolicy {
        target: target.unwrap_or_else(|| before.target.clone()),
        ..before.clone()
    };
    if after == before {
        return Ok(before);
    }
    check_target(cx, actor, &after.target, &after.action)?;
    by_type!(
        before.object_type.as_str(),
        replace(cx, &mut tx, &before, Some(&after))
    )?;
    tx.commit().await?;
    Ok(after)
}

pub async fn delete(cx: &Context, actor: &Actor, id: RbacPolicyId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let policy = lock(cx, actor, &mut tx, id).await?;
    by_type!(
        policy.object_type.as_str(),
        replace(cx, &mut tx, &policy, None)
    )?;
    tx.commit().await?;
    Ok(())
}

/// Takes a grant back, or puts another in its place, unless somebody uses what only it lends.
async fn replace<T: Lendable>(
    cx: &Context,
    tx: &mut Tx,
    before: &RbacPolicy,
    after: Option<&RbacPolicy>,
) -> Result<(), Failure> {
    record::delete::<RbacPolicy>(tx, before.id).await?;
    if let Some(after) = after {
        add(tx, after).await?;
    }
    let Some(mut object) = record::lock::<T>(tx, &before.object_id).await? else {
        return Ok(());
    };
    let left = rbac_policy::of_object(tx, T::OBJECT_TYPE, &before.object_id).await?;
    refuse_if_used(tx, &object, before, &left).await?;
    follow(cx, tx, &mut object).await
}

/// A grant that is gone must have no user that no other grant covers.
async fn refuse_if_used<T: Lendable>(
    tx: &mut Tx,
    object: &T,
    gone: &RbacPolicy,
    left: &[RbacPolicy],
) -> Result<(), Failure> {
    let covered = |project: &ProjectId| {
        project == object.project_id()
            || left.iter().any(|grant| {
                grant.action == gone.action
                    && [EVERYONE, project.as_str()].contains(&grant.target.as_str())
            })
    };
    let was_covered =
        |project: &ProjectId| [EVERYONE, project.as_str()].contains(&gone.target.as_str());
    let users = object.users(tx, &gone.action).await?;
    match users
        .iter()
        .find(|project| was_covered(project) && !covered(project))
    {
        None => Ok(()),
        Some(project) => Err(Refusal::conflict(format!(
            "RBAC policy on object {} cannot be removed because other objects depend on it.\nDetails: project \
             {project} uses it.",
            object.id()
        ))
        .named("RbacPolicyInUse")
        .into()),
    }
}

/// A resource that everyone has can be taken back while nobody uses it who has no grant of their own.
pub(super) async fn refuse_to_unshare<T: Lendable>(tx: &mut Tx, object: &T) -> Result<(), Failure> {
    let grants = rbac_policy::of_object(tx, T::OBJECT_TYPE, &object.id()).await?;
    let everyones = grants
        .iter()
        .find(|grant| grant.action == SHARED && grant.target == EVERYONE);
    let Some(gone) = everyones else { return Ok(()) };
    let left: Vec<_> = grants
        .iter()
        .filter(|grant| grant.id != gone.id)
        .cloned()
        .collect();
    refuse_if_used(tx, object, gone, &left).await
}

/// Lends a resource to everyone, or to everyone no longer, as its owner's `shared` says.
pub(super) async fn set_everyone<T: Lendable>(
    tx: &mut Tx,
    object: &T,
    action: &str,
    wanted: bool,
) -> Result<(), Failure> {
    let grants = rbac_policy::of_object(tx, T::OBJECT_TYPE, &object.id()).await?;
    let present = grants
        .iter()
        .find(|grant| grant.action == action && grant.target == EVERYONE);
    match (present, wanted) {
        (None, true) => {
            let grant = RbacPolicy {
                id: RbacPolicyId::random(),
                project_id: object.project_id().clone(),
                object_type: T::OBJECT_TYPE.to_owned(),
                object_id: object.id(),
                target: EVERYONE.to_owned(),
                action: action.to_owned(),
            };
            add(tx, &grant).await
        }
        (Some(grant), false) => {
            record::delete::<RbacPolicy>(tx, grant.id).await?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Takes all grants of a resource away, with the resource.
pub(super) async fn forget<T: Lendable>(tx: &mut Tx, object: &T) -> Result<(), Failure> {
    Query::<RbacPolicy>::new()
        .equals("object_type", T::OBJECT_TYPE)
        .equals("object_id", object.id())
        .delete(tx)
        .await?;
    Ok(())
}

/// Resources with whether they are shared with the actor's project.
pub(super) async fn shown<T: Lendable>(
    tx: &mut Tx,
    actor: &Actor,
    found: Vec<T>,
) -> Result<Vec<Shown<T>>, Failure> {
    let targets = [Some(EVERYONE), actor.project_id().map(ProjectId::as_str)];
    let lent: Vec<RbacPolicy> = Query::new()
        .equals("object_type", T::OBJECT_TYPE)
        .equals("action", SHARED)
        .any_of("target", targets.into_iter().flatten())
        .all(tx)
        .await?;
    let lent: BTreeSet<String> = lent.into_iter().map(|grant| grant.object_id).collect();
    let shown = found.into_iter().map(|resource| Shown {
        shared: lent.contains(&resource.id()),
        resource,
    });
    Ok(shown.collect())
}

/// [`shown`] for one.
pub(super) async fn shown_one<T: Lendable>(
    tx: &mut Tx,
    actor: &Actor,
    resource: T,
) -> Result<Shown<T>, Failure> {
    let id = resource.id();
    let mut shown = shown(tx, actor, vec![resource]).await?;
    Ok(shown.pop().ok_or_else(|| access::missing::<T>(id))?)
}

/// The resources that the actor sees, with whether they are shared with its project.
pub(super) async fn list_shown<T: Lendable>(
    cx: &Context,
    actor: &Actor,
    narrow: Narrow,
) -> Result<Vec<Shown<T>>, Failure> {
    let mut tx = cx.store.read().await?;
    let found = access::list(cx, actor, &mut tx, narrow).await?;
    shown(&mut tx, actor, found).await
}

/// The same for one, by its id.
pub(super) async fn get_shown<T: Lendable>(
    cx: &Context,
    actor: &Actor,
    id: impl ToString,
) -> Result<Shown<T>, Failure> {
    let mut tx = cx.store.read().await?;
    let found = access::get(cx, actor, &mut tx, id).await?;
    shown_one(&mut tx, actor, found).await
}

/// Everyone has it by this action.
pub(super) fn is_everyones(grants: &[RbacPolicy], action: &str) -> bool {
    grants
        .iter()
        .any(|grant| grant.action == action && grant.target == EVERYONE)
}
