//! `/v3/services`.

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
use corten_iam::service::{NewService, ServiceChanges};
use corten_store::identity::Extra;
use corten_store::identity::service::Service;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/services", get(list).post(create))
        .route(
            "/services/{service_id}",
            get(show).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    service: CreateService,
}

#[derive(Deserialize)]
struct CreateService {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    service: UpdateService,
}

#[derive(Deserialize)]
struct UpdateService {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "given")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(flatten)]
    extra: Extra,
}

fn render(base: &str, service: &Service) -> Value {
    let mut body = json!({
        "id": service.id,
        "type": service.kind,
        "name": service.name.as_deref().unwrap_or_default(),
        "enabled": service.enabled,
        "links": {"self": format!("{base}/services/{}", service.id)},
    });
    if let Some(description) = &service.description {
        body["description"] = json!(description);
    }
    with_extra(body, &service.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let services = app.iam.services(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let filters = &["type", "name"];
    let listing = Listing {
        base: &base,
        path: "/services",
        key: "services",
        params: &params,
        filters,
    };
    Ok(listing.answer(
        services
            .iter()
            .map(|service| render(&base, service))
            .collect(),
    )?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { service }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateService {
        kind,
        name,
        description,
        enabled,
        extra,
    } = service;
    let new = NewService {
        kind,
        name,
        description,
        enabled: enabled.unwrap_or(true),
        extra,
    };
    let service = app.iam.create_service(&bearer.actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"service": render(&format!("{base}/identity/v3"), &service)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let service = app.iam.service(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"service": render(&format!("{base}/identity/v3"), &service)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { service }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateService {
        kind,
        name,
        description,
        enabled,
        extra,
    } = service;
    let changes = ServiceChanges {
        kind,
        name,
        description,
        enabled,
        extra,
    };
    let service = app.iam.update_service(&bearer.actor, &id, changes).await?;
    Ok(Json(
        json!({"service": render(&format!("{base}/identity/v3"), &service)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_service(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
