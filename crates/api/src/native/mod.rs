//! `/v1`: our own API, for what OpenStack's has no words for.
//!
//! Errors are `{"error": {"status", "reason", "message"}}`; moments are RFC 3339 in UTC; lists take `limit`. Every route
//! is described at `/v1/openapi.json` ([`openapi`]).

mod instances;
mod new_instance;
mod nodes;
mod openapi;
mod operations;
mod public_ips;

use crate::app::App;
use crate::params::Params;
use crate::problem::{Told, rendered_by};
use axum::Router;
use axum::http::StatusCode;
use corten_model::refusal::Refusal;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoResponses, ToSchema};

pub fn routes() -> Router<App> {
    let routes = Router::new()
        .merge(instances::routes())
        .merge(nodes::routes())
        .merge(openapi::routes())
        .merge(operations::routes())
        .merge(public_ips::routes());
    rendered_by(
        routes.fallback(|| async { StatusCode::NOT_FOUND }),
        error_body,
    )
}

/// How every refusal looks.
#[derive(Serialize, ToSchema)]
struct Problem {
    error: ProblemDetail,
}

#[derive(Serialize, ToSchema)]
struct ProblemDetail {
    /// The HTTP status.
    status: u16,
    /// The status in words.
    reason: Option<&'static str>,
    /// The rule, the value that broke it, and what to do.
    message: String,
}

/// What every call can be refused with.
#[derive(IntoResponses)]
#[allow(dead_code)] // Only described: the rules below refuse, and the layer writes the body.
enum Refusals {
    /// The query or the body is not in order.
    #[response(status = 400)]
    Invalid(#[to_schema] Problem),
    /// There is no token, or it is not valid.
    #[response(status = 401)]
    Unauthenticated(#[to_schema] Problem),
    /// The role does not allow it.
    #[response(status = 403)]
    Forbidden(#[to_schema] Problem),
    /// There is no such thing, or not for you.
    #[response(status = 404)]
    NotFound(#[to_schema] Problem),
}

fn error_body(status: StatusCode, told: &Told) -> Value {
    json!(Problem {
        error: ProblemDetail {
            status: status.as_u16(),
            reason: status.canonical_reason(),
            message: told.message.clone(),
        }
    })
}

/// The most things that one list answers.
const MAX_LIMIT: usize = 1000;

fn limit(params: &Params) -> Result<usize, Refusal> {
    Ok(params.count("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT))
}
