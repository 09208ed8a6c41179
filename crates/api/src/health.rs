//! `/healthz` and `/metrics`, and the list of services at `/`.

use crate::app::App;
use crate::params::BaseUrl;
use crate::problem::Answer;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
}

/// Where each service is.
async fn index(BaseUrl(base): BaseUrl) -> Json<serde_json::Value> {
    let service = |prefix: &str| format!("{base}{prefix}");
    Json(json!({"corten": {
        "version": env!("CARGO_PKG_VERSION"),
        "identity": service("/identity/v3"),
        "image": service("/image"),
        "compute": service("/compute/v2.1"),
        "placement": service("/placement"),
        "native": service("/v1"),
        "metrics": service("/metrics"),
        "health": service("/healthz"),
    }}))
}

/// 200 if the store answers.
async fn healthz(State(app): State<App>) -> Answer {
    app.cx.store.read().await?;
    Ok(Json(json!({"status": "ok"})).into_response())
}

/// Prometheus text format, version 0.0.4.
async fn metrics(State(app): State<App>) -> Response {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        app.metrics.render(),
    )
        .into_response()
}
