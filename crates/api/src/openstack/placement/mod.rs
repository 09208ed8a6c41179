//! Placement: which host has how much of what, and who holds it. A read API over the rows of the scheduler; hosts and
//! operations write them, never a client.

mod allocations;
mod candidates;
mod classes;
mod microversion;
mod providers;
mod query;

use crate::app::App;
use crate::params::BaseUrl;
use crate::problem::{Told, rendered_by};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::routing::get;
use axum::{Json, Router};
use microversion::Microversion;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    let router = Router::new()
        .route("/", get(versions))
        .merge(allocations::routes())
        .merge(candidates::routes())
        .merge(classes::routes())
        .merge(providers::routes())
        .fallback(|| async { StatusCode::NOT_FOUND });
    rendered_by(router, body).layer(from_fn(microversion::negotiate))
}

async fn versions(BaseUrl(base): BaseUrl) -> Json<Value> {
    Json(json!({"versions": [{
        "id": "v1.0",
        "status": "CURRENT",
        "min_version": Microversion::MIN.to_string(),
        "max_version": Microversion::MAX.to_string(),
        "links": [{"rel": "self", "href": format!("{base}/placement/")}],
    }]}))
}

/// Placement's error body; [`microversion::negotiate`] adds what depends on the request.
fn body(status: StatusCode, told: &Told) -> Value {
    json!({"errors": [{
        "status": status.as_u16(),
        "title": status.canonical_reason().unwrap_or("Error"),
        "detail": told.message,
    }]})
}
