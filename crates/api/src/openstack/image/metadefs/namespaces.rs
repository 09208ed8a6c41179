//! Namespaces: `/v2/metadefs/namespaces`.

use super::bodies::{NamespaceBody, check_fields, read, render_header, render_namespace};
use super::paging::page;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::image::metadefs::{self, Namespace};
use serde_json::{Map, Value, json};

const READ_ONLY: [&str; 4] = ["self", "schema", "created_at", "updated_at"];

pub fn routes() -> Router<App> {
    Router::new()
        .route("/metadefs/namespaces", get(list).post(create))
        .route(
            "/metadefs/namespaces/{namespace}",
            get(show).put(update).delete(delete),
        )
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
) -> Answer<Json<Value>> {
    let mut all = metadefs::list(&app.cx, &actor).await?;
    filter(&mut all, &params)?;
    sort(&mut all, params.get("sort_key").unwrap_or("created_at"))?;
    let page = page(all, &params, |row| &row.namespace)?;
    let link = |marker: Option<&str>| match params.with(&[("marker", marker)]) {
        query if query.is_empty() => "/v2/metadefs/namespaces".to_owned(),
        query => format!("/v2/metadefs/namespaces?{query}"),
    };
    let mut body = json!({
        "namespaces": page.items.iter().map(render_header).collect::<Vec<_>>(),
        "first": link(None),
        "schema": "/v2/schemas/metadefs/namespaces",
    });
    if let (true, Some(last)) = (page.is_full, page.items.last()) {
        body["next"] = json!(link(Some(&last.namespace)));
    }
    Ok(Json(body))
}

fn filter(all: &mut Vec<Namespace>, params: &Params) -> Result<(), Refusal> {
    match params.get("visibility") {
        None => {}
        Some("public") => all.retain(|row| row.public),
        Some("private") => all.retain(|row| !row.public),
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "Invalid visibility value: {other}. It is public or private."
            )));
        }
    }
    if let Some(kinds) = params.get("resource_types") {
        let kinds: Vec<_> = kinds.split(',').collect();
        all.retain(|row| {
            row.resource_types
                .iter()
                .any(|each| kinds.contains(&each.name.as_str()))
        });
    }
    Ok(())
}

/// Sorts descending, which is the default direction.
fn sort(all: &mut [Namespace], key: &str) -> Result<(), Refusal> {
    match key {
        "created_at" => all.sort_by_key(|row| std::cmp::Reverse(row.created_at)),
        "updated_at" => all.sort_by_key(|row| std::cmp::Reverse(row.updated_at)),
        "namespace" => all.sort_by(|left, right| right.namespace.cmp(&left.namespace)),
        other => {
            return Err(Refusal::invalid(format!(
                "Invalid sort key: {other}. It must be one of the following: created_at, updated_at, namespace."
            )));
        }
    }
    Ok(())
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Body(body): Body<Map<String, Value>>,
) -> Answer {
    check_fields(&body, &READ_ONLY)?;
    let (header, contents) = read::<NamespaceBody>(body)?.split()?;
    let row = metadefs::create(&app.cx, &actor, header, contents).await?;
    let location = [(
        LOCATION,
        format!("/v2/metadefs/namespaces/{}", row.namespace),
    )];
    Ok((StatusCode::CREATED, location, Json(render_namespace(&row))).into_response())
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
    params: Params,
) -> Answer<Json<Value>> {
    let mut row = metadefs::get(&app.cx, &actor, &namespace).await?;
    if let Some(kind) = params.get("resource_type") {
        prefix(&mut row, kind);
    }
    Ok(Json(render_namespace(&row)))
}

/// Gives the properties the names that they have on one kind of resource.
fn prefix(row: &mut Namespace, kind: &str) {
    let association = row.resource_types.iter().find(|each| each.name == kind);
    let Some(prefix) = association.and_then(|each| each.prefix.clone()) else {
        return;
    };
    for property in &mut row.properties {
        property.name.insert_str(0, &prefix);
    }
    for object in &mut row.objects {
        let properties = std::mem::take(&mut object.properties);
        object.properties = properties
            .into_iter()
            .map(|(name, schema)| (format!("{prefix}{name}"), schema))
            .collect();
        for name in &mut object.required {
            name.insert_str(0, &prefix);
        }
    }
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    check_fields(&body, &READ_ONLY)?;
    let (header, _) = read::<NamespaceBody>(body)?.split()?;
    let row = metadefs::update(&app.cx, &actor, &namespace, header).await?;
    Ok(Json(render_header(&row)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
) -> Answer<StatusCode> {
    metadefs::delete(&app.cx, &actor, &namespace).await?;
    Ok(StatusCode::NO_CONTENT)
}
