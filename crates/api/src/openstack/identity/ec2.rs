//! `/v3/users/{id}/credentials/OS-EC2`: access keys of EC2's kind.

use crate::app::App;
use crate::auth::Bearer;
use crate::body::Body;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_iam::credential::Ec2Credential;
use corten_model::ids::{ProjectId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route(
            "/users/{user_id}/credentials/OS-EC2",
            get(list).post(create),
        )
        .route(
            "/users/{user_id}/credentials/OS-EC2/{access}",
            get(show).delete(delete),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    tenant_id: ProjectId,
}

fn render(base: &str, credential: &Ec2Credential) -> Value {
    let Ec2Credential {
        user_id,
        project_id,
        access,
        secret,
    } = credential;
    json!({
        "user_id": user_id,
        "tenant_id": project_id,
        "access": access,
        "secret": secret,
        "trust_id": null,
        "links": {"self": format!("{base}/identity/v3/users/{user_id}/credentials/OS-EC2/{access}")},
    })
}

async fn list(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(user): Path<String>,
) -> Answer<Json<Value>> {
    let own = format!("{base}/identity/v3/users/{user}/credentials/OS-EC2");
    let found = app
        .iam
        .ec2_credentials(&bearer.actor, &UserId(user))
        .await?;
    let credentials: Vec<Value> = found.iter().map(|one| render(&base, one)).collect();
    Ok(Json(
        json!({"credentials": credentials, "links": {"next": null, "self": own, "previous": null}}),
    ))
}

async fn create(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path(user): Path<String>,
    Body(Create { tenant_id }): Body<Create>,
) -> Answer<(StatusCode, Json<Value>)> {
    let credential = app
        .iam
        .create_ec2(&bearer.actor, &UserId(user), &tenant_id)
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({"credential": render(&base, &credential)})),
    ))
}

async fn show(
    State(app): State<App>,
    bearer: Bearer,
    BaseUrl(base): BaseUrl,
    Path((user, access)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let credential = app
        .iam
        .ec2_credential(&bearer.actor, &UserId(user), &access)
        .await?;
    Ok(Json(json!({"credential": render(&base, &credential)})))
}

async fn delete(
    State(app): State<App>,
    bearer: Bearer,
    Path((user, access)): Path<(String, String)>,
) -> Answer<StatusCode> {
    app.iam
        .delete_ec2(&bearer.actor, &UserId(user), &access)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
