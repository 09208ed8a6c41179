//! `/extensions`: what of Neutron this cloud has beside its core. What is not here is refused.

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::refusal::Refusal;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/extensions", get(index))
        .route("/extensions/{alias}", get(show))
}

/// Alias and name of each.
const EXTENSIONS: [(&str, &str); 31] = [
    ("allowed-address-pairs", "Allowed Address Pairs"),
    ("availability_zone", "Availability Zone"),
    ("binding", "Port Binding"),
    ("default-subnetpools", "Default Subnetpools"),
    ("dns-integration", "DNS Integration"),
    ("external-net", "Neutron external network"),
    (
        "expose-port-forwarding-in-fip",
        "Expose Port Forwarding in FIP",
    ),
    (
        "ext-gw-mode",
        "Neutron L3 Configurable external gateway mode",
    ),
    ("extra_dhcp_opt", "Neutron Extra DHCP options"),
    ("extraroute", "Neutron Extra Route"),
    ("extraroute-atomic", "Atomically add/remove extra routes"),
    ("filter-validation", "Filter parameters validation"),
    ("fip-port-details", "Floating IP Port Details Extension"),
    ("floating-ip-port-forwarding", "Floating IP Port Forwarding"),
    (
        "floating-ip-port-forwarding-description",
        "Floating IP Port Forwarding new field description",
    ),
    (
        "floating-ip-port-forwarding-detail",
        "Floating IP Port Forwarding details",
    ),
    ("ip-substring-filtering", "IP address substring filtering"),
    ("net-mtu", "Network MTU"),
    ("net-mtu-writable", "Network MTU (writable)"),
    ("pagination", "Pagination support"),
    ("port-security", "Port Security"),
    ("project-id", "project_id field enabled"),
    ("provider", "Provider Network"),
    ("router", "Neutron L3 Router"),
    ("router_availability_zone", "Router Availability Zone"),
    ("security-group", "security-group"),
    ("sorting", "Sorting support"),
    ("standard-attr-description", "standard-attr-description"),
    ("standard-attr-revisions", "Resource revision numbers"),
    ("standard-attr-timestamp", "Resource timestamps"),
    ("stateful-security-group", "Stateful security group"),
];

fn view((alias, name): (&str, &str)) -> Value {
    json!({
        "alias": alias,
        "name": name,
        "description": name,
        "updated": "2026-01-01T00:00:00-00:00",
        "links": [],
    })
}

async fn index(Caller(_): Caller) -> Json<Value> {
    Json(json!({"extensions": EXTENSIONS.map(view)}))
}

async fn show(Caller(_): Caller, Path(alias): Path<String>) -> Answer<Json<Value>> {
    let found = EXTENSIONS.into_iter().find(|(known, _)| *known == alias);
    let found = found.ok_or_else(|| {
        Refusal::not_found(format!("Extension with alias {alias} does not exist"))
            .named("ExtensionNotFound")
    })?;
    Ok(Json(json!({"extension": view(found)})))
}
