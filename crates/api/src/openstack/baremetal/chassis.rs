//! `/chassis`: racks and other things that hold nodes.

use super::kit::{Listing, SortKeys, Values, document, ident, links, listed, new_id, shown};
use super::patch::Patch;
use super::schema::{Schema, Wanted};
use super::version::Version;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::actor::Actor;
use corten_model::ids::ChassisId;
use corten_model::refusal::Refusal;
use corten_operations::metal::chassis;
use corten_store::metal::chassis::Chassis;
use corten_store::metal::{Object, Standard};
use serde_json::{Map, Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/chassis", get(index).post(create))
        .route("/chassis/detail", get(detail))
        .route("/chassis/{chassis}", get(show).patch(update).delete(delete))
}

const CHASSIS: Schema = Schema {
    one: "chassis",
    fields: &[
        ("uuid", 1),
        ("description", 1),
        ("extra", 1),
        ("nodes", 1),
        ("created_at", 1),
        ("updated_at", 1),
        ("links", 1),
    ],
    created: &["uuid", "description", "extra"],
    patched: &["description", "extra"],
    brief: &["uuid", "description", "links"],
};

const SORT_KEYS: SortKeys = &[("description", "description")];

fn chassis_document(base: &str, chassis: &Chassis) -> Map<String, Value> {
    let Chassis {
        id,
        description,
        standard,
    } = chassis;
    document(
        json!({
            "uuid": id,
            "description": description,
            "links": links(base, &format!("chassis/{id}")),
            "nodes": links(base, &format!("chassis/{id}/nodes")),
        }),
        standard,
    )
}

fn edited(before: &Chassis, document: Map<String, Value>) -> Result<Chassis, Refusal> {
    let mut values = Values(document);
    let mut standard = before.standard.clone();
    standard.extra = values.object("extra")?;
    Ok(Chassis {
        id: before.id,
        description: values.text("description")?,
        standard,
    })
}

async fn list(
    app: &App,
    actor: &Actor,
    version: Version,
    base: &BaseUrl,
    params: &Params,
    detailed: bool,
) -> Answer<Json<Value>> {
    let listing = Listing::read(version, params, &CHASSIS, SORT_KEYS, detailed)?;
    let found = chassis::list(&app.cx, actor, &listing.page).await?;
    let last = found.last().map(|chassis| chassis.id.to_string());
    let views = found
        .iter()
        .map(|chassis| CHASSIS.view(version, chassis_document(&base.0, chassis), &listing.wanted))
        .collect();
    let path = if detailed {
        "chassis/detail"
    } else {
        "chassis"
    };
    Ok(listed(
        "chassis",
        path,
        views,
        last,
        &listing.page,
        params,
        base,
    ))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    list(&app, &actor, version, &base, &params, false).await
}

async fn detail(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    list(&app, &actor, version, &base, &params, true).await
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    params: Params,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = chassis::show(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(shown(
        version,
        &params,
        &CHASSIS,
        chassis_document(&base, &found),
    )?)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let plain = Chassis {
        id: new_id(&body, ChassisId::random)?,
        description: None,
        standard: Standard::new(Object::new(), app.cx.now()),
    };
    let document = CHASSIS.new_document(version, chassis_document(&base, &plain), body)?;
    let made = chassis::create(&app.cx, &actor, edited(&plain, document)?).await?;
    let view = CHASSIS.view(version, chassis_document(&base, &made), &Wanted::All);
    Ok((StatusCode::CREATED, Json(Value::Object(view))))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(body): Body<Value>,
) -> Answer<Json<Value>> {
    let changed = chassis::update(&app.cx, &actor, &ident(version, &id), |before| {
        let patch = Patch::read(body)?;
        let document =
            CHASSIS.patched_document(version, chassis_document(&base, before), &patch)?;
        edited(before, document)
    })
    .await?;
    let view = CHASSIS.view(version, chassis_document(&base, &changed), &Wanted::All);
    Ok(Json(Value::Object(view)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    chassis::delete(&app.cx, &actor, &ident(version, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
