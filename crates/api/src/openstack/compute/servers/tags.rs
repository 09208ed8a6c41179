//! `/servers/{id}/tags`, from 2.26 on.

use super::{fields, find, parse_id};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::openstack::compute::microversion::Microversion;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use corten_operations::instance::edit;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/tags", get(list).put(replace).delete(clear))
        .route(
            "/servers/{id}/tags/{tag}",
            get(check).put(add).delete(delete),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tags {
    tags: Vec<String>,
}

async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    mv.exists_from(26)?;
    Ok(Json(
        json!({"tags": find(&app, &actor, &id).await?.intent.tags}),
    ))
}

async fn replace(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
    Body(body): Body<Tags>,
) -> Answer<Json<Value>> {
    mv.exists_from(26)?;
    let tags: BTreeSet<String> = body
        .tags
        .iter()
        .map(|tag| fields::tag(tag))
        .collect::<Result<_, _>>()?;
    if tags.len() > edit::MAX_TAGS {
        let most = edit::MAX_TAGS;
        return Err(Refusal::invalid(format!(
            "The number of tags exceeded the per-server limit {most}"
        ))
        .into());
    }
    Ok(Json(
        json!({"tags": edit::set_tags(&app.cx, &actor, parse_id(&id)?, tags).await?}),
    ))
}

async fn clear(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    mv.exists_from(26)?;
    edit::set_tags(&app.cx, &actor, parse_id(&id)?, BTreeSet::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn check(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    mv.exists_from(26)?;
    let instance = find(&app, &actor, &id).await?;
    if !instance.intent.tags.contains(&tag) {
        return Err(edit::no_tag(instance.id, &tag).into());
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn add(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    BaseUrl(base): BaseUrl,
    Path((id, tag)): Path<(String, String)>,
    body: Bytes,
) -> Answer<Response> {
    mv.exists_from(26)?;
    if !body.is_empty() && body.as_ref() != b"null" {
        return Err(Refusal::invalid(
            "Invalid input: the tag is in the path, and the body is empty.",
        )
        .into());
    }
    let tag = fields::tag(&tag)?;
    let added = edit::add_tag(&app.cx, &actor, parse_id(&id)?, tag.clone()).await?;
    let location = [(
        header::LOCATION,
        format!("{base}/compute/v2.1/servers/{id}/tags/{tag}"),
    )];
    let status = if added {
        StatusCode::CREATED
    } else {
        StatusCode::NO_CONTENT
    };
    Ok((status, location).into_response())
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Path((id, tag)): Path<(String, String)>,
) -> Answer<StatusCode> {
    mv.exists_from(26)?;
    edit::delete_tag(&app.cx, &actor, parse_id(&id)?, &tag).await?;
    Ok(StatusCode::NO_CONTENT)
}
