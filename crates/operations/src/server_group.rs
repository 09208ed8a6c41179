//! Server groups: making one, and seeing who is in it.

use crate::context::Context;
use crate::quota;
use corten_iam::action::compute::{SERVER_GROUPS_READ, SERVER_GROUPS_WRITE, SERVERS_READ_ALL};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{InstanceId, ServerGroupId};
use corten_model::refusal::Refusal;
use corten_store::server_groups::{self, GroupPolicy, ServerGroup};
use corten_store::{Failure, Tx, record};

/// A group and its living members.
#[derive(Debug)]
pub struct WithMembers {
    pub group: ServerGroup,
    pub members: Vec<InstanceId>,
}

fn missing(id: ServerGroupId) -> Refusal {
    Refusal::no_such("Instance group", id)
}

fn of_project(group: &ServerGroup) -> Target {
    Target::project(&group.project_id)
}

/// A page of the groups of the actor's project, or of all projects for who may see them.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    all_projects: bool,
    offset: usize,
    limit: usize,
) -> Result<Vec<WithMembers>, Failure> {
    let sees_all = cx
        .policy
        .check(actor, SERVERS_READ_ALL, &Target::cloud())
        .is_ok();
    let project = actor.project_id();
    let mut tx = cx.store.read().await?;
    let groups = if all_projects && sees_all {
        server_groups::list(&mut tx, None).await?
    } else if let Some(project) = project {
        cx.policy
            .check(actor, SERVER_GROUPS_READ, &Target::project(project))?;
        server_groups::list(&mut tx, Some(project)).await?
    } else {
        Vec::new()
    };
    let page: Vec<_> = groups.into_iter().skip(offset).take(limit).collect();
    with_members(&mut tx, page).await
}

async fn with_members(tx: &mut Tx, groups: Vec<ServerGroup>) -> Result<Vec<WithMembers>, Failure> {
    let members = server_groups::members(tx, &groups).await?;
    let of = |id| {
        members
            .iter()
            .filter(|(group, _)| *group == id)
            .map(|(_, instance)| *instance)
            .collect()
    };
    Ok(groups
        .into_iter()
        .map(|group| WithMembers {
            members: of(group.id),
            group,
        })
        .collect())
}

pub async fn show(cx: &Context, actor: &Actor, id: ServerGroupId) -> Result<WithMembers, Failure> {
    let mut tx = cx.store.read().await?;
    let group = record::get::<ServerGroup>(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    let hidden = |_| missing(id);
    cx.policy
        .check(actor, SERVER_GROUPS_READ, &of_project(&group))
        .map_err(hidden)?;
    with_members(&mut tx, vec![group])
        .await?
        .pop()
        .ok_or_else(|| missing(id).into())
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    name: String,
    policy: GroupPolicy,
    max_server_per_host: Option<u32>,
) -> Result<WithMembers, Failure> {
    let project = actor.project_id().ok_or_else(|| {
        Refusal::forbidden(
            "A server group belongs to a project (K128): ask with a token that is scoped to one.",
        )
    })?;
    cx.policy
        .check(actor, SERVER_GROUPS_WRITE, &Target::project(project))?;
    if max_server_per_host.is_some() && policy != GroupPolicy::AntiAffinity {
        return Err(Refusal::invalid("Only anti-affinity policy supports rules.").into());
    }
    let mut tx = cx.store.write().await?;
    quota::check_server_groups(cx, &mut tx, project, &actor.user_id).await?;
    let group = ServerGroup {
        id: ServerGroupId::random(),
        name,
        project_id: project.clone(),
        user_id: actor.user_id.clone(),
        policy,
        max_server_per_host,
        created_at: cx.now(),
    };
    record::insert(&mut tx, &group).await?;
    tx.commit().await?;
    Ok(WithMembers {
        group,
        members: Vec::new(),
    })
}

/// Its members stay where they are.
pub async fn delete(cx: &Context, actor: &Actor, id: ServerGroupId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let group = record::lock::<ServerGroup>(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    cx.policy.check_hidden(
        actor,
        SERVER_GROUPS_WRITE,
        SERVER_GROUPS_READ,
        &of_project(&group),
        || missing(id),
    )?;
    record::delete::<ServerGroup>(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}
