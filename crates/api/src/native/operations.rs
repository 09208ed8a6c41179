//! `/v1/operations`: what is being done, for administrators.

use crate::app::App;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use corten_model::ids::OperationId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_operations::operation;
use corten_store::operations::Operation;
use corten_store::transitions::Transition;
use serde_json::{Value, json};

/// The most operations that one list answers.
const MAX_LIMIT: usize = 1000;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/operations", get(list))
        .route("/operations/{id}", get(show))
        .route("/operations/{id}/cancel", post(cancel))
}

fn parse_id(text: &str) -> Result<OperationId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::no_such("Operation", text))
}

fn view(operation: &Operation) -> Value {
    json!({
        "id": operation.id,
        "kind": operation.kind,
        "subject": {"kind": operation.subject_kind, "id": operation.subject_id},
        "project_id": operation.project_id,
        "user_id": operation.user_id,
        "request_id": operation.request_id,
        "status": operation.status.as_str(),
        "step": operation.step,
        "place": operation.place,
        "attempt": operation.attempt,
        "worker": operation.lease_owner,
        "epoch": operation.epoch,
        "cancel_requested": operation.cancel_requested,
        "note": operation.note,
        "created_at": operation.created_at.micros_z(),
        "updated_at": operation.updated_at.micros_z(),
        "runs_at": operation.run_at.micros_z(),
        "deadline": operation.deadline.micros_z(),
        "finished_at": operation.finished_at.map(Timestamp::micros_z),
    })
}

fn transition(transition: &Transition) -> Value {
    json!({
        "at": transition.at.micros_z(),
        "from": transition.from,
        "to": transition.to,
        "why": transition.why,
        "lasted_secs": transition.lasted_micros as f64 / 1e6,
    })
}

/// `?all=true` shows those that have ended, too.
async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
) -> Answer<Json<Value>> {
    let all = params.truth("all")?.unwrap_or(false);
    let limit = params.count("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let found = operation::list(&app.cx, &actor, all, limit as i64).await?;
    Ok(Json(
        json!({"operations": found.iter().map(view).collect::<Vec<_>>()}),
    ))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let (found, transitions) = operation::show(&app.cx, &actor, parse_id(&id)?).await?;
    let mut body = view(&found);
    body["transitions"] = transitions.iter().map(transition).collect();
    Ok(Json(json!({"operation": body})))
}

/// 202: it stops at its next step and cleans up.
async fn cancel(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    operation::cancel(&app.cx, &actor, parse_id(&id)?).await?;
    Ok(StatusCode::ACCEPTED)
}
