//! The bare-metal service: Ironic v1, microversions 1.1 to 1.115. A file per resource; what they share is in [`kit`].

mod allocations;
mod chassis;
mod conductors;
mod deploy_templates;
mod drivers;
mod events;
mod inspection_rules;
mod kit;
mod management;
mod node_boots;
mod node_edit;
mod node_event_log;
mod node_history;
mod node_parts;
mod node_settings;
mod node_states;
mod node_view;
mod nodes;
mod passthru;
mod patch;
mod portgroups;
mod ports;
mod query;
mod ramdisk;
mod runbooks;
mod schema;
mod served;
mod version;
mod volume;

use crate::app::App;
use crate::params::BaseUrl;
use crate::problem::{Told, rendered_by};
use crate::{collision, trace};
use axum::extract::Request;
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower::util::MapRequest;
use version::Version;

pub fn routes() -> Router<App> {
    let v1 = Router::new()
        .route("/", get(v1_document))
        .merge(nodes::routes())
        .merge(node_states::routes())
        .merge(node_parts::routes())
        .merge(node_history::routes())
        .merge(node_settings::routes())
        .merge(passthru::routes())
        .merge(node_boots::routes())
        .merge(node_event_log::routes())
        .merge(management::routes())
        .merge(ports::routes())
        .merge(portgroups::routes())
        .merge(chassis::routes())
        .merge(drivers::routes())
        .merge(conductors::routes())
        .merge(allocations::routes())
        .merge(deploy_templates::routes())
        .merge(runbooks::routes())
        .merge(inspection_rules::routes())
        .merge(volume::routes())
        .merge(ramdisk::routes())
        .merge(events::routes())
        .layer(from_fn(query::check))
        .layer(from_fn(version::negotiate));
    let router = Router::new()
        .route("/", get(root_document))
        .nest("/v1", v1)
        .fallback(|| async { StatusCode::NOT_FOUND });
    rendered_by(router, body)
}

/// What ramdisks find on the listener of a provisioning network: their own routes, and nothing else.
pub fn for_agents(app: App) -> Router {
    let v1 = ramdisk::routes_on_site().layer(from_fn(version::negotiate));
    let router = Router::new()
        // The stock agent asks here which microversion it may use.
        .route("/", get(root_document))
        .nest("/v1", v1)
        .fallback(|| async { StatusCode::NOT_FOUND });
    rendered_by(router, body)
        .layer(from_fn_with_state(app.clone(), collision::answer_again))
        .layer(from_fn(trace::trace))
        .with_state(app)
}

/// Clients of this service write two slashes where one is meant, and may leave the version out: it is v1 then, as in the
/// links that are called bookmarks.
pub fn one_address<S>(service: S) -> MapRequest<S, fn(Request) -> Request> {
    MapRequest::new(service, straighten)
}

fn straighten(mut request: Request) -> Request {
    let uri = request.uri();
    let Some(rest) = uri.path().strip_prefix("/baremetal/") else {
        return request;
    };
    let parts: Vec<_> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let version = match parts.first() {
        None | Some(&"v1") => "",
        Some(_) => "/v1",
    };
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    let slash = if parts.is_empty() { "" } else { "/" };
    let straight = format!("/baremetal{version}{slash}{}{query}", parts.join("/"));
    if let Ok(uri) = straight.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}

fn version_document(base: &str) -> Value {
    json!({
        "id": "v1",
        "status": "CURRENT",
        "min_version": Version::MIN.to_string(),
        "version": Version::MAX.to_string(),
        "links": [{"href": format!("{base}/baremetal/v1/"), "rel": "self"}],
    })
}

async fn root_document(BaseUrl(base): BaseUrl) -> Json<Value> {
    let version = version_document(&base);
    Json(json!({
        "name": "OpenStack Ironic API",
        "description": "Bare-metal servers: enrolment, power, cleaning, deployment.",
        "versions": [version],
        "default_version": version,
    }))
}

/// The collections of this version, as far as the asked microversion has them.
async fn v1_document(version: Version, BaseUrl(base): BaseUrl) -> Json<Value> {
    let links = |collection: &str| {
        json!([
            {"href": format!("{base}/baremetal/v1/{collection}/"), "rel": "self"},
            {"href": format!("{base}/baremetal/{collection}/"), "rel": "bookmark"},
        ])
    };
    let mut document = json!({
        "id": "v1",
        "links": version_document(&base)["links"],
        "media_types": [{"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"}],
        "version": version_document(&base),
    });
    for (collection, since) in [
        ("nodes", 1),
        ("ports", 1),
        ("chassis", 1),
        ("drivers", 1),
        ("lookup", 22),
        ("heartbeat", 22),
        ("portgroups", 23),
        ("volume", 32),
        ("conductors", 49),
        ("allocations", 52),
        ("events", 54),
        ("deploy_templates", 55),
        ("shards", 82),
        ("runbooks", 92),
        ("inspection_rules", 96),
    ] {
        if version.at_least(since) {
            document[collection] = links(collection);
        }
    }
    Json(document)
}

/// Ironic's error body: a text that is JSON itself.
fn body(status: StatusCode, told: &Told) -> Value {
    if status == StatusCode::UNAUTHORIZED {
        let title = "Unauthorized";
        return json!({"error": {"code": 401, "title": title, "message": told.message}});
    }
    let side = if status.is_server_error() {
        "Server"
    } else {
        "Client"
    };
    let fault = json!({"faultcode": side, "faultstring": told.message, "debuginfo": null});
    json!({"error_message": fault.to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn an_address_is_read_as_it_is_meant() {
        let read = |address: &str| {
            let request = Request::builder().uri(address).body(Body::empty()).unwrap();
            straighten(request).uri().to_string()
        };
        assert_eq!(
            read("/baremetal/v1//nodes/detail?a=//b"),
            "/baremetal/v1/nodes/detail?a=//b"
        );
        assert_eq!(read("/baremetal/nodes/x"), "/baremetal/v1/nodes/x");
        assert_eq!(read("/baremetal/v1/"), "/baremetal/v1");
        assert_eq!(read("/baremetal/"), "/baremetal");
        assert_eq!(read("/network//v2.0"), "/network//v2.0");
    }
}
