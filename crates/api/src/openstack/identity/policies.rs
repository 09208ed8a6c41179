//! `/v3/policies`: policies that services deposit for each other.

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
use corten_iam::policy_blob::PolicyBlobChanges;
use corten_store::identity::Extra;
use corten_store::identity::policy::PolicyBlob;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/policies", get(list).post(create))
        .route(
            "/policies/{policy_id}",
            get(show).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    policy: CreatePolicy,
}

#[derive(Deserialize)]
struct CreatePolicy {
    #[serde(rename = "type")]
    kind: String,
    blob: Value,
    #[serde(flatten)]
    extra: Extra,
}

#[derive(Deserialize)]
struct Update {
    policy: UpdatePolicy,
}

#[derive(Deserialize)]
struct UpdatePolicy {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    blob: Option<Value>,
    #[serde(flatten)]
    extra: Extra,
}

fn render(base: &str, policy: &PolicyBlob) -> Value {
    let body = json!({
        "id": policy.id,
        "type": policy.kind,
        "blob": policy.blob,
        "links": {"self": format!("{base}/policies/{}", policy.id)},
    });
    with_extra(body, &policy.extra)
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let policies = app.iam.policy_blobs(&bearer.actor).await?;
    let base = format!("{base}/identity/v3");
    let listing = Listing {
        base: &base,
        path: "/policies",
        key: "policies",
        params: &params,
        filters: &["type"],
    };
    Ok(listing.answer(
        policies
            .iter()
            .map(|policy| render(&base, policy))
            .collect(),
    )?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { policy }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreatePolicy { kind, blob, extra } = policy;
    let policy = app
        .iam
        .create_policy(&bearer.actor, kind, blob, extra)
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"policy": render(&format!("{base}/identity/v3"), &policy)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let policy = app.iam.policy_blob(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"policy": render(&format!("{base}/identity/v3"), &policy)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { policy }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdatePolicy { kind, blob, extra } = policy;
    let policy = app
        .iam
        .update_policy(&bearer.actor, &id, PolicyBlobChanges { kind, blob, extra })
        .await?;
    Ok(Json(
        json!({"policy": render(&format!("{base}/identity/v3"), &policy)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_policy(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
