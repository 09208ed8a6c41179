//! Lists of instances: filters, order and pages.
//!
//! What the database has a column for, it does; a filter or an order by anything else is done here, over all rows that
//! the rest of the filter leaves.

use super::addresses::{self, Wiring};
use crate::context::Context;
use corten_iam::action::compute::{SERVERS_READ, SERVERS_READ_ALL};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{InstanceId, ProjectId};
use corten_model::lifecycle::{TaskState, VmState};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::instances::Instance;
use corten_store::record::{self, Direction, Query, Record, Value};
use corten_store::{Failure, Tx};
use regex::Regex;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Something about an instance that a list can be searched and ordered by, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    Name,
    Description,
    Hostname,
    KeyName,
    ReservationId,
    AvailabilityZone,
    Host,
    /// `True`, or nothing.
    ConfigDrive,
    /// Nova's number.
    PowerState,
    TaskState,
    Progress,
    LaunchIndex,
    AccessIpV4,
    AccessIpV6,
    /// `1` for AUTO, `0` for MANUAL.
    AutoDiskConfig,
    RootDevice,
    /// `owner` or `admin`.
    LockedBy,
    /// What no instance of this cloud has: a kernel, a RAM disk.
    Nothing,
}

impl Attribute {
    pub fn of(self, instance: &Instance) -> String {
        let intent = &instance.intent;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        match self {
            Self::Name => intent.name.clone(),
            Self::Description => text(intent.description.as_deref()),
            Self::Hostname => intent.hostname.clone(),
            Self::KeyName => text(intent.key.as_ref().map(|key| key.name.as_str())),
            Self::ReservationId => instance.reservation_id.clone(),
            Self::AvailabilityZone => text(intent.availability_zone.as_deref()),
            Self::Host => text(instance.host_name.as_deref()),
            Self::ConfigDrive => text(intent.config_drive.then_some("True")),
            Self::PowerState => instance.state.power.code().to_string(),
            Self::TaskState => text(instance.state.task.and_then(TaskState::nova)),
            Self::Progress => instance.progress.to_string(),
            Self::LaunchIndex => instance.launch_index.to_string(),
            Self::AccessIpV4 => intent.access_ip_v4.clone(),
            Self::AccessIpV6 => intent.access_ip_v6.clone(),
            Self::AutoDiskConfig => u8::from(intent.disk_config == "AUTO").to_string(),
            Self::RootDevice => "/dev/vda".to_owned(),
            Self::LockedBy => text(
                intent
                    .locked
                    .as_ref()
                    .map(|lock| if lock.by_admin { "admin" } else { "owner" }),
            ),
            Self::Nothing => String::new(),
        }
    }

    /// For an order: numbers by their size, the rest by its letters.
    fn rank(self, instance: &Instance) -> Rank {
        match self {
            Self::Progress => Rank::Number(instance.progress),
            Self::LaunchIndex => Rank::Number(instance.launch_index),
            other => Rank::Text(other.of(instance)),
        }
    }
}

/// What a list is narrowed to. Everything that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// `None`: of every project.
    pub project_id: Option<ProjectId>,
    /// Deleted ones only, living ones only, or both.
    pub deleted: Option<bool>,
    /// Also those that were deleted and can still be restored.
    pub soft_deleted: bool,
    pub states: Option<Vec<(VmState, Option<TaskState>)>>,
    pub vm_states: Option<Vec<VmState>>,
    pub task_states: Option<Vec<Option<TaskState>>>,
    pub ids: Option<Vec<String>>,
    /// Columns that must hold exactly this text.
    pub columns: Vec<(&'static str, String)>,
    /// Patterns found anywhere in an attribute, as Nova has it.
    pub patterns: Vec<(Attribute, Regex)>,
    pub host: Option<String>,
    /// Patterns that one of its IPv4, or IPv6, addresses begins with.
    pub ipv4: Option<Regex>,
    pub ipv6: Option<Regex>,
    pub locked: Option<bool>,
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
        self.states.is_some()
            || self.task_states.is_some()
            || !self.patterns.is_empty()
            || self.host.is_some()
            || self.is_by_address()
            || !(self.tags.is_empty() && self.tags_any.is_empty())
            || !(self.not_tags.is_empty() && self.not_tags_any.is_empty())
            || self.created_at.is_some()
            || self.launched_at.is_some()
            || self.terminated_at.is_some()
    }

    fn is_by_address(&self) -> bool {
        self.ipv4.is_some() || self.ipv6.is_some()
    }

    /// Leaves the instances that pass everything the database does not answer by itself.
    async fn sift(&self, tx: &mut Tx, found: &mut Vec<Instance>) -> Result<(), Failure> {
        found.retain(|instance| self.matches(instance));
        if self.is_by_address() {
            let wirings = addresses::read(tx, found).await?;
            found.retain(|instance| {
                let wiring = wirings.get(&instance.id);
                wiring.is_some_and(|wiring| self.has_address(wiring))
            });
        }
        Ok(())
    }

    fn has_address(&self, wiring: &Wiring) -> bool {
        let fits = |pattern: &Option<Regex>, is_ipv4: bool| {
            pattern.as_ref().is_none_or(|pattern| {
                let of_family = wiring.all().filter(|one| one.address.is_ipv4() == is_ipv4);
                let mut texts = of_family.map(|one| one.address.to_string());
                texts.any(|text| pattern.find(&text).is_some_and(|found| found.start() == 0))
            })
        };
        fits(&self.ipv4, true) && fits(&self.ipv6, false)
    }

    fn matches(&self, instance: &Instance) -> bool {
        let tags = &instance.intent.tags;
        let state = instance.state;
        self.states
            .as_ref()
            .is_none_or(|states| states.contains(&(state.vm, state.task)))
            && self
                .task_states
                .as_ref()
                .is_none_or(|states| states.contains(&state.task))
            && self
                .patterns
                .iter()
                .all(|(attribute, pattern)| pattern.is_match(&attribute.of(instance)))
            && self
                .host
                .as_ref()
                .is_none_or(|host| instance.host_name.as_ref() == Some(host))
            && self.tags.is_subset(tags)
            && (self.tags_any.is_empty() || !self.tags_any.is_disjoint(tags))
            && (self.not_tags.is_empty() || !self.not_tags.is_subset(tags))
            && self.not_tags_any.is_disjoint(tags)
            && same_second(self.created_at, Some(instance.created_at))
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
        if !self.soft_deleted && self.vm_states.is_none() && self.states.is_none() {
            query = query.differs("vm_state", VmState::SoftDeleted.as_str());
        }
        if let Some(states) = &self.vm_states {
            query = query.any_of("vm_state", states.iter().map(|state| state.as_str()));
        }
        if let Some(locked) = self.locked {
            query = query.equals("locked", locked);
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

/// What a list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    Column(&'static str),
    Attribute(Attribute),
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    pub sort: Vec<(SortKey, Direction)>,
    /// The last instance of the page before.
    pub marker: Option<InstanceId>,
    pub limit: usize,
}

/// Whose instances `actor` lists: his project's, or everyone's (`None`).
pub fn whose(cx: &Context, actor: &Actor, all: bool) -> Result<Option<ProjectId>, Refusal> {
    let everyone = cx.policy.check(actor, SERVERS_READ_ALL, &Target::cloud());
    match actor.project_id() {
        _ if all => everyone.map(|()| None),
        Some(own) => {
            cx.policy
                .check(actor, SERVERS_READ, &Target::project(own))?;
            Ok(Some(own.clone()))
        }
        None if everyone.is_ok() => Ok(None),
        None => Err(Refusal::forbidden(
            "Servers belong to projects (K128): use a token that is scoped to one.",
        )),
    }
}

/// The living instances that [`whose`] names, newest first, from after `marker`.
pub async fn newest(
    cx: &Context,
    actor: &Actor,
    all: bool,
    marker: Option<InstanceId>,
    limit: usize,
) -> Result<Vec<Instance>, Failure> {
    let filter = Filter {
        project_id: whose(cx, actor, all)?,
        deleted: Some(false),
        soft_deleted: true,
        ..Filter::default()
    };
    let page = Page {
        sort: vec![(SortKey::Column("created_at"), Direction::Descending)],
        marker,
        limit,
    };
    list(cx, &filter, &page).await
}

/// A page of instances. The caller has checked that its actor may read the filter's project.
pub async fn list(cx: &Context, filter: &Filter, page: &Page) -> Result<Vec<Instance>, Failure> {
    let mut tx = cx.store.read().await?;
    let marker = match page.marker {
        Some(id) => Some(
            record::get::<Instance>(&mut tx, id)
                .await?
                .ok_or_else(|| no_marker(id))?,
        ),
        None => None,
    };
    if filter.nothing {
        return Ok(Vec::new());
    }
    let columns: Option<Vec<_>> = page
        .sort
        .iter()
        .map(|(key, direction)| Some((column(*key)?, *direction)))
        .collect();
    let Some(columns) = columns else {
        let mut found = filter.query().all(&mut tx).await?;
        filter.sift(&mut tx, &mut found).await?;
        return Ok(sorted(found, page, marker.as_ref()));
    };
    let mut query = filter.query();
    for (column, direction) in columns {
        query = query.order_by(column, direction);
    }
    if let Some(marker) = &marker {
        query = query.after(marker);
    }
    if !filter.has_residue() {
        return Ok(query.limit(page.limit as i64).all(&mut tx).await?);
    }
    let mut found = query.all(&mut tx).await?;
    filter.sift(&mut tx, &mut found).await?;
    found.truncate(page.limit);
    Ok(found)
}

/// The 400 for a marker that is no instance.
fn no_marker(id: InstanceId) -> Refusal {
    Refusal::invalid(format!("marker [{id}] not found"))
}

fn column(key: SortKey) -> Option<&'static str> {
    match key {
        SortKey::Column(column) => Some(column),
        SortKey::Attribute(_) => None,
    }
}

/// A value that can be ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Number(i64),
    Text(String),
}

fn rank(key: SortKey, instance: &Instance) -> Rank {
    match key {
        SortKey::Attribute(attribute) => attribute.rank(instance),
        SortKey::Column(column) => {
            match Instance::COLUMNS.iter().position(|name| *name == column) {
                Some(index) => match instance.columns().swap_remove(index) {
                    Value::Int(number) => Rank::Number(number.unwrap_or_default()),
                    Value::Text(text) => Rank::Text(text.unwrap_or_default()),
                },
                None => Rank::Text(instance.id.to_string()),
            }
        }
    }
}

/// The page of a list that the database cannot order.
fn sorted(found: Vec<Instance>, page: &Page, marker: Option<&Instance>) -> Vec<Instance> {
    let ranks = |instance: &Instance| -> Vec<Rank> {
        let keys = page.sort.iter().map(|(key, _)| rank(*key, instance));
        keys.chain([Rank::Text(instance.id.to_string())]).collect()
    };
    let order = |left: &[Rank], right: &[Rank]| {
        let directions = page
            .sort
            .iter()
            .map(|(_, direction)| *direction)
            .chain([Direction::Ascending]);
        left.iter()
            .zip(right)
            .zip(directions)
            .map(|((left, right), direction)| match direction {
                Direction::Ascending => left.cmp(right),
                Direction::Descending => right.cmp(left),
            })
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    };
    let mut keyed: Vec<_> = found
        .into_iter()
        .map(|instance| (ranks(&instance), instance))
        .collect();
    if let Some(marker) = marker.map(ranks) {
        keyed.retain(|(ranks, _)| order(ranks, &marker) == Ordering::Greater);
    }
    keyed.sort_by(|(left, _), (right, _)| order(left, right));
    keyed
        .into_iter()
        .map(|(_, instance)| instance)
        .take(page.limit)
        .collect()
}
