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
const EXTENSIONS: &[(&str, &str)] = &[
    ("address-group", "Address group"),
    ("address-scope", "Address scope"),
    ("agent", "agent"),
    ("allowed-address-pairs", "Allowed Address Pairs"),
    (
        "auto-allocated-topology",
        "Auto Allocated Topology Services",
    ),
    ("availability_zone", "Availability Zone"),
    ("binding", "Port Binding"),
    ("default-subnetpools", "Default Subnetpools"),
    ("dns-integration", "DNS Integration"),
    (
        "expose-port-forwarding-in-fip",
        "Expose Port Forwarding in FIP",
    ),
    (
        "ext-gw-mode",
        "Neutron L3 Configurable external gateway mode",
    ),
    ("external-net", "Neutron external network"),
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
    ("network-ip-availability", "Network IP Availability"),
    ("network_availability_zone", "Network Availability Zone"),
    ("pagination", "Pagination support"),
    ("port-security", "Port Security"),
    ("project-id", "project_id field enabled"),
    ("provider", "Provider Network"),
    ("qos", "Quality of Service"),
    (
        "qos-bw-limit-direction",
        "Direction for QoS bandwidth limit rule",
    ),
    ("qos-default", "QoS default policy"),
    ("qos-rule-type-details", "Details of QoS rule types"),
    (
        "qos-rules-alias",
        "Ability to directly alter the QoS rules without the policy ID",
    ),
    ("quota-check-limit", "Quota engine limit check"),
    (
        "quota-check-limit-default",
        "Quota engine limit check by default",
    ),
    ("quota_details", "Quota details management support"),
    ("quotas", "Quota management support"),
    ("rbac-address-group", "Add address_group type to RBAC"),
    ("rbac-address-scope", "Add address_scope type to RBAC"),
    ("rbac-policies", "RBAC Policies"),
    (
        "rbac-security-groups",
        "Add security_group type to network RBAC",
    ),
    ("rbac-subnetpool", "Add subnetpool type to RBAC"),
    ("router", "Neutron L3 Router"),
    ("router_availability_zone", "Router Availability Zone"),
    ("security-group", "security-group"),
    (
        "security-groups-default-rules",
        "Default rules for security groups",
    ),
    (
        "security-groups-remote-address-group",
        "Remote address group id field in the security group rule",
    ),
    (
        "security-groups-shared-filtering",
        "Shared field in the security group filter",
    ),
    ("service-type", "Neutron Service Type Management"),
    ("sorting", "Sorting support"),
    ("standard-attr-description", "standard-attr-description"),
    ("standard-attr-revisions", "Resource revision numbers"),
    (
        "standard-attr-tag",
        "Tag support for resources with standard attribute: port, subnet, subnetpool, router, network, floating IP, security group, QoS policy, trunk",
    ),
    ("standard-attr-timestamp", "Resource timestamps"),
    ("stateful-security-group", "Stateful security group"),
    ("subnet_allocation", "Subnet Allocation"),
    ("subnetpool-prefix-ops", "Subnet Pool Prefix Operations"),
    ("trunk", "Trunk Extension"),
    ("trunk-details", "Trunk port details"),
];

fn view((alias, name): &(&str, &str)) -> Value {
    json!({
        "alias": alias,
        "name": name,
        "description": name,
        "updated": "2026-01-01T00:00:00-00:00",
        "links": [],
    })
}

async fn index(Caller(_): Caller) -> Json<Value> {
    let views: Vec<Value> = EXTENSIONS.iter().map(view).collect();
    Json(json!({ "extensions": views }))
}

async fn show(Caller(_): Caller, Path(alias): Path<String>) -> Answer<Json<Value>> {
    let found = EXTENSIONS.iter().find(|(known, _)| *known == alias);
    let found = found.ok_or_else(|| {
        Refusal::not_found(format!("Extension with alias {alias} does not exist"))
            .named("ExtensionNotFound")
    })?;
    Ok(Json(json!({"extension": view(found)})))
}
