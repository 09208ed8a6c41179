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
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ProjectId;
use corten_model::lifecycle::{InstanceState, TaskState, VmState};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::instance::query::{self, Filter};
use corten_store::Failure;
use corten_store::record::Direction;
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    page(&app, &actor, mv, &base, &params, "servers", |viewer, instance| viewer.brief(instance)).await
}

pub(super) async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    page(&app, &actor, mv, &base, &params, "servers/detail", |viewer, instance| viewer.server(instance, Mode::Detail)).await
}

async fn page(
    app: &App,
    actor: &Actor,
    mv: Microversion,
    base: &str,
    params: &Params,
    path: &str,
    render: impl Fn(&Viewer<'_>, &corten_store::instances::Instance) -> Value,
) -> Answer<Json<Value>> {
    let filter = filter(app, actor, mv, params)?;
    let asked = Page::of(params)?;
    let marker = asked.marker.as_deref().map(|text| text.parse().map_err(|_| paging::no_marker(text))).transpose()?;
    let page = query::Page { sort: sort(params)?, marker, limit: asked.limit };
    let (found, _) = query::list(&app.cx, &filter, &page).await?;
    let viewer = viewer(app, actor, mv, base);
    let servers: Vec<_> = found.iter().map(|instance| render(&viewer, instance)).collect();
    let last = found.last().map(|instance| instance.id.to_string());
    let mut body = json!({"servers": servers});
    if let Some(links) = asked.next(base, path, params, found.len(), last) {
        body["servers_links"] = links;
    }
    Ok(Json(body))
}

/// The columns that a list can be sorted by, under Nova's names.
const SORT_KEYS: [(&str, &str); 21] = [
    ("created_at", "created_at"),
    ("updated_at", "updated_at"),
    ("launched_at", "launched_at"),
    ("terminated_at", "terminated_at"),
    ("display_name", "name"),
    ("display_description", "name"),
    ("hostname", "hostname"),
    ("host", "hostname"),
    ("node", "hostname"),
    ("image_ref", "image_id"),
    ("instance_type_id", "flavor_id"),
    ("key_name", "key_name"),
    ("locked", "locked"),
    ("power_state", "power_state"),
    ("vm_state", "vm_state"),
    ("task_state", "vm_state"),
    ("project_id", "project_id"),
    ("user_id", "user_id"),
    ("uuid", "id"),
    ("launch_index", "reservation_id"),
    ("progress", "vm_state"),
];

/// `sort_key` and `sort_dir`, in pairs; newest first without.
fn sort(params: &Params) -> Result<Vec<(&'static str, Direction)>, Refusal> {
    let keys = params.all("sort_key");
    let directions = params.all("sort_dir");
    if keys.is_empty() {
        return Ok(vec![("created_at", Direction::Descending)]);
    }
    if directions.len() > keys.len() {
        return Err(Refusal::invalid("Sort direction size exceeds sort key size"));
    }
    keys.iter()
        .enumerate()
        .map(|(index, key)| {
            let column = SORT_KEYS.iter().find(|(name, _)| name == key).map(|(_, column)| *column);
            let names = || SORT_KEYS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let column = column.ok_or_else(|| {
                Refusal::invalid(format!("Invalid input for query parameters sort_key. Value: {key}. It is one of {}", names()))
            })?;
            let direction = match directions.get(index).copied() {
                None | Some("desc") => Direction::Descending,
                Some("asc") => Direction::Ascending,
                Some(other) => {
                    return Err(Refusal::invalid(format!(
                        "Invalid input for query parameters sort_dir. Value: {other}. It is asc or desc"
                    )));
                }
            };
            Ok((column, direction))
        })
        .collect()
}

/// The filters of tenants; below 2.75 others are ignored, as Nova does. Administrators have all.
const TENANT_FILTERS: [&str; 30] = [
    "name", "status", "image", "flavor", "ip", "ip6", "changes-since", "changes-before", "reservation_id", "tags",
    "tags-any", "not-tags", "not-tags-any", "availability_zone", "config_drive", "key_name", "created_at",
    "launched_at", "terminated_at", "power_state", "task_state", "vm_state", "progress", "user_id", "locked",
    "hostname", "access_ip_v4", "access_ip_v6", "description", "all_tenants",
];

/// Everything a list takes from 2.75 on.
const OTHER_PARAMETERS: [&str; 24] = [
    "limit", "marker", "sort_key", "sort_dir", "host", "node", "project_id", "tenant_id", "deleted", "uuid", "metadata",
    "launch_index", "root_device_name", "kernel_id", "ramdisk_id", "disk_config", "auto_disk_config",
    "display_description", "soft_deleted", "accessIPv4", "accessIPv6", "locked_by", "image_ref", "instance_type_id",
];

fn filter(app: &App, actor: &Actor, mv: Microversion, params: &Params) -> Result<Filter, Failure> {
    let known: Vec<&str> = TENANT_FILTERS.iter().chain(&OTHER_PARAMETERS).copied().collect();
    if mv.at_least(75) {
        paging::only(params, &known)?;
    }
    let admin = app.cx.policy.check(actor, compute::SERVERS_READ_ALL, &Target::cloud()).is_ok();
    let mut filter = Filter { project_id: project(app, actor, params, admin)?, deleted: Some(false), ..Filter::default() };
    for (name, value) in &params.0 {
        if !admin && !TENANT_FILTERS.contains(&name.as_str()) {
            continue;
        }
        apply(&mut filter, mv, admin, name, value)?;
    }
    if filter.changed_since.is_some() && !params.0.iter().any(|(name, _)| name == "deleted") {
        filter.deleted = None;
    }
    Ok(filter)
}

/// Whose servers: the token's project, or with `all_tenants` everyone's or one project's.
fn project(app: &App, actor: &Actor, params: &Params, admin: bool) -> Result<Option<ProjectId>, Failure> {
    let all = match params.get("all_tenants") {
        None => false,
        Some("") => true,
        Some(text) => parse_truth(text)
            .ok_or_else(|| Refusal::invalid(format!("Invalid input for query parameters all_tenants. Value: {text}")))?,
    };
    if all {
        app.cx.policy.check(actor, compute::SERVERS_READ_ALL, &Target::cloud())?;
        return Ok(params.get("project_id").or(params.get("tenant_id")).map(ProjectId::from));
    }
    match actor.project_id() {
        Some(own) => {
            app.cx.policy.check(actor, compute::SERVERS_READ, &Target::project(own))?;
            Ok(Some(own.clone()))
        }
        None if admin => Ok(None),
        None => Err(Refusal::forbidden("Servers belong to projects (K128): use a token that is scoped to one.").into()),
    }
}

fn pattern(text: &str) -> Result<Regex, Refusal> {
    Regex::new(text).map_err(|_| Refusal::invalid(format!("Invalid filter: '{text}' is not a regular expression")))
}

fn moment(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    Timestamp::parse_iso8601(text)
        .ok_or_else(|| Refusal::invalid(format!("Invalid input for query parameters {name}. Value: {text}. It is not a date and time of ISO 8601")))
}

fn tags(text: &str) -> BTreeSet<String> {
    text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

fn number(name: &str, text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| Refusal::invalid(format!("Invalid input for query parameters {name}. Value: {text}. It is not a number")))
}

fn truth(name: &str, text: &str) -> Result<bool, Refusal> {
    parse_truth(text).ok_or_else(|| Refusal::invalid(format!("Invalid input for query parameters {name}. Value: {text}. It is neither true nor false")))
}

fn apply(filter: &mut Filter, mv: Microversion, admin: bool, name: &str, value: &str) -> Result<(), Refusal> {
    match name {
        "name" => filter.name = Some(pattern(value)?),
        "status" => by_status(filter, admin, value),
        "image" | "image_ref" => filter.columns.push(("image_id", value.to_owned())),
        "flavor" | "instance_type_id" => filter.columns.push(("flavor_id", value.to_owned())),
        "reservation_id" => filter.columns.push(("reservation_id", value.to_owned())),
        "key_name" => filter.columns.push(("key_name", value.to_owned())),
        "user_id" => filter.columns.push(("user_id", value.to_owned())),
        "uuid" => filter.ids = Some(vec![value.to_owned()]),
        // No server has an address.
        "ip" | "ip6" | "access_ip_v4" | "access_ip_v6" if value.is_empty() => {}
        "ip" | "ip6" => {
            pattern(value)?;
            filter.nothing = true;
        }
        "changes-since" => filter.changed_since = Some(moment(name, value)?),
        "changes-before" if mv.at_least(66) => filter.changed_before = Some(moment(name, value)?),
        "tags" if mv.at_least(26) => filter.tags = tags(value),
        "tags-any" if mv.at_least(26) => filter.tags_any = tags(value),
        "not-tags" if mv.at_least(26) => filter.not_tags = tags(value),
        "not-tags-any" if mv.at_least(26) => filter.not_tags_any = tags(value),
        "locked" if mv.at_least(73) => filter.locked = Some(truth(name, value)?),
        "availability_zone" => filter.availability_zone = Some(value.to_owned()),
        "config_drive" => filter.config_drive = Some(truth(name, value)?),
        "description" | "display_description" => filter.description = Some(pattern(value)?),
        "hostname" => filter.hostname = Some(pattern(value)?),
        "host" | "node" => filter.host = Some(value.to_owned()),
        "power_state" => filter.power_state = Some(u8::try_from(number(name, value)?).unwrap_or(u8::MAX)),
        "vm_state" => match value.parse::<VmState>() {
            Ok(state) => filter.vm_states = Some(vec![state]),
            Err(_) => filter.nothing = true,
        },
        "task_state" => match value.parse::<TaskState>() {
            Ok(state) => filter.task_states = Some(vec![Some(state)]),
            Err(_) => filter.nothing = true,
        },
        "progress" => filter.progress = Some(number(name, value)?),
        "launch_index" => filter.launch_index = Some(number(name, value)?),
        "created_at" => filter.created_at = Some(moment(name, value)?),
        "launched_at" => filter.launched_at = Some(moment(name, value)?),
        "terminated_at" => filter.terminated_at = Some(moment(name, value)?),
        "deleted" => filter.deleted = Some(truth(name, value)?),
        "metadata" => by_metadata(filter, value)?,
        _ => {}
    }
    Ok(())
}

/// A status that no server can have matches nothing; DELETED is for administrators.
fn by_status(filter: &mut Filter, admin: bool, status: &str) {
    let states = InstanceState::with_api_status(status);
    if states.is_empty() {
        filter.nothing = true;
        return;
    }
    if status.eq_ignore_ascii_case("DELETED") && admin {
        filter.deleted = Some(true);
    }
    filter.states.get_or_insert_default().extend(states);
}

/// A JSON object of keys and values that must all be there.
fn by_metadata(filter: &mut Filter, text: &str) -> Result<(), Refusal> {
    let wanted: std::collections::BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|_| Refusal::invalid("Invalid input for query parameters metadata. It is a JSON object of texts"))?;
    filter.metadata.extend(wanted);
    Ok(())
}
