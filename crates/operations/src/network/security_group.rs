//! Security groups: making, changing and removing them. Every project has one named `default`.

use super::access::{self, Lendable, Narrow, list as visible, lock, owner};
use super::{commit, default_rule, quota, rbac_policy};
use crate::context::Context;
use async_trait::async_trait;
use corten_iam::action::network::SECURITY_GROUPS_WRITE;
use corten_iam::actor::Actor;
use corten_model::ids::{ProjectId, SecurityGroupId, SecurityGroupRuleId};
use corten_model::refusal::Refusal;
use corten_network::plan::Unit;
use corten_store::network::Standard;
use corten_store::network::port::Port;
use corten_store::network::security_group::{self, DEFAULT, Member, Rule, SecurityGroup};
use corten_store::{Error, Failure, Query, Tx, record};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct NewSecurityGroup {
    pub project_id: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub stateful: bool,
    pub tags: BTreeSet<String>,
}

#[derive(Debug, Clone, Default)]
pub struct SecurityGroupChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub stateful: Option<bool>,
}

/// A group with what an answer shows of it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub group: SecurityGroup,
    pub rules: Vec<Rule>,
    /// Everyone, or the actor's project, may use it.
    pub shared: bool,
}

#[async_trait]
impl Lendable for SecurityGroup {
    const OBJECT_TYPE: &'static str = "security_group";

    /// Whose ports it guards.
    async fn users(&self, tx: &mut Tx, _: &str) -> Result<BTreeSet<ProjectId>, Failure> {
        let members = Member::of_group(self.id).all(tx).await?;
        let ids = members.iter().map(|member| member.port_id.to_string());
        let ports: Vec<Port> = Query::new().any_of("id", ids).all(tx).await?;
        Ok(ports
            .into_iter()
            .map(|port| port.standard.project_id)
            .collect())
    }
}

/// The id of a project's default group, which is made when it is first needed.
pub(crate) async fn default_of(
    cx: &Arc<Context>,
    tx: &mut Tx,
    project: &ProjectId,
) -> Result<SecurityGroupId, Failure> {
    let present = Query::<SecurityGroup>::new().equals("default_of", project);
    if let Some(group) = present.first(tx).await? {
        return Ok(group.id);
    }
    let description = "Default security group".to_owned();
    let group = SecurityGroup {
        id: SecurityGroupId::random(),
        standard: Standard::new(project.clone(), DEFAULT.to_owned(), description, cx.now()),
        stateful: true,
        is_default: true,
    };
    match record::insert(tx, &group).await {
        Ok(()) => {}
        // Another made it just now.
        Err(Error::Exists { .. }) => {
            let present = Query::<SecurityGroup>::new().equals("default_of", project);
            let group = present.first(tx).await?;
            return Ok(group
                .ok_or_else(|| {
                    Refusal::unavailable("The default group is just being made; try again.")
                })?
                .id);
        }
        Err(error) => return Err(error.into()),
    }
    begin(cx, tx, &group).await?;
    super::note(
        tx,
        cx,
        &corten_model::origin::Origin::system(),
        &[Unit::SecurityGroup(group.id)],
    )
    .await?;
    Ok(group.id)
}

/// Gives a new group the rules that groups of its kind begin with.
async fn begin(cx: &Context, tx: &mut Tx, group: &SecurityGroup) -> Result<(), Failure> {
    for default in default_rule::for_groups(tx, group.is_default).await? {
        let project = group.standard.project_id.clone();
        let description = default.standard.description.clone();
        let standard = Standard::new(project, String::new(), description, cx.now());
        let rule = default.of(group, SecurityGroupRuleId::random(), standard);
        record::insert(tx, &rule).await?;
    }
    Ok(())
}

/// Makes groups, all or none.
pub async fn create(
    cx: &Arc<Context>,
    actor: &Actor,
    new: Vec<NewSecurityGroup>,
) -> Result<Vec<Shown>, Failure> {
    let mut tx = cx.store.write().await?;
    let mut made = Vec::new();
    for new in new {
        let NewSecurityGroup {
            project_id,
            name,
            description,
            stateful,
            tags,
        } = new;
        let project = owner(cx, actor, project_id, SECURITY_GROUPS_WRITE)?;
        default_of(cx, &mut tx, &project).await?;
        if name == DEFAULT {
            return Err(default_exists().into());
        }
        quota::check(&mut tx, cx, &project, quota::SECURITY_GROUP, 1).await?;
        let rules = default_rule::for_groups(&mut tx, false).await?.len();
        let rules = i64::try_from(rules).unwrap_or(i64::MAX);
        quota::check(&mut tx, cx, &project, quota::SECURITY_GROUP_RULE, rules).await?;
        let group = SecurityGroup {
            id: SecurityGroupId::random(),
            standard: Standard {
                tags,
                ..Standard::new(project, name, description, cx.now())
            },
            stateful,
            is_default: false,
        };
        record::insert(&mut tx, &group).await?;
        begin(cx, &mut tx, &group).await?;
        made.push(group);
    }
    let units: Vec<_> = made
        .iter()
        .map(|group| Unit::SecurityGroup(group.id))
        .collect();
    commit(tx, cx, &actor.origin(), &units).await?;
    show_all(&mut cx.store.read().await?, actor, made).await
}

fn default_exists() -> Refusal {
    Refusal::conflict("Default security group already exists.")
        .named("SecurityGroupDefaultAlreadyExists")
}

async fn show_all(
    tx: &mut Tx,
    actor: &Actor,
    groups: Vec<SecurityGroup>,
) -> Result<Vec<Shown>, Failure> {
    let ids = groups.iter().map(|group| group.id.to_string());
    let mut rules: Vec<Rule> = Query::new()
        .any_of("security_group_id", ids)
        .all(tx)
        .await?;
    rules.sort_by_key(|rule| (rule.standard.created_at, rule.id));
    let groups = rbac_policy::shown(tx, actor, groups).await?;
    let shown = groups.into_iter().map(|lent| Shown {
        rules: rules
            .iter()
            .filter(|rule| rule.security_group_id == lent.resource.id)
            .cloned()
            .collect(),
        shared: lent.shared,
        group: lent.resource,
    });
    Ok(shown.collect())
}

/// The groups that the actor sees, among them the default group of the project that it asks about.
pub async fn list(cx: &Arc<Context>, actor: &Actor, narrow: Narrow) -> Result<Vec<Shown>, Failure> {
    let project = asked_about(cx, actor, &narrow);
    if let Some(project) = &project
        && !has_default(&mut cx.store.read().await?, project).await?
    {
        let mut tx = cx.store.write().await?;
        default_of(cx, &mut tx, project).await?;
        tx.commit().await?;
    }
    let mut tx = cx.store.read().await?;
    let found = visible::<SecurityGroup>(cx, actor, &mut tx, narrow).await?;
    show_all(&mut tx, actor, found).await
}

/// The project that a list is narrowed to, or the actor's own.
fn asked_about(cx: &Context, actor: &Actor, narrow: &Narrow) -> Option<ProjectId> {
    let mut columns = narrow.0.iter();
    let named = columns.find_map(|(column, values)| match values.as_slice() {
        [one] if *column == "project_id" => Some(ProjectId::from(one.clone())),
        _ => None,
    });
    let named = named.filter(|_| access::sees_all(cx, actor));
    named.or_else(|| actor.project_id().cloned())
}

async fn has_default(tx: &mut Tx, project: &ProjectId) -> Result<bool, Failure> {
    let default = Query::<SecurityGroup>::new().equals("default_of", project);
    Ok(default.first(tx).await?.is_some())
}

pub async fn show(cx: &Context, actor: &Actor, id: SecurityGroupId) -> Result<Shown, Failure> {
    let mut tx = cx.store.read().await?;
    let group = access::get::<SecurityGroup>(cx, actor, &mut tx, id).await?;
    let mut shown = show_all(&mut tx, actor, vec![group]).await?;
    Ok(shown
        .pop()
        .ok_or_else(|| access::missing::<SecurityGroup>(id))?)
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: SecurityGroupId,
    change: SecurityGroupChange,
) -> Result<Shown, Failure> {
    let mut tx = cx.store.write().await?;
    let mut group = lock::<SecurityGroup>(cx, actor, &mut tx, id).await?;
    let SecurityGroupChange {
        name,
        description,
        stateful,
    } = change;
    if group.is_default && name.as_ref().is_some_and(|name| name != DEFAULT) {
        return Err(Refusal::conflict(
            "Updating default security group not allowed: its name stays.",
        )
        .named("SecurityGroupCannotUpdateDefault")
        .into());
    }
    if !group.is_default && name.as_deref() == Some(DEFAULT) {
        return Err(default_exists().into());
    }
    if stateful.is_some_and(|stateful| stateful != group.stateful) && in_use(&mut tx, id).await? {
        return Err(Refusal::conflict(format!(
            "Security Group {id} in use: 'stateful' is changed while no port is in it."
        ))
        .named("SecurityGroupInUse")
        .into());
    }
    let standard = &mut group.standard;
    standard.name = name.unwrap_or(std::mem::take(&mut standard.name));
    standard.description = description.unwrap_or(std::mem::take(&mut standard.description));
    group.stateful = stateful.unwrap_or(group.stateful);
    group.standard.touch(cx.now());
    record::update(&mut tx, &group).await?;
    commit(tx, cx, &actor.origin(), &[Unit::SecurityGroup(id)]).await?;
    show(cx, actor, id).await
}

async fn in_use(tx: &mut Tx, id: SecurityGroupId) -> Result<bool, Failure> {
    Ok(Member::of_group(id).first(tx).await?.is_some())
}

/// Removes a group that no port is in. Rules of others that name it go with it.
pub async fn delete(cx: &Arc<Context>, actor: &Actor, id: SecurityGroupId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let group = lock::<SecurityGroup>(cx, actor, &mut tx, id).await?;
    if group.is_default && !actor.is_admin() {
        return Err(
            Refusal::conflict("Removing the default security group is not allowed.")
                .named("SecurityGroupCannotRemoveDefault")
                .into(),
        );
    }
    if in_use(&mut tx, id).await? {
        return Err(Refusal::conflict(format!(
            "Security Group {id} in use: take it off the ports that have it."
        ))
        .named("SecurityGroupInUse")
        .into());
    }
    let mut units = vec![Unit::SecurityGroup(id)];
    let naming: Vec<Rule> = Query::new()
        .equals("remote_group_id", &id)
        .all(&mut tx)
        .await?;
    for rule in naming {
        units.push(Unit::SecurityGroup(rule.security_group_id));
        record::delete::<Rule>(&mut tx, rule.id).await?;
    }
    rbac_policy::forget(&mut tx, &group).await?;
    record::delete::<security_group::SecurityGroup>(&mut tx, id).await?;
    units.sort_unstable();
    units.dedup();
    commit(tx, cx, &actor.origin(), &units).await
}
