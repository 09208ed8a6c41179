//! Imports, seen as the tasks of Glance: what was asked, and how far the operation that does it is.

use super::access::readable;
use crate::context::Context;
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ImageId, OperationId, ProjectId, RequestId, UserId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::images::tasks as rows;
use corten_store::images::{ImageTask, TaskKind};
use corten_store::operations::{self, Filter, Operation, Status};
use corten_store::{Failure, Tx};
use serde_json::Value;
use std::collections::HashMap;

pub use super::import::import_new;

/// So many tasks can be listed.
const MAX_LISTED: i64 = 1000;

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
    pub kind: TaskKind,
    pub status: TaskStatus,
    pub image_id: ImageId,
    pub owner: Option<ProjectId>,
    pub user_id: Option<UserId>,
    pub request_id: RequestId,
    pub input: Value,
    pub message: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Task {
    fn of(row: ImageTask, operation: Operation) -> Self {
        let ImageTask {
            id,
            image_id,
            kind,
            input,
            created_at,
        } = row;
        Self {
            id,
            kind,
            status: TaskStatus::of(&operation),
            image_id,
            owner: operation.project_id,
            user_id: operation.user_id,
            request_id: operation.request_id,
            input,
            message: operation.note,
            created_at,
            updated_at: operation.updated_at,
        }
    }
}

/// Puts each task beside its operation.
async fn join(tx: &mut Tx, rows: Vec<ImageTask>, filter: Filter) -> Result<Vec<Task>, Failure> {
    let recent = operations::list(tx, filter).await?;
    let mut recent: HashMap<_, _> = recent
        .into_iter()
        .map(|operation| (operation.id, operation))
        .collect();
    let mut tasks = Vec::new();
    for row in rows {
        let operation = match recent.remove(&row.id) {
            Some(operation) => Some(operation),
            None => operations::get(tx, row.id).await?,
        };
        tasks.extend(operation.map(|operation| Task::of(row, operation)));
    }
    Ok(tasks)
}

/// The imports of an image that the actor sees, newest first.
pub async fn of_image(cx: &Context, actor: &Actor, id: ImageId) -> Result<Vec<Task>, Failure> {
    let mut tx = cx.store.read().await?;
    readable(&mut tx, cx, actor, id).await?;
    let rows = rows::of_image(&mut tx, id).await?;
    let subject = Some((super::state::SUBJECT.to_owned(), id.to_string()));
    join(
        &mut tx,
        rows,
        Filter {
            subject,
            ..Filter::default()
        },
    )
    .await
}

/// The imports of all projects, newest first.
pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<Task>, Failure> {
    cx.policy
        .check(actor, action::TASKS_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    let rows = rows::newest(&mut tx, MAX_LISTED).await?;
    join(&mut tx, rows, Filter::default()).await
}

pub async fn get(cx: &Context, actor: &Actor, id: OperationId) -> Result<Task, Failure> {
    cx.policy
        .check(actor, action::TASKS_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    let missing = || Refusal::no_such("Task", id);
    let row = rows::get(&mut tx, id).await?.ok_or_else(missing)?;
    let operation = operations::get(&mut tx, id).await?.ok_or_else(missing)?;
    Ok(Task::of(row, operation))
}

/// Tasks cannot be deleted, which only those learn who could delete one.
pub fn check_delete(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy
        .check(actor, action::TASKS_WRITE, &Target::cloud())
}
