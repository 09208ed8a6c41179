//! Compute: Nova's API v2.1 with microversions 2.1 to 2.100, a file per resource.
//!
//! `/v2` is the same API as of 2.1, without microversions. What all files share: [`microversion`] (which fields and
//! routes a request sees), [`input`] (Nova's lenient scalars), [`paging`] (limit, marker, links), [`version`].

mod aggregates;
mod assisted_snapshots;
mod audit_log;
mod availability_zones;
mod console_auth_tokens;
mod extensions;
mod external_events;
mod flavor_access;
mod flavor_extra_specs;
mod flavors;
mod floating_ips;
mod hosts;
mod hypervisors;
mod images;
pub mod input;
mod keypairs;
mod limits;
pub mod microversion;
mod migrations;
mod networks;
pub mod paging;
mod quota_class_sets;
mod quota_sets;
mod quotas;
mod security_groups;
mod server_groups;
pub mod servers;
mod services;
mod usage;
mod version;

use crate::app::App;
use crate::problem::{Told, rendered_by};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    let router = version::routes()
        .nest("/v2.1", resources())
        .nest("/v2", resources())
        .fallback(|| async { StatusCode::NOT_FOUND });
    rendered_by(router, fault).layer(from_fn(microversion::negotiate))
}

/// Every resource, with paths as they are below `/v2.1`.
fn resources() -> Router<App> {
    Router::new()
        .merge(aggregates::routes())
        .merge(assisted_snapshots::routes())
        .merge(audit_log::routes())
        .merge(availability_zones::routes())
        .merge(console_auth_tokens::routes())
        .merge(extensions::routes())
        .merge(external_events::routes())
        .merge(flavor_access::routes())
        .merge(flavor_extra_specs::routes())
        .merge(flavors::routes())
        .merge(floating_ips::routes())
        .merge(hosts::routes())
        .merge(hypervisors::routes())
        .merge(images::routes())
        .merge(keypairs::routes())
        .merge(limits::routes())
        .merge(migrations::routes())
        .merge(networks::routes())
        .merge(quota_class_sets::routes())
        .merge(quota_sets::routes())
        .merge(security_groups::routes())
        .merge(server_groups::routes())
        .merge(servers::routes())
        .merge(services::routes())
        .merge(usage::routes())
}

/// Nova's error body: the key says what kind of error it is.
pub fn fault(status: StatusCode, told: &Told) -> Value {
    let key = match status.as_u16() {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 | 429 => "overLimit",
        415 => "badMediaType",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    };
    json!({ key: {"code": status.as_u16(), "message": told.message} })
}
