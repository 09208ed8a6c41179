//! The network service: Neutron v2.0. A file per resource; what they share is in [`kit`].

mod address_groups;
mod address_scopes;
mod auto_allocated;
mod collection;
mod default_rules;
mod extensions;
mod floating_ips;
mod information;
mod kit;
mod networks;
mod port_forwardings;
mod ports;
mod qos_policies;
mod quotas;
mod rbac_policies;
mod routers;
mod security_group_rules;
mod security_groups;
mod subnet_pools;
mod subnets;
mod tags;
mod trunks;

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
        .merge(security_group_rules::routes())
        .merge(subnet_pools::routes())
        .merge(address_scopes::routes())
        .merge(address_groups::routes())
        .merge(qos_policies::routes())
        .merge(rbac_policies::routes())
        .merge(default_rules::routes())
        .merge(trunks::routes())
        .merge(tags::routes())
        .merge(quotas::routes())
        .merge(auto_allocated::routes())
        .merge(information::routes());
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
        ("security_group", "security-groups"),
        ("security_group_rule", "security-group-rules"),
        (
            "default_security_group_rule",
            "default-security-group-rules",
        ),
        ("address_scope", "address-scopes"),
        ("address_group", "address-groups"),
        ("rbac_policy", "rbac-policies"),
        ("policy", "qos/policies"),
        ("rule_type", "qos/rule-types"),
        ("trunk", "trunks"),
        ("quota", "quotas"),
        ("auto_allocated_topology", "auto-allocated-topologies"),
        ("network_ip_availability", "network-ip-availabilities"),
        ("availability_zone", "availability_zones"),
        ("agent", "agents"),
        ("service_provider", "service-providers"),
        ("extension", "extensions"),
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
