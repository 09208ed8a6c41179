//! Imports, seen as the tasks of Glance. A task is an operation in other words and has no row of its own.

use super::access::readable;
use super::state::SUBJECT;
use crate::context::Context;
use crate::import_image::{Input, KIND};
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ImageId, OperationId, ProjectId, RequestId, UserId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::Failure;
use corten_store::operations::{self, Filter, Operation, Status};
use serde_json::Value;

pub use super::import::import_new;

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    Pending,
    Processing,
    Success,
    Failure,
}

impl TaskStatus {
    pub const ALL: [Self; 4] = [
        Self::Pending,
        Self::Processing,
        Self::Success,
        Self::Failure,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }

    fn of(operation: &Operation) -> Self {
        match operation.status {
            Status::Running if operation.lease_owner.is_none() => Self::Pending,
            Status::Running | Status::Unwinding => Self::Processing,
            Status::Done => Self::Success,
            Status::Failed | Status::Cancelled | Status::Superseded => Self::Failure,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Task {
    pub id: OperationId,
    /// `api_image_import` or `import`.
    pub kind: &'static str,
    pub status: TaskStatus,
    pub image_id: String,
    pub owner: Option<ProjectId>,
    pub user_id: Option<UserId>,
    pub request_id: RequestId,
    pub input: Value,
    pub message: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Task {
    fn of(operation: Operation) -> Option<Self> {
        if operation.kind != KIND {
            return None;
        }
        let status = TaskStatus::of(&operation);
        let input: Value = serde_json::from_str(&operation.input).unwrap_or_default();
        let kind = match serde_json::from_value(input.clone()) {
            Ok(Input::Task { .. }) => "import",
            Ok(Input::Api { .. }) | Err(_) => "api_image_import",
        };
        Some(Self {
            id: operation.id,
            kind,
            status,
            image_id: operation.subject_id,
            owner: operation.project_id,
            user_id: operation.user_id,
            request_id: operation.request_id,
            input,
            message: operation.note,
            created_at: operation.created_at,
            updated_at: operation.updated_at,
        })
    }
}

/// The imports of an image that the actor sees, newest first.
pub async fn of_image(cx: &Context, actor: &Actor, id: ImageId) -> Result<Vec<Task>, Failure> {
    let mut tx = cx.store.read().await?;
    readable(&mut tx, cx, actor, id).await?;
    let filter = Filter {
        subject: Some((SUBJECT.to_owned(), id.to_string())),
        ..Filter::default()
    };
    Ok(operations::list(&mut tx, filter)
        .await?
        .into_iter()
        .filter_map(Task::of)
        .collect())
}

/// The imports of all projects, newest first, among the last operations.
pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<Task>, Failure> {
    cx.policy
        .check(actor, action::TASKS_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    Ok(operations::list(&mut tx, Filter::default())
        .await?
        .into_iter()
        .filter_map(Task::of)
        .collect())
}

pub async fn get(cx: &Context, actor: &Actor, id: OperationId) -> Result<Task, Failure> {
    cx.policy
        .check(actor, action::TASKS_READ, &Target::cloud())?;
    let operation = operations::get(&mut cx.store.read().await?, id).await?;
    Ok(operation
        .and_then(Task::of)
        .ok_or_else(|| Refusal::no_such("Task", id))?)
}

/// Tasks cannot be deleted; the refusal says why.
pub fn check_delete(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy
        .check(actor, action::TASKS_WRITE, &Target::cloud())
}
