//! What a node's BMC wrote down of its server: the system event log. Ours: Ironic has no call for it.

use super::kit::ident;
use super::version::Version;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_bmc::LogEntry;
use corten_operations::metal::management;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new().route("/nodes/{node}/event_log", get(show).delete(clear))
}

/// As the BMC lists it; `created` is as its own clock had it.
async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(node): Path<String>,
) -> Answer<Json<Value>> {
    let entries = management::event_log(&app.cx, &actor, &ident(version, &node)).await?;
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|entry| {
            let LogEntry {
                id,
                created,
                severity,
                message,
                subject,
            } = entry;
            json!({"id": id, "created": created, "severity": severity, "message": message, "subject": subject})
        })
        .collect();
    Ok(Json(json!({"event_log": entries})))
}

/// BMCs stop writing, or forget the oldest, when theirs is full.
async fn clear(
    State(app): State<App>,
    Caller(actor): Caller,
    version: Version,
    Path(node): Path<String>,
) -> Answer<StatusCode> {
    management::clear_event_log(&app.cx, &actor, &ident(version, &node)).await?;
    Ok(StatusCode::NO_CONTENT)
}
