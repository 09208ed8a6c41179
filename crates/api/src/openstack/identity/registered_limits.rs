//! `/v3/registered_limits`.

use super::fields::given;
use super::listing::Listing;
use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::registered_limit::{NewRegisteredLimit, RegisteredLimitChanges};
use corten_store::identity::registered_limit::RegisteredLimit;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/registered_limits", get(list).post(create))
        .route(
            "/registered_limits/{id}",
            get(show).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    registered_limits: Vec<CreateLimit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateLimit {
    service_id: String,
    #[serde(default)]
    region_id: Option<String>,
    resource_name: String,
    default_limit: i64,
    #[serde(default)]
    description: Option<String>,
}

#[derive(Deserialize)]
struct Update {
    registered_limit: UpdateLimit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateLimit {
    #[serde(default)]
    service_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    region_id: Option<Option<String>>,
    #[serde(default)]
    resource_name: Option<String>,
    #[serde(default)]
    default_limit: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
}

fn render(base: &str, limit: &RegisteredLimit) -> Value {
    let RegisteredLimit {
        id,
        service_id,
        region_id,
        resource_name,
        default_limit,
        description,
    } = limit;
    json!({
        "id": id,
        "service_id": service_id,
        "region_id": region_id,
        "resource_name": resource_name,
        "default_limit": default_limit,
        "description": description,
        "links": {"self": format!("{base}/registered_limits/{id}")},
    })
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let limits = app.iam.registered_limits(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let filters = &["service_id", "region_id", "resource_name"];
    let (path, key) = ("/registered_limits", "registered_limits");
    let listing = Listing {
        base: &base,
        path,
        key,
        params: &params,
        filters,
    };
    Ok(listing.answer(limits.iter().map(|limit| render(&base, limit)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { registered_limits }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let new = registered_limits
        .into_iter()
        .map(
            |CreateLimit {
                 service_id,
                 region_id,
                 resource_name,
                 default_limit,
                 description,
             }| {
                NewRegisteredLimit {
                    service_id,
                    region_id,
                    resource_name,
                    default_limit,
                    description,
                }
            },
        )
        .collect();
    let limits = app.iam.create_registered_limits(&bearer.actor, new).await?;
    let base = format!("{base}/identity/v3");
    let rendered: Vec<Value> = limits.iter().map(|limit| render(&base, limit)).collect();
    Ok((
        StatusCode::CREATED,
        Json(json!({"registered_limits": rendered})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let limit = app.iam.registered_limit(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"registered_limit": render(&format!("{base}/identity/v3"), &limit)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { registered_limit }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateLimit {
        service_id,
        region_id,
        resource_name,
        default_limit,
        description,
    } = registered_limit;
    let changes = RegisteredLimitChanges {
        service_id,
        region_id,
        resource_name,
        default_limit,
        description,
    };
    let limit = app
        .iam
        .update_registered_limit(&bearer.actor, &id, changes)
        .await?;
    Ok(Json(
        json!({"registered_limit": render(&format!("{base}/identity/v3"), &limit)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_registered_limit(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
