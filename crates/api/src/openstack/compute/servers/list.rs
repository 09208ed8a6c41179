//! `GET /servers` and `/servers/detail`: filters, sort and pages.

use super::view::{Mode, Viewer};
use super::viewer;
use crate::app::App;
use crate::auth::Caller;
use crate::openstack::compute::microversion::Microversion;
use crate::openstack::compute::paging::{self, Page};
use crate::params::{BaseUrl, Params, parse_truth};
use crate::problem::Answer;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ProjectId;
use corten_model::lifecycle::{InstanceState, TaskState, VmState};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::instance::list::{self as instances, Attribute, Filter, SortKey};
use corten_store::Failure;
use corten_store::instances::Instance;
use corten_store::record::Direction;
use regex::Regex;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// The body of a list.
#[derive(Serialize)]
struct Servers<T> {
    servers: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers_links: Option<Value>,
}

/// A page, and who looks at it.
struct Found<'a> {
    viewer: Viewer<'a>,
    instances: Vec<Instance>,
    next: Option<Value>,
}

pub(super) async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let found = page(&app, &actor, mv, &base, &params, "servers").await?;
    Ok(found.show(Viewer::brief))
}

pub(super) async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let found = page(&app, &actor, mv, &base, &params, "servers/detail").await?;
    Ok(found.show(|viewer, instance| viewer.server(instance, Mode::Detail)))
}

impl<'a> Found<'a> {
    fn show<'i, T: Serialize>(
        &'i self,
        view: impl Fn(&'i Viewer<'a>, &'i Instance) -> T,
    ) -> Response {
        let instances = self.instances.iter();
        let body = Servers {
            servers: instances
                .map(|instance| view(&self.viewer, instance))
                .collect(),
            servers_links: self.next.clone(),
        };
        Json(body).into_response()
    }
}

async fn page<'a>(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    base: &'a str,
    params: &Params,
    path: &str,
) -> Answer<Found<'a>> {
    if mv.at_least(75) {
        only_known(params)?;
    }
    let admin = sees_all(app, actor);
    let filter = filter(app, actor, mv, params, admin)?;
    let asked = Page::of(params)?;
    let marker = asked
        .marker
        .as_deref()
        .map(|text| text.parse().map_err(|_| paging::no_marker(text)))
        .transpose()?;
    let page = instances::Page {
        sort: sort(mv, params, admin)?,
        marker,
        limit: asked.limit,
    };
    let instances = instances::list(&app.cx, &filter, &page).await?;
    let last = instances.last().map(|instance| instance.id.to_string());
    Ok(Found {
        viewer: viewer(app, actor, mv, base, &instances).await?,
        next: asked.next(base, path, params, instances.len(), last),
        instances,
    })
}

fn sees_all(app: &App, actor: &Actor) -> bool {
    app.cx
        .policy
        .check(actor, compute::SERVERS_READ_ALL, &Target::cloud())
        .is_ok()
}

/// What a list can be sorted by, under Nova's names.
const SORT_KEYS: [(&str, SortKey); 30] = [
    ("access_ip_v4", SortKey::Attribute(Attribute::AccessIpV4)),
    ("access_ip_v6", SortKey::Attribute(Attribute::AccessIpV6)),
    (
        "auto_disk_config",
        SortKey::Attribute(Attribute::AutoDiskConfig),
    ),
    (
        "availability_zone",
        SortKey::Attribute(Attribute::AvailabilityZone),
    ),
    ("config_drive", SortKey::Attribute(Attribute::ConfigDrive)),
    ("created_at", SortKey::Column("created_at")),
    (
        "display_description",
        SortKey::Attribute(Attribute::Description),
    ),
    ("display_name", SortKey::Column("name")),
    ("host", SortKey::Attribute(Attribute::Host)),
    ("hostname", SortKey::Column("hostname")),
    ("image_ref", SortKey::Column("image_id")),
    ("instance_type_id", SortKey::Column("flavor_id")),
    ("kernel_id", SortKey::Attribute(Attribute::Nothing)),
    ("key_name", SortKey::Column("key_name")),
    ("launch_index", SortKey::Attribute(Attribute::LaunchIndex)),
    ("launched_at", SortKey::Column("launched_at")),
    ("locked", SortKey::Column("locked")),
    ("locked_by", SortKey::Attribute(Attribute::LockedBy)),
    ("node", SortKey::Attribute(Attribute::Host)),
    ("power_state", SortKey::Column("power_state")),
    ("progress", SortKey::Attribute(Attribute::Progress)),
    ("project_id", SortKey::Column("project_id")),
    ("ramdisk_id", SortKey::Attribute(Attribute::Nothing)),
    (
        "root_device_name",
        SortKey::Attribute(Attribute::RootDevice),
    ),
    ("task_state", SortKey::Attribute(Attribute::TaskState)),
    ("terminated_at", SortKey::Column("terminated_at")),
    ("updated_at", SortKey::Column("updated_at")),
    ("user_id", SortKey::Column("user_id")),
    ("uuid", SortKey::Column("id")),
    ("vm_state", SortKey::Column("vm_state")),
];

/// Keys that say nothing: ignored below 2.75, refused from then on.
const IGNORED_SORT_KEYS: [&str; 21] = [
    "architecture",
    "cell_name",
    "cleaned",
    "default_ephemeral_device",
    "default_swap_device",
    "deleted",
    "deleted_at",
    "disable_terminate",
    "ephemeral_gb",
    "ephemeral_key_uuid",
    "id",
    "key_data",
    "launched_on",
    "memory_mb",
    "os_type",
    "reservation_id",
    "root_gb",
    "shutdown_terminate",
    "user_data",
    "vcpus",
    "vm_mode",
];

/// `sort_key` and `sort_dir`, in pairs; a direction that is missing is like the first. Newest first without any.
fn sort(
    mv: Microversion,
    params: &Params,
    admin: bool,
) -> Result<Vec<(SortKey, Direction)>, Refusal> {
    let names = params.all("sort_key");
    let directions: Vec<_> = params
        .all("sort_dir")
        .into_iter()
        .map(direction)
        .collect::<Result<_, _>>()?;
    if directions.len() > names.len().max(1) {
        return Err(Refusal::invalid(
            "Sort direction size exceeds sort key size",
        ));
    }
    let first = directions.first().copied().unwrap_or(Direction::Descending);
    let mut keys = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let direction = directions.get(index).copied().unwrap_or(first);
        match SORT_KEYS.iter().find(|(known, _)| known == name) {
            Some(("locked", _)) if !mv.at_least(73) => {}
            Some(("host" | "node", _)) if !admin => {
                return Err(Refusal::forbidden(format!(
                    "Only administrators can sort servers by {name}"
                )));
            }
            Some((_, key)) => keys.push((*key, direction)),
            None if IGNORED_SORT_KEYS.contains(name) && !mv.at_least(75) => {}
            None => {
                let known: Vec<_> = SORT_KEYS.iter().map(|(known, _)| *known).collect();
                return Err(Refusal::invalid(format!(
                    "Invalid input for query parameters sort_key. Value: {name}. It is one of {}",
                    known.join(", ")
                )));
            }
        }
    }
    if keys.is_empty() {
        keys.push((SortKey::Column("created_at"), first));
    }
    Ok(keys)
}

fn direction(text: &str) -> Result<Direction, Refusal> {
    match text {
        "asc" => Ok(Direction::Ascending),
        "desc" => Ok(Direction::Descending),
        other => Err(Refusal::invalid(format!(
            "Invalid input for query parameters sort_dir. Value: {other}. It is asc or desc"
        ))),
    }
}

/// The filters of tenants, each with the version it came with; others of theirs are ignored, as Nova does.
const TENANT_FILTERS: [(u16, &str); 26] = [
    (1, "reservation_id"),
    (1, "name"),
    (1, "status"),
    (1, "image"),
    (1, "flavor"),
    (1, "ip"),
    (1, "changes-since"),
    (5, "ip6"),
    (26, "tags"),
    (26, "tags-any"),
    (26, "not-tags"),
    (26, "not-tags-any"),
    (66, "changes-before"),
    (73, "locked"),
    (83, "availability_zone"),
    (83, "config_drive"),
    (83, "key_name"),
    (83, "created_at"),
    (83, "launched_at"),
    (83, "terminated_at"),
    (83, "power_state"),
    (83, "task_state"),
    (83, "vm_state"),
    (83, "progress"),
    (83, "user_id"),
    (90, "hostname"),
];

/// What a list takes beside the filters of tenants: the filters of administrators, sort and page.
const OTHER_PARAMETERS: [&str; 24] = [
    "access_ip_v4",
    "access_ip_v6",
    "all_tenants",
    "auto_disk_config",
    "deleted",
    "description",
    "display_description",
    "display_name",
    "host",
    "image_ref",
    "kernel_id",
    "launch_index",
    "limit",
    "locked_by",
    "marker",
    "node",
    "project_id",
    "ramdisk_id",
    "root_device_name",
    "soft_deleted",
    "sort_dir",
    "sort_key",
    "tenant_id",
    "uuid",
];

/// Names that Nova knows from its tables and refuses.
const TABLES: [&str; 7] = [
    "block_device_mapping",
    "services",
    "metadata",
    "system_metadata",
    "info_cache",
    "security_groups",
    "pci_devices",
];

fn is_table(name: &str) -> bool {
    TABLES.contains(&name) || name.starts_with('_')
}

/// From 2.75 on a list takes no parameter that it does not know.
fn only_known(params: &Params) -> Result<(), Refusal> {
    let tenants = TENANT_FILTERS.iter().map(|(_, name)| *name);
    let known: Vec<&str> = tenants.chain(OTHER_PARAMETERS).collect();
    let unknown = params
        .0
        .iter()
        .filter(|(name, _)| !is_table(name))
        .cloned()
        .collect();
    paging::only(&Params(unknown), &known)
}

fn filter(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    params: &Params,
    admin: bool,
) -> Result<Filter, Failure> {
    let mut filter = Filter {
        project_id: project(app, actor, params)?,
        ..Filter::default()
    };
    let mut statuses = Vec::new();
    for (name, value) in &params.0 {
        let for_tenants = TENANT_FILTERS.iter().find(|(_, known)| known == name);
        match for_tenants {
            Some((since, _)) if !admin && !mv.at_least(*since) => continue,
            None if !admin => continue,
            Some((since @ (26 | 66 | 73), _)) if !mv.at_least(*since) => continue,
            _ => {}
        }
        if is_table(name) {
            return Err(Refusal::invalid(format!("Invalid filter field: {name}.")).into());
        }
        match name.as_str() {
            "status" => statuses.push(value.as_str()),
            _ => apply(&mut filter, name, value)?,
        }
    }
    by_status(&mut filter, mv, admin, &statuses)?;
    if let (Some(since), Some(before)) = (filter.changed_since, filter.changed_before)
        && since > before
    {
        let rule = "The value of changes-since must be less than or equal to changes-before.";
        return Err(Refusal::invalid(rule).into());
    }
    // Who asks for changes wants to hear of deletions too.
    if filter.deleted.is_none() && filter.changed_since.is_none() && filter.changed_before.is_none()
    {
        filter.deleted = Some(false);
    }
    Ok(filter)
}

/// Whose servers: the token's project, or with `all_tenants` everyone's or one project's.
fn project(app: &App, actor: &Actor, params: &Params) -> Result<Option<ProjectId>, Failure> {
    let all = match params.get("all_tenants") {
        None => false,
        Some("") => true,
        Some(text) => parse_truth(text).ok_or_else(|| {
            Refusal::invalid(format!(
                "Invalid input for query parameters all_tenants. Value: {text}"
            ))
        })?,
    };
    let whose = instances::whose(&app.cx, actor, all)?;
    let asked = params.get("project_id").or(params.get("tenant_id"));
    Ok(match asked {
        Some(project) if all => Some(ProjectId::from(project)),
        _ => whose,
    })
}

fn wrong(name: &str, text: &str, rule: &str) -> Refusal {
    Refusal::invalid(format!(
        "Invalid input for query parameters {name}. Value: {text}. {rule}"
    ))
}

fn pattern(name: &str, text: &str) -> Result<Regex, Refusal> {
    Regex::new(text)
        .map_err(|_| wrong(name, text, &format!("'{text}' is not a regular expression")))
}

fn moment(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    Timestamp::parse_iso8601(text)
        .ok_or_else(|| wrong(name, text, "It is not a date and time of ISO 8601"))
}

fn tags(text: &str) -> BTreeSet<String> {
    text.split(',')
        .filter(|tag| !tag.is_empty())
        .map(str::to_owned)
        .collect()
}

fn truth(name: &str, text: &str) -> Result<bool, Refusal> {
    parse_truth(text).ok_or_else(|| wrong(name, text, "It is neither true nor false"))
}

/// Filters that look for a pattern.
fn attribute(name: &str) -> Option<Attribute> {
    Some(match name {
        "name" | "display_name" => Attribute::Name,
        "description" | "display_description" => Attribute::Description,
        "hostname" => Attribute::Hostname,
        "key_name" => Attribute::KeyName,
        "reservation_id" => Attribute::ReservationId,
        "availability_zone" => Attribute::AvailabilityZone,
        "node" => Attribute::Host,
        "power_state" => Attribute::PowerState,
        "progress" => Attribute::Progress,
        "launch_index" => Attribute::LaunchIndex,
        "access_ip_v4" => Attribute::AccessIpV4,
        "access_ip_v6" => Attribute::AccessIpV6,
        "auto_disk_config" => Attribute::AutoDiskConfig,
        "root_device_name" => Attribute::RootDevice,
        "locked_by" => Attribute::LockedBy,
        "kernel_id" | "ramdisk_id" => Attribute::Nothing,
        _ => return None,
    })
}

fn apply(filter: &mut Filter, name: &str, value: &str) -> Result<(), Refusal> {
    if let Some(attribute) = attribute(name) {
        filter.patterns.push((attribute, pattern(name, value)?));
        return Ok(());
    }
    match name {
        "image" | "image_ref" => filter.columns.push(("image_id", value.to_owned())),
        "flavor" => filter.columns.push(("flavor_id", value.to_owned())),
        "user_id" => filter.columns.push(("user_id", value.to_owned())),
        "uuid" => filter.ids = Some(vec![value.to_owned()]),
        "host" => filter.host = Some(value.to_owned()),
        "ip" => filter.ipv4 = Some(pattern(name, value)?),
        "ip6" => filter.ipv6 = Some(pattern(name, value)?),
        "changes-since" => filter.changed_since = Some(moment(name, value)?),
        "changes-before" => filter.changed_before = Some(moment(name, value)?),
        "tags" => filter.tags = tags(value),
        "tags-any" => filter.tags_any = tags(value),
        "not-tags" => filter.not_tags = tags(value),
        "not-tags-any" => filter.not_tags_any = tags(value),
        "locked" => filter.locked = Some(truth(name, value)?),
        "config_drive" => {
            let wanted = parse_truth(value).unwrap_or(!value.is_empty());
            filter.patterns.push((
                Attribute::ConfigDrive,
                pattern(name, if wanted { "." } else { "^$" })?,
            ));
        }
        "vm_state" => match value.parse::<VmState>() {
            Ok(state) => filter.vm_states = Some(vec![state]),
            Err(_) => filter.nothing = true,
        },
        "task_state" => match value.parse::<TaskState>() {
            Ok(state) => filter.task_states = Some(vec![Some(state)]),
            Err(_) => filter.nothing = true,
        },
        "created_at" => filter.created_at = Some(moment(name, value)?),
        "launched_at" => filter.launched_at = Some(moment(name, value)?),
        "terminated_at" => filter.terminated_at = Some(moment(name, value)?),
        // What is no truth value means no, as in Nova.
        "deleted" => filter.deleted = Some(parse_truth(value).unwrap_or(false)),
        "soft_deleted" => filter.soft_deleted = parse_truth(value).unwrap_or(false),
        _ => {}
    }
    Ok(())
}

/// Any of the statuses. One that no server can have is an error from 2.38 on; DELETED is for administrators.
fn by_status(
    filter: &mut Filter,
    mv: Microversion,
    admin: bool,
    statuses: &[&str],
) -> Result<(), Refusal> {
    if statuses.is_empty() {
        return Ok(());
    }
    let states: Vec<_> = statuses
        .iter()
        .flat_map(|status| InstanceState::with_api_status(status))
        .collect();
    if states.is_empty() {
        if mv.at_least(38) {
            return Err(Refusal::invalid("Invalid status value"));
        }
        filter.nothing = true;
    }
    if !states.is_empty() && states.iter().all(|(state, _)| *state == VmState::Deleted) {
        if !admin {
            return Err(Refusal::forbidden(
                "Only administrators may list deleted instances",
            ));
        }
        filter.deleted = Some(true);
    }
    filter.states = Some(states);
    Ok(())
}
