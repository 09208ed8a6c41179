//! Objects of a namespace: `/v2/metadefs/namespaces/{namespace}/objects`.

use super::bodies::{ObjectBody, check_fields, read, render_object};
use super::paging::page;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::image::metadefs::{self, Kind, NewObject};
use serde_json::{Map, Value, json};

const READ_ONLY: [&str; 4] = ["self", "schema", "created_at", "updated_at"];

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/metadefs/namespaces/{namespace}/objects",
            get(list).post(create).delete(clear),
        )
        .route(
            "/metadefs/namespaces/{namespace}/objects/{name}",
            get(show).put(update).delete(delete),
        )
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
    params: Params,
) -> Answer<Json<Value>> {
    let mut objects = metadefs::get(&app.cx, &actor, &namespace).await?.objects;
    objects.reverse();
    let page = page(objects, &params, |row| &row.name)?;
    let objects: Vec<_> = page
        .items
        .iter()
        .map(|row| render_object(&namespace, row))
        .collect();
    Ok(Json(
        json!({"objects": objects, "schema": "/v2/schemas/metadefs/objects"}),
    ))
}

fn new_object(body: Map<String, Value>) -> Result<NewObject, Refusal> {
    check_fields(&body, &READ_ONLY)?;
    read::<ObjectBody>(body)?.into_new()
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let row = metadefs::add_object(&app.cx, &actor, &namespace, new_object(body)?).await?;
    Ok((StatusCode::CREATED, Json(render_object(&namespace, &row))))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, name)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let found = metadefs::get(&app.cx, &actor, &namespace).await?;
    let row = found
        .objects
        .iter()
        .find(|row| row.name == name)
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "Metadata definition object={name} was not found in namespace={namespace}."
            ))
        })?;
    Ok(Json(render_object(&namespace, row)))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, name)): Path<(String, String)>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let row =
        metadefs::update_object(&app.cx, &actor, &namespace, &name, new_object(body)?).await?;
    Ok(Json(render_object(&namespace, &row)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, name)): Path<(String, String)>,
) -> Answer<StatusCode> {
    metadefs::remove_object(&app.cx, &actor, &namespace, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
) -> Answer<StatusCode> {
    metadefs::clear(&app.cx, &actor, &namespace, Kind::Objects).await?;
    Ok(StatusCode::NO_CONTENT)
}
