//! The network service: Neutron v2.0. A file per resource; what they share is in [`kit`].

mod extensions;
mod floating_ips;
mod kit;
mod networks;
mod port_forwardings;
mod ports;
mod routers;
mod security_group_rules;
mod security_groups;
mod subnets;

use crate::app::App;
use crate::params::BaseUrl;
use crate::problem::{Told, rendered_by};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    let v2 = Router::new()
        .route("/", get(resources))
        .merge(extensions::routes())
        .merge(networks::routes())
        .merge(subnets::routes())
        .merge(ports::routes())
        .merge(routers::routes())
        .merge(floating_ips::routes())
        .merge(port_forwardings::routes())
        .merge(security_groups::routes())
        .merge(security_group_rules::routes());
    let router = Router::new()
        .route("/", get(versions))
        .nest("/v2.0", v2)
        .fallback(|| async { StatusCode::NOT_FOUND });
    rendered_by(router, body)
}

async fn versions(BaseUrl(base): BaseUrl) -> Json<Value> {
    Json(json!({"versions": [{
        "id": "v2.0",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": format!("{base}/network/v2.0/")}],
    }]}))
}

/// The collections of this version, as a client may discover them.
async fn resources(BaseUrl(base): BaseUrl) -> Json<Value> {
    let resource = |(name, collection): (&str, &str)| {
        json!({
            "name": name,
            "collection": collection,
            "links": [{"rel": "self", "href": format!("{base}/network/v2.0/{collection}")}],
        })
    };
    let resources: Vec<_> = [
        ("network", "networks"),
        ("subnet", "subnets"),
        ("subnetpool", "subnetpools"),
        ("port", "ports"),
        ("router", "routers"),
        ("floatingip", "floatingips"),
    ]
    .map(resource)
    .into();
    Json(json!({"resources": resources}))
}

/// Neutron's error body: the name of the rule, and the text.
fn body(status: StatusCode, told: &Told) -> Value {
    if status == StatusCode::UNAUTHORIZED {
        let title = "Unauthorized";
        return json!({"error": {"code": 401, "title": title, "message": told.message}});
    }
    let name = told.name.unwrap_or(match status {
        StatusCode::BAD_REQUEST => "HTTPBadRequest",
        StatusCode::FORBIDDEN => "PolicyNotAuthorized",
        StatusCode::NOT_FOUND => "HTTPNotFound",
        StatusCode::METHOD_NOT_ALLOWED => "HTTPMethodNotAllowed",
        StatusCode::CONFLICT => "HTTPConflict",
        StatusCode::NOT_IMPLEMENTED => "HTTPNotImplemented",
        StatusCode::SERVICE_UNAVAILABLE => "HTTPServiceUnavailable",
        _ => "HTTPInternalServerError",
    });
    json!({"NeutronError": {"type": name, "message": told.message, "detail": ""}})
}
