//! `/servers/{id}/metadata`.

use super::{fields, find, parse_id};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::instance::edit;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/metadata", get(list).post(add).put(replace))
        .route(
            "/servers/{id}/metadata/{key}",
            get(show).put(set).delete(delete),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Items {
    metadata: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    meta: BTreeMap<String, Value>,
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    Ok(Json(
        json!({"metadata": find(&app, &actor, &id).await?.intent.metadata}),
    ))
}

async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Items>,
) -> Answer<Json<Value>> {
    let items = fields::metadata(body.metadata)?;
    Ok(Json(
        json!({"metadata": edit::set_metadata(&app.cx, &actor, parse_id(&id)?, items, false).await?}),
    ))
}

async fn replace(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body<Items>,
) -> Answer<Json<Value>> {
    let items = fields::metadata(body.metadata)?;
    Ok(Json(
        json!({"metadata": edit::set_metadata(&app.cx, &actor, parse_id(&id)?, items, true).await?}),
    ))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, key)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let metadata = find(&app, &actor, &id).await?.intent.metadata;
    let value = metadata.get(&key).ok_or_else(edit::no_metadata_item)?;
    Ok(Json(json!({"meta": {key: value}})))
}

async fn set(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, key)): Path<(String, String)>,
    Body(body): Body<Item>,
) -> Answer<Json<Value>> {
    let items = fields::metadata(body.meta)?;
    if items.len() != 1 || !items.contains_key(&key) {
        return Err(Refusal::invalid(format!(
            "Request body and URI mismatch: meta holds exactly the key '{key}'"
        ))
        .into());
    }
    edit::set_metadata(&app.cx, &actor, parse_id(&id)?, items.clone(), false).await?;
    Ok(Json(json!({"meta": items})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((id, key)): Path<(String, String)>,
) -> Answer<StatusCode> {
    edit::delete_metadata(&app.cx, &actor, parse_id(&id)?, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
