//! Version discovery: `GET /` and `GET /v3`, without a token. API reference "API versions".

use crate::app::App;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(list))
        .fallback(nothing)
        .route("/v3", get(show))
        .route("/v3/", get(show))
        .route("/v3/extensions", get(extensions))
        .route("/v3/extensions/{alias}", get(extension))
}

/// A path that identity does not have, so that the answer is identity's own error body.
async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Version 3.14 is the newest that there is of the identity API.
fn version(base: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/identity/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}

async fn list(BaseUrl(base): BaseUrl) -> Response {
    let body = Json(json!({"versions": {"values": [version(&base)]}}));
    (StatusCode::MULTIPLE_CHOICES, body).into_response()
}

async fn show(BaseUrl(base): BaseUrl) -> Json<Value> {
    Json(json!({"version": version(&base)}))
}

const EXTENSIONS: [(&str, &str); 8] = [
    ("OS-EC2", "EC2 access keys"),
    ("OS-EP-FILTER", "Endpoint filters"),
    ("OS-INHERIT", "Roles inherited by the projects below"),
    ("OS-OAUTH1", "OAuth 1.0a consumers"),
    ("OS-REVOKE", "Revocation events"),
    ("OS-TRUST", "Trusts"),
    ("OS-PROJECT-TAGS", "Tags on projects"),
    ("OS-ACCESS-RULES", "Access rules of application credentials"),
];

fn render((alias, name): (&str, &str)) -> Value {
    json!({
        "alias": alias,
        "name": name,
        "namespace": format!("https://docs.openstack.org/api/openstack-identity/3/ext/{alias}/1.0"),
        "description": name,
        "updated": "2020-04-07T00:00:00Z",
        "links": [],
    })
}

async fn extensions() -> Json<Value> {
    let all: Vec<Value> = EXTENSIONS.into_iter().map(render).collect();
    Json(json!({"extensions": all}))
}

async fn extension(axum::extract::Path(alias): axum::extract::Path<String>) -> Answer {
    let found = EXTENSIONS.into_iter().find(|(known, _)| *known == alias);
    let found = found.ok_or_else(|| corten_model::refusal::Refusal::no_such("Extension", alias))?;
    Ok(Json(json!({"extension": render(found)})).into_response())
}
