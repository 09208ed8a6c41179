//! What this service can do: `/v2/info`, and its stores.

use super::image_id;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use corten_operations::image::{self, METHODS, STORE};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/info/import", get(import))
        .route("/info/stores", get(stores))
        .route("/info/stores/detail", get(stores_detail))
        .route("/info/usage", get(usage))
        .route("/stores/{store}/{id}", delete(delete_from_store))
}

async fn import(Caller(_): Caller) -> Json<Value> {
    Json(json!({"import-methods": {
        "description": "Import methods available.",
        "type": "array",
        "value": METHODS,
    }}))
}

async fn stores(Caller(_): Caller) -> Json<Value> {
    Json(json!({"stores": [{"id": STORE, "default": "true"}]}))
}

async fn stores_detail(State(app): State<App>, Caller(actor): Caller) -> Answer<Json<Value>> {
    let directory = image::store_directory(&app.cx, &actor)?;
    Ok(Json(json!({"stores": [{
        "id": STORE,
        "default": "true",
        "type": "file",
        "weight": 0,
        "properties": {"data_dir": directory, "chunk_size": 1 << 20, "thin_provisioning": false},
    }]})))
}

/// Images have no quota of a project's own.
async fn usage(Caller(_): Caller) -> Json<Value> {
    Json(json!({"usage": {}}))
}

async fn delete_from_store(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((store, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    image::delete_from_store(&app.cx, &actor, &store, image_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
