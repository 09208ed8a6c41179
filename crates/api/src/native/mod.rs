//! `/v1`: our own API, for what OpenStack's has no words for.
//!
//! Errors are `{"error": {"status", "reason", "message"}}`; moments are RFC 3339 in UTC; lists take `limit`.

mod operations;

use crate::app::App;
use crate::problem::{Told, rendered_by};
use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    rendered_by(
        operations::routes().fallback(|| async { StatusCode::NOT_FOUND }),
        error_body,
    )
}

fn error_body(status: StatusCode, told: &Told) -> Value {
    json!({"error": {
        "status": status.as_u16(),
        "reason": status.canonical_reason(),
        "message": told.message,
    }})
}
