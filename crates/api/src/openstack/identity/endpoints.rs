//! `/v3/endpoints`.

use super::fields::given;
use super::listing::{Listing, with_extra};
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::endpoint::{EndpointChanges, NewEndpoint};
use corten_store::identity::Extra;
use corten_store::identity::endpoint::Endpoint;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/endpoints", get(list).post(create))
        .route(
            "/endpoints/{endpoint_id}",
            get(show).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    endpoint: CreateEndpoint,
}

#[derive(Deserialize)]
struct CreateEndpoint {
    service_id: String,
    interface: String,
    url: String,
    #[serde(default)]
    region_id: Option<String>,
    /// The older name of `region_id`.
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    endpoint: UpdateEndpoint,
}

#[derive(Deserialize)]
struct UpdateEndpoint {
    #[serde(default)]
    service_id: Option<String>,
    #[serde(default)]
    interface: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default, deserialize_with = "given")]
    region_id: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    region: Option<Option<String>>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(flatten)]
    extra: Extra,
}

pub fn render(base: &str, endpoint: &Endpoint) -> Value {
    let body = json!({
        "id": endpoint.id,
        "service_id": endpoint.service_id,
        "interface": endpoint.interface,
        "region_id": endpoint.region_id,
        "region": endpoint.region_id,
        "url": endpoint.url,
        "enabled": endpoint.enabled,
        "links": {"self": format!("{base}/endpoints/{}", endpoint.id)},
    });
    with_extra(body, &endpoint.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let endpoints = app.iam.endpoints(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let filters = &["interface", "service_id", "region_id", "region", "enabled"];
    let listing = Listing {
        base: &base,
        path: "/endpoints",
        key: "endpoints",
        params: &params,
        filters,
    };
    Ok(listing.answer(
        endpoints
            .iter()
            .map(|endpoint| render(&base, endpoint))
            .collect(),
    )?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { endpoint }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateEndpoint {
        service_id,
        interface,
        url,
        region_id,
        region,
        enabled,
        extra,
    } = endpoint;
    let (region_id, enabled) = (region_id.or(region), enabled.unwrap_or(true));
    let new = NewEndpoint {
        service_id,
        interface,
        region_id,
        url,
        enabled,
        extra,
    };
    let endpoint = app.iam.create_endpoint(&bearer.actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"endpoint": render(&format!("{base}/identity/v3"), &endpoint)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let endpoint = app.iam.endpoint(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"endpoint": render(&format!("{base}/identity/v3"), &endpoint)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { endpoint }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateEndpoint {
        service_id,
        interface,
        url,
        region_id,
        region,
        enabled,
        extra,
    } = endpoint;
    let region_id = region_id.or(region);
    let changes = EndpointChanges {
        service_id,
        interface,
        region_id,
        url,
        enabled,
        extra,
    };
    let endpoint = app.iam.update_endpoint(&bearer.actor, &id, changes).await?;
    Ok(Json(
        json!({"endpoint": render(&format!("{base}/identity/v3"), &endpoint)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_endpoint(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
