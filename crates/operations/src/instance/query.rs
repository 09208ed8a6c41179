//! Finding and listing instances, each with the permission beside the row.

use crate::context::Context;
use corten_iam::action::{Action, compute};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{InstanceId, ProjectId};
use corten_model::lifecycle::{TaskState, VmState};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::instances::{self, Instance};
use corten_store::record::{self, Direction, Query};
use corten_store::{Failure, Tx};
use regex::Regex;
use std::collections::BTreeSet;

/// Nova's 404.
pub fn missing(id: impl std::fmt::Display) -> Refusal {
    Refusal::not_found(format!("Instance {id} could not be found."))
}

/// The instance, if `actor` may see it.
pub async fn show(cx: &Context, actor: &Actor, id: InstanceId) -> Result<Instance, Failure> {
    let mut tx = cx.store.read().await?;
    let instance = instances::get(&mut tx, id).await?.ok_or_else(|| missing(id))?;
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
pub fn permit(cx: &Context, actor: &Actor, instance: &Instance, action: Action) -> Result<(), Refusal> {
    let target = Target::project(&instance.project_id).owned_by(&instance.user_id);
    cx.policy.check_hidden(actor, action, compute::SERVERS_READ, &target, || missing(instance.id))
}

/// What a list is narrowed to. Everything that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// `None`: of every project.
    pub project_id: Option<ProjectId>,
    /// Deleted ones only, living ones only, or (with `changed_since`) both.
    pub deleted: Option<bool>,
    /// Found anywhere in the name, as Nova has it.
    pub name: Option<Regex>,
    pub states: Option<Vec<(VmState, Option<TaskState>)>>,
    pub vm_states: Option<Vec<VmState>>,
    pub task_states: Option<Vec<Option<TaskState>>>,
    pub power_state: Option<u8>,
    pub ids: Option<Vec<String>>,
    /// Columns that must hold exactly this text.
    pub columns: Vec<(&'static str, String)>,
    pub host: Option<String>,
    pub availability_zone: Option<String>,
    pub description: Option<Regex>,
    pub hostname: Option<Regex>,
    pub config_drive: Option<bool>,
    pub locked: Option<bool>,
    pub progress: Option<i64>,
    pub launch_index: Option<i64>,
    pub metadata: Vec<(String, String)>,
    pub tags: BTreeSet<String>,
    pub tags_any: BTreeSet<String>,
    pub not_tags: BTreeSet<String>,
    pub not_tags_any: BTreeSet<String>,
    pub changed_since: Option<Timestamp>,
    pub changed_before: Option<Timestamp>,
    pub created_at: Option<Timestamp>,
    pub launched_at: Option<Timestamp>,
    pub terminated_at: Option<Timestamp>,
    /// Nothing can match: a status that no server can have.
    pub nothing: bool,
}

impl Filter {
    /// Is there anything that the database does not answer by itself?
    fn has_residue(&self) -> bool {
        self.name.is_some()
            || self.states.is_some()
            || self.vm_states.is_some()
            || self.task_states.is_some()
            || self.host.is_some()
            || self.availability_zone.is_some()
            || self.description.is_some()
            || self.hostname.is_some()
            || self.config_drive.is_some()
            || self.progress.is_some()
            || self.launch_index.is_some()
            || !self.metadata.is_empty()
            || !(self.tags.is_empty() && self.tags_any.is_empty())
            || !(self.not_tags.is_empty() && self.not_tags_any.is_empty())
            || self.created_at.is_some()
            || self.launched_at.is_some()
            || self.terminated_at.is_some()
    }

    fn matches(&self, instance: &Instance) -> bool {
        let intent = &instance.intent;
        let state = instance.state;
        let one_of = |wanted: &Option<Regex>, text: &str| wanted.as_ref().is_none_or(|pattern| pattern.is_match(text));
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| Some(wanted.as_str()) == found)
        };
        one_of(&self.name, &intent.name)
            && one_of(&self.hostname, &intent.hostname)
            && self.description.as_ref().is_none_or(|pattern| {
                intent.description.as_ref().is_some_and(|description| pattern.is_match(description))
            })
            && self.states.as_ref().is_none_or(|states| states.contains(&(state.vm, state.task)))
            && self.vm_states.as_ref().is_none_or(|states| states.contains(&state.vm))
            && self.task_states.as_ref().is_none_or(|states| states.contains(&state.task))
            && same(&self.host, instance.host_name.as_deref())
            && same(&self.availability_zone, intent.availability_zone.as_deref())
            && self.config_drive.is_none_or(|wanted| wanted == intent.config_drive)
            && self.progress.is_none_or(|wanted| wanted == instance.progress)
            && self.launch_index.is_none_or(|wanted| wanted == instance.launch_index)
            && self.metadata.iter().all(|(key, value)| intent.metadata.get(key) == Some(value))
            && self.tags.is_subset(&intent.tags)
            && (self.tags_any.is_empty() || !self.tags_any.is_disjoint(&intent.tags))
            && (self.not_tags.is_empty() || !self.not_tags.is_subset(&intent.tags))
            && self.not_tags_any.is_disjoint(&intent.tags)
            && self.created_at.is_none_or(|wanted| wanted.seconds_z() == instance.created_at.seconds_z())
            && same_second(self.launched_at, instance.launched_at)
            && same_second(self.terminated_at, instance.terminated_at)
    }

    fn query(&self) -> Query<Instance> {
        let mut query = Query::new();
        if let Some(project) = &self.project_id {
            query = query.equals("project_id", project);
        }
        if let Some(deleted) = self.deleted {
            query = query.equals("deleted", deleted);
        }
        if let Some(locked) = self.locked {
            query = query.equals("locked", locked);
        }
        if let Some(power) = self.power_state {
            query = query.equals("power_state", i64::from(power));
        }
        if let Some(ids) = &self.ids {
            query = query.any_of("id", ids.iter().map(String::as_str));
        }
        for (column, value) in &self.columns {
            query = query.equals(column, value.as_str());
        }
        if let Some(since) = self.changed_since {
            query = query.at_least("updated_at", since);
        }
        if let Some(before) = self.changed_before {
            query = query.at_most("updated_at", before);
        }
        query
    }
}

fn same_second(wanted: Option<Timestamp>, found: Option<Timestamp>) -> bool {
    wanted.is_none_or(|wanted| found.is_some_and(|found| found.seconds_z() == wanted.seconds_z()))
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    pub sort: Vec<(&'static str, Direction)>,
    /// The last instance of the page before.
    pub marker: Option<InstanceId>,
    pub limit: usize,
}

/// A page of instances and whether more follow. The caller has checked that `actor` may read the filter's project.
pub async fn list(cx: &Context, filter: &Filter, page: &Page) -> Result<(Vec<Instance>, bool), Failure> {
    let mut tx = cx.store.read().await?;
    let mut query = filter.query();
    for (column, direction) in &page.sort {
        query = query.order_by(column, *direction);
    }
    if let Some(marker) = page.marker {
        let found: Option<Instance> = record::get(&mut tx, marker).await?;
        let marker = found.ok_or_else(|| Refusal::invalid(format!("marker [{marker}] not found")))?;
        query = query.after(&marker);
    }
    if filter.nothing {
        return Ok((Vec::new(), false));
    }
    let mut found = if filter.has_residue() {
        let mut all = query.all(&mut tx).await?;
        all.retain(|instance| filter.matches(instance));
        all
    } else {
        query.limit(page.limit as i64 + 1).all(&mut tx).await?
    };
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    Ok((found, more))
}
