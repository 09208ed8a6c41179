//! `/v1/operations`: what is being done, for administrators.

use super::{Refusals, limit};
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
use serde::Serialize;
use utoipa::ToSchema;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/operations", get(list))
        .route("/operations/{id}", get(show))
        .route("/operations/{id}/cancel", post(cancel))
}

/// A long-running change.
#[derive(Serialize, ToSchema)]
#[schema(as = Operation)]
struct View {
    id: String,
    /// `create_instance`, `import_image`, …
    kind: String,
    subject: SubjectView,
    project_id: Option<String>,
    /// Who asked for it.
    user_id: Option<String>,
    request_id: String,
    /// `running`, `unwinding`, `done`, `failed`, `cancelled` or `superseded`.
    status: &'static str,
    /// The next step, as its workflow writes it.
    step: String,
    /// Where the next step runs.
    place: String,
    /// How often the next step was tried and failed.
    attempt: i64,
    /// The process that has it in hand.
    worker: Option<String>,
    /// The fencing token: it only grows.
    epoch: i64,
    cancel_requested: bool,
    /// What it waits for, why it is tried again, or why it ended.
    note: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// Not before this moment.
    #[schema(format = DateTime)]
    runs_at: String,
    /// After this moment it gives up.
    #[schema(format = DateTime)]
    deadline: String,
    #[schema(format = DateTime)]
    finished_at: Option<String>,
}

/// What an operation works on.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationSubject)]
struct SubjectView {
    /// `instance`, `image`, …
    kind: String,
    id: String,
}

/// An operation with what it changed.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationWithChanges)]
struct Whole {
    #[serde(flatten)]
    operation: View,
    /// Oldest first.
    transitions: Vec<Change>,
}

/// One change of state that an operation made.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationChange)]
struct Change {
    #[schema(format = DateTime)]
    at: String,
    from: Option<String>,
    to: String,
    why: String,
    /// How long it was in `from`, in seconds.
    lasted_secs: f64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OneOperation)]
pub(super) struct One {
    operation: Whole,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ManyOperations)]
pub(super) struct Many {
    operations: Vec<View>,
}

fn parse_id(text: &str) -> Result<OperationId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::no_such("Operation", text))
}

fn view(operation: Operation) -> View {
    let Operation {
        id,
        kind,
        subject_kind,
        subject_id,
        project_id,
        user_id,
        request_id,
        place,
        step,
        // It may hold a password.
        input: _,
        attempt,
        run_at,
        lease_owner,
        lease_until: _,
        epoch,
        deadline,
        cancel_requested,
        status,
        note,
        created_at,
        updated_at,
        finished_at,
    } = operation;
    View {
        id: id.to_string(),
        kind,
        subject: SubjectView {
            kind: subject_kind,
            id: subject_id,
        },
        project_id: project_id.map(|id| id.to_string()),
        user_id: user_id.map(|id| id.to_string()),
        request_id: request_id.to_string(),
        status: status.as_str(),
        step,
        place,
        attempt,
        worker: lease_owner,
        epoch,
        cancel_requested,
        note,
        created_at: created_at.micros_z(),
        updated_at: updated_at.micros_z(),
        runs_at: run_at.micros_z(),
        deadline: deadline.micros_z(),
        finished_at: finished_at.map(Timestamp::micros_z),
    }
}

fn change(transition: Transition) -> Change {
    Change {
        at: transition.at.micros_z(),
        from: transition.from,
        to: transition.to,
        why: transition.why,
        lasted_secs: transition.lasted_micros as f64 / 1e6,
    }
}

/// What is being done in the cloud, newest first.
#[utoipa::path(
    get,
    path = "/v1/operations",
    tag = "operations",
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1000 by default."),
        ("all" = Option<bool>, Query, description = "Those that have ended, too."),
    ),
    responses((status = 200, description = "The operations.", body = Many), Refusals),
    security(("token" = []))
)]
pub(super) async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    params: Params,
) -> Answer<Json<Many>> {
    let all = params.truth("all")?.unwrap_or(false);
    let limit = limit(&params)?;
    let found = operation::list(&app.cx, &actor, all, limit as i64).await?;
    let operations = found.into_iter().map(view).collect();
    Ok(Json(Many { operations }))
}

/// One operation and the states that it caused.
#[utoipa::path(
    get,
    path = "/v1/operations/{id}",
    tag = "operations",
    params(("id" = String, Path, description = "The operation.")),
    responses((status = 200, description = "The operation.", body = One), Refusals),
    security(("token" = []))
)]
pub(super) async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<Json<One>> {
    let (found, transitions) = operation::show(&app.cx, &actor, parse_id(&id)?).await?;
    let operation = Whole {
        operation: view(found),
        transitions: transitions.into_iter().map(change).collect(),
    };
    Ok(Json(One { operation }))
}

/// Asks an operation to stop at its next step and to clean up.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/cancel",
    tag = "operations",
    params(("id" = String, Path, description = "The operation.")),
    responses(
        (status = 202, description = "It stops at its next step."),
        (status = 409, description = "It has ended.", body = super::Problem),
        Refusals
    ),
    security(("token" = []))
)]
pub(super) async fn cancel(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    operation::cancel(&app.cx, &actor, parse_id(&id)?).await?;
    Ok(StatusCode::ACCEPTED)
}
