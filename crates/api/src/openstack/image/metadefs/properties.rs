//! Properties of a namespace: `/v2/metadefs/namespaces/{namespace}/properties`.

use super::bodies::{check_fields, property, render_properties, render_property};
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
use corten_operations::image::metadefs::{self, Kind, Namespace, Property};
use serde_json::{Map, Value, json};

const READ_ONLY: [&str; 2] = ["created_at", "updated_at"];

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/metadefs/namespaces/{namespace}/properties",
            get(list).post(create).delete(clear),
        )
        .route(
            "/metadefs/namespaces/{namespace}/properties/{name}",
            get(show).put(update).delete(delete),
        )
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
) -> Answer<Json<Value>> {
    let found = metadefs::get(&app.cx, &actor, &namespace).await?;
    Ok(Json(
        json!({"properties": render_properties(&found.properties)}),
    ))
}

fn new_property(body: Map<String, Value>) -> Result<Property, Refusal> {
    check_fields(&body, &READ_ONLY)?;
    let name = body.get("name").and_then(Value::as_str).map(str::to_owned);
    let name =
        name.ok_or_else(|| Refusal::invalid("A property needs a 'name', which is a string."))?;
    property(name, Value::Object(body))
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    let row = metadefs::add_property(&app.cx, &actor, &namespace, new_property(body)?).await?;
    Ok((StatusCode::CREATED, Json(render_property(&row))))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, name)): Path<(String, String)>,
    params: Params,
) -> Answer<Json<Value>> {
    let found = metadefs::get(&app.cx, &actor, &namespace).await?;
    let bare = bare_name(&found, &name, params.get("resource_type"));
    let row = bare
        .and_then(|bare| found.properties.iter().find(|row| row.name == bare))
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "Metadata definition property={name} was not found in namespace={namespace}."
            ))
        })?;
    Ok(Json(render_property(row)))
}

/// The name in the namespace of what is called `name` on one kind of resource.
fn bare_name<'a>(namespace: &Namespace, name: &'a str, kind: Option<&str>) -> Option<&'a str> {
    let Some(kind) = kind else { return Some(name) };
    let association = namespace
        .resource_types
        .iter()
        .find(|each| each.name == kind)?;
    name.strip_prefix(association.prefix.as_deref()?)
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, name)): Path<(String, String)>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    let row =
        metadefs::update_property(&app.cx, &actor, &namespace, &name, new_property(body)?).await?;
    Ok(Json(render_property(&row)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, name)): Path<(String, String)>,
) -> Answer<StatusCode> {
    metadefs::remove_property(&app.cx, &actor, &namespace, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
) -> Answer<StatusCode> {
    metadefs::clear(&app.cx, &actor, &namespace, Kind::Properties).await?;
    Ok(StatusCode::NO_CONTENT)
}
