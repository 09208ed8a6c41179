//! `/v3/credentials`.

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
use corten_iam::credential::{CredentialChanges, NewCredential, OpenCredential};
use corten_model::ids::{ProjectId, UserId};
use corten_model::refusal::Refusal;
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/credentials", get(list).post(create))
        .route(
            "/credentials/{credential_id}",
            get(show).patch(update).delete(delete),
        )
}

#[derive(Deserialize)]
struct Create {
    credential: CreateCredential,
}

#[derive(Deserialize)]
struct CreateCredential {
    #[serde(rename = "type")]
    kind: String,
    blob: Value,
    #[serde(default)]
    user_id: Option<UserId>,
    #[serde(default)]
    project_id: Option<ProjectId>,
}

#[derive(Deserialize)]
struct Update {
    credential: UpdateCredential,
}

#[derive(Deserialize)]
struct UpdateCredential {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    blob: Option<Value>,
    #[serde(default)]
    user_id: Option<UserId>,
    #[serde(default, deserialize_with = "given")]
    project_id: Option<Option<ProjectId>>,
}

/// A blob is a text; an object is taken as the text of its JSON.
fn text(blob: Value) -> Result<String, Refusal> {
    match blob {
        Value::String(text) => Ok(text),
        Value::Object(_) => Ok(blob.to_string()),
        _ => Err(Refusal::invalid("The blob of a credential is a text.")),
    }
}

fn render(base: &str, credential: &OpenCredential) -> Value {
    let OpenCredential {
        id,
        user_id,
        project_id,
        kind,
        blob,
    } = credential;
    json!({
        "id": id,
        "user_id": user_id,
        "project_id": project_id,
        "type": kind,
        "blob": blob,
        "links": {"self": format!("{base}/credentials/{id}")},
    })
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    params: Params,
) -> Answer {
    let user = params.get("user_id").map(UserId::from);
    let credentials = app
        .iam
        .credentials(&bearer.actor, user.as_ref(), params.get("type"))
        .await?;
    let base = format!("{base}/identity/v3");
    let filters = &["user_id", "type"];
    let listing = Listing {
        base: &base,
        path: "/credentials",
        key: "credentials",
        params: &params,
        filters,
    };
    Ok(listing.answer(credentials.iter().map(|one| render(&base, one)).collect())?)
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Body(Create { credential }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let CreateCredential {
        kind,
        blob,
        user_id,
        project_id,
    } = credential;
    let new = NewCredential {
        user_id,
        project_id,
        kind,
        blob: text(blob)?,
    };
    let credential = app.iam.create_credential(&bearer.actor, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"credential": render(&format!("{base}/identity/v3"), &credential)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let credential = app.iam.credential(&bearer.actor, &id).await?;
    Ok(Json(
        json!({"credential": render(&format!("{base}/identity/v3"), &credential)}),
    ))
}

async fn update(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(id): Path<String>,
    Body(Update { credential }): Body<Update>,
) -> Answer<Json<Value>> {
    let UpdateCredential {
        kind,
        blob,
        user_id,
        project_id,
    } = credential;
    let changes = CredentialChanges {
        blob: blob.map(text).transpose()?,
        kind,
        user_id,
        project_id,
    };
    let credential = app
        .iam
        .update_credential(&bearer.actor, &id, changes)
        .await?;
    Ok(Json(
        json!({"credential": render(&format!("{base}/identity/v3"), &credential)}),
    ))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.iam.delete_credential(&bearer.actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
