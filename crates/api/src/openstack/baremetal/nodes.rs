//! `/nodes`: lists, and a node's record.

use super::kit::{SortKeys, ident_since, new_id};
use super::node_edit::edited;
use super::node_view::{NODE, NodeView, PARTS};
use super::patch::Patch;
use super::schema::Wanted;
use super::served::Call;
use super::version::Version;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::NodeId;
use corten_model::refusal::Refusal;
use corten_operations::metal::conductor::Assignment;
use corten_operations::metal::node::{self, Reach, Shown};
use corten_operations::metal::{Narrow, chassis};
use corten_store::Query;
use corten_store::metal::node::Node;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/nodes", get(index).post(create))
        .route("/nodes/detail", get(detail))
        .route("/nodes/{node}", get(show).patch(update).delete(delete))
        .route("/nodes/{node}/children", get(children))
        .route("/chassis/{chassis}/nodes", get(of_chassis))
        .route("/chassis/{chassis}/nodes/detail", get(of_chassis_detail))
}

const SORT_KEYS: SortKeys = &[
    ("name", "name"),
    ("driver", "driver"),
    ("provision_state", "provision_state"),
    ("power_state", "power_state"),
    ("maintenance", "maintenance"),
    ("fault", "fault"),
    ("resource_class", "resource_class"),
    ("conductor_group", "conductor_group"),
    ("owner", "owner"),
    ("lessee", "lessee"),
    ("shard", "shard"),
    ("retired", "retired"),
    ("instance_uuid", "instance_id"),
    ("instance_name", "instance_name"),
    ("chassis_uuid", "chassis_id"),
    ("parent_node", "parent_id"),
    ("allocation_uuid", "allocation_id"),
    ("automated_clean", "/automated_clean"),
    ("boot_mode", "/boot_mode"),
    ("conductor", node::CONDUCTOR),
    ("console_enabled", "/console_enabled"),
    ("description", "/description"),
    ("disable_power_off", "/disable_power_off"),
    ("health", node::HEALTH),
    ("inspection_finished_at", "/inspection/finished_at"),
    ("inspection_started_at", "/inspection/started_at"),
    ("last_error", "/last_error"),
    ("maintenance_reason", "/maintenance_reason"),
    ("protected", "/protected"),
    ("protected_reason", "/protected_reason"),
    ("provision_updated_at", "/provision/since"),
    ("reservation", node::RESERVATION),
    ("retired_reason", "/retired_reason"),
    ("secure_boot", "/secure_boot"),
    ("target_power_state", "/power/target"),
    ("target_provision_state", "/provision/target"),
    ("bios_interface", "/interfaces/bios"),
    ("boot_interface", "/interfaces/boot"),
    ("console_interface", "/interfaces/console"),
    ("deploy_interface", "/interfaces/deploy"),
    ("firmware_interface", "/interfaces/firmware"),
    ("inspect_interface", "/interfaces/inspect"),
    ("management_interface", "/interfaces/management"),
    ("network_interface", "/interfaces/network"),
    ("power_interface", "/interfaces/power"),
    ("raid_interface", "/interfaces/raid"),
    ("rescue_interface", "/interfaces/rescue"),
    ("storage_interface", "/interfaces/storage"),
    ("vendor_interface", "/interfaces/vendor"),
];

const FAULTS: &[&str] = &[
    "power failure",
    "clean failure",
    "rescue abort failure",
    "service failure",
    "none",
];

/// Filters that are one column: their parameter, the version that brought it, the column.
const EQUAL: &[(&str, u16, &str)] = &[
    ("instance_uuid", 1, "instance_id"),
    ("instance_name", 104, "instance_name"),
    ("chassis_uuid", 1, "chassis_id"),
    ("provision_state", 9, "provision_state"),
    ("driver", 16, "driver"),
    ("resource_class", 21, "resource_class"),
    ("fault", 42, "fault"),
    ("conductor_group", 46, "conductor_group"),
    ("owner", 50, "owner"),
    ("lessee", 65, "lessee"),
    ("shard", 82, "shard"),
    ("parent_node", 83, "parent_id"),
];

/// Filters that are true or false: their parameter and version.
const TRUTHS: &[(&str, u16)] = &[
    ("associated", 1),
    ("maintenance", 1),
    ("retired", 61),
    ("sharded", 82),
    ("include_children", 83),
];

/// What the parameters narrow a list to.
async fn narrow(call: &Call) -> Answer<(Query<Node>, Narrow)> {
    let (version, params) = (call.version, &call.params);
    let mut query = Query::new();
    let mut narrow = Narrow::default();
    for (name, since, column) in EQUAL {
        let Some(value) = params.get(name) else {
            continue;
        };
        version.acceptable_from(*since, format!("The parameter '{name}'"))?;
        check_filter(name, value)?;
        let values = match *name {
            // Several, in one parameter.
            "shard" => value.split(',').map(str::to_owned).collect(),
            "conductor_group" => vec![value.to_lowercase()],
            "fault" if value == "none" => vec![String::new()],
            "parent_node" => {
                let parent = node::id_of(call.cx(), &call.actor, &call.ident(value)).await?;
                parent.iter().map(ToString::to_string).collect()
            }
            _ => vec![value.to_owned()],
        };
        narrow.0.push((column, values));
    }
    let truth = |name: &str| -> Result<Option<bool>, Refusal> {
        let since = TRUTHS.iter().find(|(known, _)| *known == name);
        let value = params.truth(name)?;
        if let (Some(_), Some((_, since))) = (value, since) {
            version.acceptable_from(*since, format!("The parameter '{name}'"))?;
        }
        Ok(value)
    };
    for (name, column) in [("associated", "instance_id"), ("sharded", "shard")] {
        query = match truth(name)? {
            Some(true) => query.differs(column, ""),
            Some(false) => query.equals(column, ""),
            None => query,
        };
    }
    for (name, column) in [("maintenance", "maintenance"), ("retired", "retired")] {
        if let Some(value) = truth(name)? {
            query = query.equals(column, value);
        }
    }
    let with_children = truth("include_children")?.unwrap_or_default();
    if version.at_least(83) && !with_children && params.get("parent_node").is_none() {
        query = query.equals("parent_id", "");
    }
    if let Some(project) = params.get("project") {
        version.acceptable_from(65, "The parameter 'project'")?;
        query = query.either(("owner", project), ("lessee", project));
    }
    Ok((by_content(&call.app, version, params, query).await?, narrow))
}

fn check_filter(name: &str, value: &str) -> Result<(), Refusal> {
    match name {
        "fault" if !FAULTS.contains(&value) => Err(Refusal::invalid(format!(
            "Unrecognized fault \"{value}\" is specified, allowed faults are {FAULTS:?}."
        ))),
        "provision_state" => value
            .parse::<corten_model::lifecycle::node::ProvisionState>()
            .map(|_| ())
            .map_err(|_| Refusal::invalid(format!("Provision state \"{value}\" is not valid"))),
        "instance_uuid" | "chassis_uuid" if uuid::Uuid::parse_str(value).is_err() => Err(
            Refusal::invalid(format!("Expected a UUID but received {value}.")),
        ),
        _ => Ok(()),
    }
}

/// Filters that look into rows: by the conductor, by words of the description.
async fn by_content(
    app: &App,
    version: Version,
    params: &Params,
    query: Query<Node>,
) -> Answer<Query<Node>> {
    let (conductor, words) = (params.get("conductor"), params.get("description_contains"));
    if conductor.is_none() && words.is_none() {
        return Ok(query);
    }
    if conductor.is_some() {
        version.acceptable_from(49, "The parameter 'conductor'")?;
    }
    if words.is_some() {
        version.acceptable_from(51, "The parameter 'description_contains'")?;
    }
    let fitting = node::with_content(&app.cx, conductor, words).await?;
    Ok(query.any_of("id", fitting))
}

async fn list(
    call: &Call,
    path: &str,
    detailed: bool,
    (query, narrow): (Query<Node>, Narrow),
) -> Answer<Json<Value>> {
    let version = call.version;
    let listing = call.listing(&NODE, SORT_KEYS, detailed)?;
    let found = node::list(call.cx(), &call.actor, query, narrow, &listing.page).await?;
    let conductors = Assignment::read(call.cx()).await?;
    let last = found.last().map(|shown| shown.node.id.to_string());
    let listed = |field: &&str| listing.wanted != Wanted::All || !PARTS.contains(field);
    let chosen = NODE.chosen(version, &listing.wanted).filter(listed);
    let chosen: Vec<_> = chosen.collect();
    let views = found
        .iter()
        .map(|shown| {
            NodeView::new(version, &call.base, shown, &conductors).of(chosen.iter().copied())
        })
        .collect();
    Ok(call.page(("nodes", path), &listing.page, views, last))
}

async fn index(call: Call) -> Answer<Json<Value>> {
    let narrowed = narrow(&call).await?;
    list(&call, "nodes", false, narrowed).await
}

async fn detail(call: Call) -> Answer<Json<Value>> {
    let narrowed = narrow(&call).await?;
    list(&call, "nodes/detail", true, narrowed).await
}

async fn in_chassis(call: &Call, id: &str) -> Answer<(Query<Node>, Narrow)> {
    let ident = call.ident_since(u16::MAX, id);
    let chassis = chassis::show(call.cx(), &call.actor, &ident).await?;
    let (query, narrow) = narrow(call).await?;
    Ok((query.equals("chassis_id", &chassis.id), narrow))
}

async fn of_chassis(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let narrowed = in_chassis(&call, &id).await?;
    list(&call, &format!("chassis/{id}/nodes"), false, narrowed).await
}

async fn of_chassis_detail(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let narrowed = in_chassis(&call, &id).await?;
    list(&call, &format!("chassis/{id}/nodes/detail"), true, narrowed).await
}

async fn show(call: Call, Path(id): Path<String>) -> Answer<Json<Value>> {
    let found = node::show(call.cx(), &call.actor, &call.ident_since(5, &id)).await?;
    let conductors = Assignment::read(call.cx()).await?;
    let document = NodeView::new(call.version, &call.base, &found, &conductors).whole();
    Ok(call.shown(&NODE, document)?)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    let cx = &app.cx;
    node::may_create(cx, &actor, body.get("owner").and_then(Value::as_str))?;
    let id: NodeId = new_id(&body, NodeId::random)?;
    let driver = match body.get("driver") {
        Some(Value::String(name)) => node::driver_of(cx, name)?,
        _ => return Err(Refusal::invalid("Mandatory field missing: 'driver'.").into()),
    };
    let plain = node::blank(id, driver, cx.now());
    let named: BTreeSet<String> = body.keys().cloned().collect();
    let nobody = Assignment::default();
    let shown = Shown {
        node: plain.clone(),
        locked: false,
        health: None,
    };
    let defaults = NodeView::new(Version::MAX, &base, &shown, &nobody).whole();
    let document = NODE.new_document(version, defaults, body)?;
    check_name(version, &document)?;
    let edit = edited(&plain, document, driver, &named, false)?;
    // Before 1.11 a new node began as available.
    let ready = !version.at_least(11);
    let made = node::create(cx, &actor, edit, ready).await?;
    let shown = Shown {
        node: made,
        locked: false,
        health: None,
    };
    let conductors = Assignment::read(cx).await?;
    let document = NodeView::new(version, &base, &shown, &conductors).whole();
    let view = NODE.view(version, document, &Wanted::All);
    let location = format!("{base}/baremetal/v1/nodes/{id}");
    Ok((
        StatusCode::CREATED,
        [(LOCATION, location)],
        Json(Value::Object(view)),
    )
        .into_response())
}

/// Before 1.10 a node's name was a name of a host.
fn check_name(version: Version, document: &Map<String, Value>) -> Result<(), Refusal> {
    let Some(Value::String(name)) = document.get("name") else {
        return Ok(());
    };
    let is_label = |label: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if version.at_least(10) || name.split('.').all(is_label) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Cannot give node the name '{name}': before version 1.10 of the API a name was that of a host, of letters, digits, '-' \
         and '.'; this request asked for {version}."
    )))
}

/// Attributes that a lessee's manager may change too.
const OPERABLE: &[&str] = &[
    "extra",
    "instance_info",
    "maintenance",
    "maintenance_reason",
];

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let ident = ident_since(version, 5, &id);
    let patch = Patch::read(body);
    let reach = match &patch {
        Ok(patch) if patch.touched().iter().all(|field| OPERABLE.contains(field)) => Reach::Operate,
        _ => Reach::Write,
    };
    let reset = params.truth("reset_interfaces")?;
    if reset.is_some() {
        version.acceptable_from(45, "The parameter 'reset_interfaces'")?;
    }
    let cx = &app.cx;
    let changed = node::update(cx, &actor, &ident, reach, |before| {
        let patch = patch?;
        check_patch(version, &patch, reset)?;
        let shown = Shown {
            node: before.clone(),
            locked: false,
            health: None,
        };
        let document = NodeView::new(Version::MAX, &base, &shown, &Assignment::default()).whole();
        let document = NODE.patched_document(version, document, &patch)?;
        if patch.touched().contains("name") {
            check_name(version, &document)?;
        }
        let driver = match document.get("driver") {
            Some(Value::String(name)) => node::driver_of(cx, name)?,
            _ => return Err(Refusal::invalid("Mandatory field missing: 'driver'.")),
        };
        let named: BTreeSet<String> = patch.touched().into_iter().map(str::to_owned).collect();
        edited(before, document, driver, &named, reset.unwrap_or_default())
    })
    .await?;
    let shown = Shown {
        health: cx.metal.readings.health(changed.id),
        node: changed,
        locked: false,
    };
    let conductors = Assignment::read(cx).await?;
    let document = NodeView::new(version, &base, &shown, &conductors).whole();
    Ok(Json(Value::Object(NODE.view(
        version,
        document,
        &Wanted::All,
    ))))
}

fn check_patch(version: Version, patch: &Patch, reset: Option<bool>) -> Result<(), Refusal> {
    let touched = patch.touched();
    if touched.contains("traits") {
        return Err(Refusal::invalid(
            "Cannot update node traits via node patch. Node traits should be updated via the node traits API.",
        ));
    }
    if reset == Some(true) && !touched.contains("driver") {
        return Err(Refusal::invalid(
            "The reset_interfaces parameter can only be used when changing the node's driver.",
        ));
    }
    if patch.removes("chassis_uuid") {
        version.acceptable_from(25, "Taking a node out of its chassis")?;
    }
    Ok(())
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    node::delete(&app.cx, &actor, &ident_since(version, 5, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn children(
    State(app): State<App>,
    Caller(actor): Caller,
    _: super::version::Since<83>,
    version: Version,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = node::children(&app.cx, &actor, &ident_since(version, 5, &id)).await?;
    Ok(Json(serde_json::json!({"children": found})))
}
