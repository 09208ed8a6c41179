//! Which resources definitions are for: `/v2/metadefs/resource_types`, and those of a namespace.

use super::bodies::{AssociationBody, check_fields, read, render_association};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use corten_operations::image::metadefs;
use serde_json::{Map, Value, json};

const READ_ONLY: [&str; 2] = ["created_at", "updated_at"];

pub fn routes() -> Router<App> {
    Router::new()
        .route("/metadefs/resource_types", get(list))
        .route(
            "/metadefs/namespaces/{namespace}/resource_types",
            get(of_namespace).post(create),
        )
        .route(
            "/metadefs/namespaces/{namespace}/resource_types/{name}",
            delete(remove),
        )
}

async fn list(State(app): State<App>, Caller(actor): Caller) -> Answer<Json<Value>> {
    let known = metadefs::resource_types(&app.cx, &actor).await?;
    let shown: Vec<_> = known
        .into_iter()
        .map(|(name, since)| match since {
            Some(since) => json!({"name": name, "created_at": since.seconds_z(), "updated_at": since.seconds_z()}),
            None => json!({"name": name}),
        })
        .collect();
    Ok(Json(json!({"resource_types": shown})))
}

async fn of_namespace(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
) -> Answer<Json<Value>> {
    let found = metadefs::get(&app.cx, &actor, &namespace).await?;
    let shown: Vec<_> = found
        .resource_types
        .iter()
        .map(render_association)
        .collect();
    Ok(Json(json!({"resource_type_associations": shown})))
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    check_fields(&body, &READ_ONLY)?;
    let new = read::<AssociationBody>(body)?.into_new()?;
    let row = metadefs::associate(&app.cx, &actor, &namespace, new).await?;
    Ok((StatusCode::CREATED, Json(render_association(&row))))
}

async fn remove(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, name)): Path<(String, String)>,
) -> Answer<StatusCode> {
    metadefs::dissociate(&app.cx, &actor, &namespace, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
