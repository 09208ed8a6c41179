//! Which versions of the API there are.

use crate::app::App;
use crate::params::BaseUrl;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// Those of a Glance with stores and without a cache of its own. All are one API at one address.
const SUPPORTED: [&str; 16] = [
    "2.15", "2.13", "2.12", "2.11", "2.10", "2.9", "2.8", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2",
    "2.1", "2.0", "2.17",
];
const CURRENT: &str = "2.17";

pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(choices))
        .route("/versions", get(list))
        .route("/v2", get(choices))
        .route("/v2/", get(choices))
}

pub async fn choices(BaseUrl(base): BaseUrl) -> (StatusCode, Json<Value>) {
    (StatusCode::MULTIPLE_CHOICES, Json(body(&base)))
}

async fn list(BaseUrl(base): BaseUrl) -> Json<Value> {
    Json(body(&base))
}

fn body(base: &str) -> Value {
    let versions: Vec<_> = SUPPORTED
        .iter()
        .map(|version| {
            json!({
                "id": format!("v{version}"),
                "status": if *version == CURRENT { "CURRENT" } else { "SUPPORTED" },
                "links": [{"rel": "self", "href": format!("{base}/image/v2/")}],
            })
        })
        .collect();
    json!({"versions": versions})
}
