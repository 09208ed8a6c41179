//! Tags of a namespace: `/v2/metadefs/namespaces/{namespace}/tags`.

use super::bodies::{TagBody, TagsBody, check_fields, name, read, render_tag};
use super::paging::page;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{Params, parse_truth};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::image::metadefs::{self, Kind};
use serde_json::{Map, Value, json};

const READ_ONLY: [&str; 2] = ["created_at", "updated_at"];

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/metadefs/namespaces/{namespace}/tags",
            get(list).post(create_all).delete(clear),
        )
        .route(
            "/metadefs/namespaces/{namespace}/tags/{name}",
            get(show).post(create).put(update).delete(delete),
        )
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
    params: Params,
) -> Answer<Json<Value>> {
    let mut tags = metadefs::get(&app.cx, &actor, &namespace).await?.tags;
    tags.reverse();
    let page = page(tags, &params, |tag| &tag.name)?;
    let tags: Vec<_> = page
        .items
        .iter()
        .map(|tag| json!({"name": tag.name}))
        .collect();
    Ok(Json(json!({"tags": tags})))
}

async fn create_all(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
    headers: HeaderMap,
    Body(body): Body<Map<String, Value>>,
) -> Answer<(StatusCode, Json<Value>)> {
    check_fields(&body, &READ_ONLY)?;
    let tags = read::<TagsBody>(body)?.tags;
    let names: Vec<_> = tags
        .into_iter()
        .map(|tag| name("name", tag.name))
        .collect::<Result<_, _>>()?;
    let append = headers
        .get("x-openstack-append")
        .and_then(|value| value.to_str().ok());
    let append = append.and_then(parse_truth).unwrap_or(false);
    let shown: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    metadefs::set_tags(&app.cx, &actor, &namespace, names, append).await?;
    Ok((StatusCode::CREATED, Json(json!({"tags": shown}))))
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, tag)): Path<(String, String)>,
) -> Answer<(StatusCode, Json<Value>)> {
    let row = metadefs::add_tag(&app.cx, &actor, &namespace, name("name", tag)?).await?;
    Ok((StatusCode::CREATED, Json(render_tag(&row))))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, tag)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let found = metadefs::get(&app.cx, &actor, &namespace).await?;
    let row = found
        .tags
        .iter()
        .find(|row| row.name == tag)
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "Metadata definition tag={tag} was not found in namespace={namespace}."
            ))
        })?;
    Ok(Json(render_tag(row)))
}

async fn update(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, tag)): Path<(String, String)>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<Json<Value>> {
    check_fields(&body, &READ_ONLY)?;
    let to = name("name", read::<TagBody>(body)?.name)?;
    let row = metadefs::rename_tag(&app.cx, &actor, &namespace, &tag, to).await?;
    Ok(Json(render_tag(&row)))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    Path((namespace, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    metadefs::remove_tag(&app.cx, &actor, &namespace, &tag).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(namespace): Path<String>,
) -> Answer<StatusCode> {
    metadefs::clear(&app.cx, &actor, &namespace, Kind::Tags).await?;
    Ok(StatusCode::NO_CONTENT)
}
