//! `/events`: what other services tell of a node's networks.

use super::version::Since;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::problem::Answer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use corten_model::refusal::Refusal;
use corten_operations::metal::access;
use serde_json::{Map, Value};

pub fn routes() -> Router<App> {
    Router::new().route("/events", post(create))
}

/// Networks are part of this cloud, and tell it themselves: nobody waits for an event from outside.
async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    _: Since<54>,
    Body(body): Body<Map<String, Value>>,
) -> Answer<StatusCode> {
    access::may_post_events(&app.cx, &actor)?;
    let Some(Value::Array(events)) = body.get("events").filter(|_| body.len() == 1) else {
        return Err(Refusal::invalid("The body holds a list of 'events'.").into());
    };
    let names: Vec<_> = events
        .iter()
        .map(|event| event.get("event").and_then(Value::as_str).unwrap_or("?"))
        .collect();
    Err(Refusal::invalid(format!(
        "Nothing here waits for the events {}: the network service of this cloud is told, and tells, directly.",
        names.join(", ")
    ))
    .into())
}
