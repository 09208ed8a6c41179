//! What may stand in the query string of each address: anything else is refused, so that no filter is passed over in silence.

use crate::params::Params;
use crate::problem::Problem;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use corten_model::refusal::Refusal;
use std::collections::BTreeSet;

/// What each list takes.
const LIST: &[&str] = &[
    "limit", "marker", "sort_key", "sort_dir", "fields", "detail",
];
const FIELDS: &[&str] = &["fields"];
const SETTINGS: &[&str] = &["fields", "detail"];

const NODES: &[&str] = &[
    "associated",
    "chassis_uuid",
    "conductor",
    "conductor_group",
    "description_contains",
    "driver",
    "fault",
    "include_children",
    "instance_name",
    "instance_uuid",
    "lessee",
    "maintenance",
    "owner",
    "parent_node",
    "project",
    "provision_state",
    "resource_class",
    "retired",
    "shard",
    "sharded",
];
const PORTS: &[&str] = &[
    "address",
    "conductor_groups",
    "description_contains",
    "node",
    "node_uuid",
    "portgroup",
    "shard",
];
const PORTGROUPS: &[&str] = &["address", "conductor_groups", "node", "shard"];

/// Of an address below `/v1`: the method and the path with its parameters in braces, and what its query string may hold.
type Row = (
    &'static str,
    &'static str,
    &'static [&'static [&'static str]],
);

/// An address that is not here takes no parameters.
const TABLE: &[Row] = &[
    ("GET", "/nodes", &[NODES, LIST]),
    ("GET", "/nodes/detail", &[NODES, LIST]),
    ("GET", "/nodes/{node}", &[FIELDS]),
    ("PATCH", "/nodes/{node}", &[&["reset_interfaces"]]),
    ("GET", "/nodes/{node}/allocation", &[FIELDS]),
    ("GET", "/nodes/{node}/bios", &[SETTINGS]),
    ("GET", "/nodes/{node}/firmware", &[SETTINGS]),
    (
        "GET",
        "/nodes/{node}/history",
        &[&["detail", "limit", "marker", "sort_key", "sort_dir"]],
    ),
    (
        "PUT",
        "/nodes/{node}/management/boot_device",
        &[&["persistent"]],
    ),
    (
        "DELETE",
        "/nodes/{node}/vmedia",
        &[&["device_types", "device_type"]],
    ),
    ("GET", "/nodes/{node}/ports", &[PORTS, LIST]),
    ("GET", "/nodes/{node}/ports/detail", &[PORTS, LIST]),
    ("GET", "/nodes/{node}/portgroups", &[PORTGROUPS, LIST]),
    (
        "GET",
        "/nodes/{node}/portgroups/detail",
        &[PORTGROUPS, LIST],
    ),
    ("GET", "/nodes/{node}/volume/connectors", &[&["node"], LIST]),
    ("GET", "/nodes/{node}/volume/targets", &[&["node"], LIST]),
    ("GET", "/chassis", &[LIST]),
    ("GET", "/chassis/detail", &[LIST]),
    ("GET", "/chassis/{chassis}", &[FIELDS]),
    ("GET", "/chassis/{chassis}/nodes", &[NODES, LIST]),
    ("GET", "/chassis/{chassis}/nodes/detail", &[NODES, LIST]),
    ("GET", "/ports", &[PORTS, LIST]),
    ("GET", "/ports/detail", &[PORTS, LIST]),
    ("GET", "/ports/{port}", &[FIELDS]),
    ("GET", "/portgroups", &[PORTGROUPS, LIST]),
    ("GET", "/portgroups/detail", &[PORTGROUPS, LIST]),
    ("GET", "/portgroups/{portgroup}", &[FIELDS]),
    ("GET", "/portgroups/{portgroup}/ports", &[PORTS, LIST]),
    (
        "GET",
        "/portgroups/{portgroup}/ports/detail",
        &[PORTS, LIST],
    ),
    ("GET", "/drivers", &[&["type", "detail"], FIELDS]),
    ("GET", "/drivers/{driver}", &[FIELDS]),
    ("GET", "/conductors", &[LIST]),
    ("GET", "/conductors/{hostname}", &[FIELDS]),
    (
        "GET",
        "/allocations",
        &[&["node", "resource_class", "state", "owner"], LIST],
    ),
    ("GET", "/allocations/{allocation}", &[FIELDS]),
    ("GET", "/deploy_templates", &[LIST]),
    ("GET", "/deploy_templates/{template}", &[FIELDS]),
    ("GET", "/runbooks", &[&["owner", "project", "public"], LIST]),
    ("GET", "/runbooks/{runbook}", &[FIELDS]),
    ("GET", "/inspection_rules", &[&["phase"], LIST]),
    ("GET", "/inspection_rules/{rule}", &[FIELDS]),
    ("GET", "/volume/connectors", &[&["node"], LIST]),
    ("GET", "/volume/connectors/{volume}", &[FIELDS]),
    ("GET", "/volume/targets", &[&["node"], LIST]),
    ("GET", "/volume/targets/{volume}", &[FIELDS]),
];

/// What ramdisks ask, and methods of vendors, read their own parameters.
const OPEN: &[&str] = &[
    "/lookup",
    "/heartbeat",
    "/continue_inspection",
    "/nodes/{node}/vendor_passthru",
    "/drivers/{driver}/vendor_passthru",
];

/// Refuses a request whose query string holds what its address does not take. Who has no token is told that first.
pub async fn check(request: Request, next: Next) -> Response {
    let is_named = request.headers().contains_key("x-auth-token");
    let path = request.extensions().get::<MatchedPath>();
    let path = path.and_then(|path| path.as_str().split_once("/v1"));
    if let Some((_, path)) = path
        && is_named
        && let Err(refusal) = check_names(request.method(), path, &Params::of(request.uri()))
    {
        return Problem::from(refusal).into_response();
    }
    next.run(request).await
}

fn check_names(method: &Method, path: &str, params: &Params) -> Result<(), Refusal> {
    if params.0.is_empty() || OPEN.iter().any(|open| path.starts_with(open)) {
        return Ok(());
    }
    let method = match *method {
        Method::HEAD => "GET",
        _ => method.as_str(),
    };
    let row = TABLE
        .iter()
        .find(|(known, place, _)| *known == method && *place == path);
    let known: Vec<&str> = row.map_or_else(Vec::new, |(_, _, known)| known.concat());
    let names = params.0.iter().map(|(name, _)| name.as_str());
    let unknown: BTreeSet<&str> = names.filter(|name| !known.contains(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown: Vec<&str> = unknown.into_iter().collect();
    let takes = match known.as_slice() {
        [] => "no parameters".to_owned(),
        known => known.join(", "),
    };
    Err(Refusal::invalid(format!(
        "Unexpected arguments: {}. {method} /v1{path} takes {takes}.",
        unknown.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, path: &str, query: &str) -> Result<(), String> {
        let params = Params::of(&format!("/x?{query}").parse().unwrap());
        check_names(&method, path, &params).map_err(|refusal| refusal.message)
    }

    #[test]
    fn a_parameter_that_an_address_does_not_take_is_refused_with_those_that_it_takes() {
        assert!(asked(Method::GET, "/nodes", "shard=a&limit=2&detail=True").is_ok());
        let refused = asked(Method::GET, "/nodes", "colour=red&limit=2").unwrap_err();
        assert!(
            refused.starts_with("Unexpected arguments: colour."),
            "{refused}"
        );
        assert!(
            refused.contains("provision_state, resource_class"),
            "{refused}"
        );
        let refused = asked(Method::GET, "/nodes/{node}/states", "fields=uuid").unwrap_err();
        assert!(refused.contains("takes no parameters"), "{refused}");
        assert!(asked(Method::DELETE, "/nodes", "shard=a").is_err());
        assert!(asked(Method::GET, "/lookup", "anything=1").is_ok());
    }

    #[test]
    fn no_address_stands_in_the_table_twice() {
        let rows: BTreeSet<_> = TABLE
            .iter()
            .map(|(method, path, _)| (method, path))
            .collect();
        assert_eq!(rows.len(), TABLE.len());
    }
}
