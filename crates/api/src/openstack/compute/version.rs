//! Version discovery: what `/compute`, `/compute/v2.1` and `/compute/v2` say without a token.

use super::microversion::Microversion;
use crate::app::App;
use crate::params::BaseUrl;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(list))
        .route("/v2.1", get(newest))
        .route("/v2.1/", get(newest))
        .route("/v2", get(legacy))
        .route("/v2/", get(legacy))
}

/// `GET /compute`
async fn list(BaseUrl(base): BaseUrl) -> Json<Value> {
    Json(json!({"versions": [legacy_version(&base), newest_version(&base)]}))
}

/// `GET /compute/v2.1`
async fn newest(BaseUrl(base): BaseUrl) -> Json<Value> {
    document(newest_version(&base), "2.1")
}

/// `GET /compute/v2`: the API before microversions, which is 2.1 without a choice.
async fn legacy(BaseUrl(base): BaseUrl) -> Json<Value> {
    document(legacy_version(&base), "2")
}

fn newest_version(base: &str) -> Value {
    json!({
        "id": "v2.1",
        "status": "CURRENT",
        "version": Microversion::MAX.to_string(),
        "min_version": Microversion::MIN.to_string(),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{base}/compute/v2.1/")}],
    })
}

fn legacy_version(base: &str) -> Value {
    json!({
        "id": "v2.0",
        "status": "SUPPORTED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": format!("{base}/compute/v2/")}],
    })
}

fn document(mut version: Value, media_version: &str) -> Json<Value> {
    if let Some(links) = version["links"].as_array_mut() {
        links.push(json!({"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}));
    }
    version["media-types"] = json!([{
        "base": "application/json",
        "type": format!("application/vnd.openstack.compute+json;version={media_version}"),
    }]);
    Json(json!({"version": version}))
}
