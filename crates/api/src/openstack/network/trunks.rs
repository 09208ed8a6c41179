//! `/trunks`, and what ports say of theirs.

use super::kit::{self, Collection, narrow, with_standard};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use corten_model::ids::{PortId, ProjectId, TrunkId};
use corten_model::refusal::Refusal;
use corten_operations::network::trunk::{self, NewTrunk, Shown, TrunkChange};
use corten_store::network::trunk::{SubPort, Trunk};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/trunks", get(index).post(create))
        .route("/trunks/{id}", get(show).put(update).delete(delete))
        .route("/trunks/{id}/get_subports", get(sub_ports))
        .route("/trunks/{id}/add_subports", put(add_sub_ports))
        .route("/trunks/{id}/remove_subports", put(remove_sub_ports))
}

const TRUNKS: Collection<'static> = Collection {
    one: "trunk",
    many: "trunks",
    heeded: &[],
    fields: &[
        "id",
        "name",
        "project_id",
        "tenant_id",
        "description",
        "admin_state_up",
        "status",
        "port_id",
        "revision_number",
        "created_at",
        "updated_at",
    ],
};

fn view(shown: &Shown) -> Value {
    let Shown { trunk, status } = shown;
    let view = json!({
        "id": trunk.id,
        "admin_state_up": trunk.enabled,
        "status": status,
        "port_id": trunk.port_id,
        "sub_ports": views(&trunk.sub_ports),
    });
    with_standard(view, &trunk.standard)
}

fn views(sub_ports: &[SubPort]) -> Vec<Value> {
    sub_ports.iter().map(sub_port_view).collect()
}

fn sub_port_view(sub: &SubPort) -> Value {
    json!({"port_id": sub.port_id, "segmentation_type": "vlan", "segmentation_id": sub.vlan})
}

/// What a parent port says of its trunk.
pub(super) fn details(trunk: &Trunk, macs: &BTreeMap<PortId, String>) -> Value {
    let sub_ports = trunk.sub_ports.iter().map(|sub| {
        let mut view = sub_port_view(sub);
        view["mac_address"] = json!(macs.get(&sub.port_id));
        view
    });
    json!({"trunk_id": trunk.id, "sub_ports": sub_ports.collect::<Vec<_>>()})
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    base: BaseUrl,
    params: Params,
) -> Answer {
    let columns = [
        ("id", "id"),
        ("name", "name"),
        ("port_id", "port_id"),
        ("project_id", "project_id"),
        ("tenant_id", "project_id"),
    ];
    let found = trunk::list(&app.cx, &actor, narrow(&params, &columns)).await?;
    Ok(TRUNKS.answer(&params, &base, found.iter().map(view).collect())?)
}

fn id_of(text: &str) -> Result<TrunkId, Refusal> {
    kit::id_of::<Trunk, TrunkId>(text)
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
    Path(id): Path<String>,
) -> Answer {
    let found = trunk::show(&app.cx, &actor, id_of(&id)?).await?;
    Ok(TRUNKS.show(&params, view(&found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubPortBody {
    port_id: PortId,
    segmentation_type: String,
    #[serde(default, deserialize_with = "kit::number")]
    segmentation_id: Option<i64>,
}

/// Sub-ports as they were asked for: by VLAN, none twice.
fn asked(list: Vec<SubPortBody>) -> Result<Vec<SubPort>, Refusal> {
    let mut asked: Vec<SubPort> = Vec::new();
    for SubPortBody {
        port_id,
        segmentation_type,
        segmentation_id,
    } in list
    {
        let refuse = |why: String| {
            Err(Refusal::invalid(format!(
                "Invalid input for sub_ports. Reason: {why}."
            )))
        };
        if segmentation_type != "vlan" {
            return refuse(format!(
                "segmentation_type '{segmentation_type}' of port {port_id} is not 'vlan'"
            ));
        }
        let Some(vlan) = segmentation_id.and_then(|id| u16::try_from(id).ok()) else {
            return refuse(format!(
                "port {port_id} has no segmentation_id of 1 to 4094"
            ));
        };
        if asked
            .iter()
            .any(|other| other.port_id == port_id || other.vlan == vlan)
        {
            return refuse(format!("port {port_id} or its VLAN {vlan} comes twice"));
        }
        asked.push(SubPort { port_id, vlan });
    }
    Ok(asked)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateTrunk {
    project_id: Option<ProjectId>,
    tenant_id: Option<ProjectId>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    admin_state_up: Option<bool>,
    port_id: PortId,
    #[serde(default, deserialize_with = "kit::list_or_null")]
    sub_ports: Option<Vec<SubPortBody>>,
    #[serde(default)]
    tags: BTreeSet<String>,
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateTrunk {
        project_id,
        tenant_id,
        name,
        description,
        admin_state_up,
        port_id,
        sub_ports,
        tags,
    } = kit::only(body, "trunk")?;
    let new = NewTrunk {
        project_id: kit::project(project_id, tenant_id)?,
        name: kit::text("name", name)?.unwrap_or_default(),
        description: kit::text("description", description)?.unwrap_or_default(),
        enabled: admin_state_up.unwrap_or(true),
        port_id,
        sub_ports: asked(sub_ports.unwrap_or_default())?,
        tags,
    };
    let made = trunk::create(&app.cx, &actor, new).await?;
    Ok((StatusCode::CREATED, Json(json!({"trunk": view(&made)}))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateTrunk {
    name: Option<String>,
    description: Option<String>,
    #[serde(default, deserialize_with = "kit::truth")]
    admin_state_up: Option<bool>,
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let id = id_of(&id)?;
    let UpdateTrunk {
        name,
        description,
        admin_state_up,
    } = kit::only(body, "trunk")?;
    let change = TrunkChange {
        name: kit::text("name", name)?,
        description: kit::text("description", description)?,
        enabled: admin_state_up,
    };
    let shown = trunk::update(&app.cx, &actor, id, change).await?;
    Ok(Json(json!({"trunk": view(&shown)})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    trunk::delete(&app.cx, &actor, id_of(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sub_ports(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = trunk::show(&app.cx, &actor, id_of(&id)?).await?;
    Ok(Json(json!({"sub_ports": views(&found.trunk.sub_ports)})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubPorts {
    sub_ports: Vec<SubPortBody>,
}

/// The trunk itself is the answer, without a name around it.
async fn add_sub_ports(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<SubPorts>,
) -> Answer<Json<Value>> {
    let id = id_of(&id)?;
    let more = asked(body.sub_ports)?;
    let shown = trunk::add_sub_ports(&app.cx, &actor, id, more).await?;
    Ok(Json(view(&shown)))
}

/// Which VLAN it had need not be said.
#[derive(Deserialize)]
struct GonePort {
    port_id: PortId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GonePorts {
    sub_ports: Vec<GonePort>,
}

async fn remove_sub_ports(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<GonePorts>,
) -> Answer<Json<Value>> {
    let id = id_of(&id)?;
    let gone = body.sub_ports.iter().map(|gone| gone.port_id).collect();
    let shown = trunk::remove_sub_ports(&app.cx, &actor, id, gone).await?;
    Ok(Json(view(&shown)))
}
