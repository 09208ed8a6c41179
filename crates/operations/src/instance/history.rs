//! What was done to an instance: its operations as Nova's actions, their transitions as its events.

use super::query;
use crate::context::Context;
use corten_iam::actor::Actor;
use corten_model::ids::{InstanceId, OperationId, ProjectId, RequestId, UserId};
use corten_model::time::Timestamp;
use corten_store::operations::{self, Filter, Operation, Status};
use corten_store::{Failure, instances, transitions};

/// One thing that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Nova's word: `create`, `stop`, `reboot`, …
    pub name: String,
    pub instance_id: InstanceId,
    pub request_id: RequestId,
    pub user_id: Option<UserId>,
    pub project_id: Option<ProjectId>,
    pub started: Timestamp,
    pub updated: Timestamp,
    /// `Error` if it failed.
    pub message: Option<String>,
    operation: OperationId,
    finished: Option<Timestamp>,
    failed: bool,
    cause: String,
}

/// One part of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub started: Timestamp,
    pub finished: Option<Timestamp>,
    /// `Success` or `Error`, once it is over.
    pub result: Option<&'static str>,
    pub details: Option<String>,
}

/// Nova's word for a kind of operation.
fn action_name(kind: &str) -> String {
    match kind.strip_suffix("_instance").unwrap_or(kind) {
        "soft_reboot" | "hard_reboot" => "reboot".to_owned(),
        "snapshot" => "createImage".to_owned(),
        "backup" => "createBackup".to_owned(),
        "confirm_resize" => "confirmResize".to_owned(),
        "revert_resize" => "revertResize".to_owned(),
        "shelve_offload" => "shelveOffload".to_owned(),
        other => other.to_owned(),
    }
}

fn action(id: InstanceId, operation: Operation) -> Action {
    let failed = operation.status == Status::Failed;
    Action {
        name: action_name(&operation.kind),
        instance_id: id,
        request_id: operation.request_id,
        user_id: operation.user_id,
        project_id: operation.project_id,
        started: operation.created_at,
        updated: operation.updated_at,
        message: failed.then(|| "Error".to_owned()),
        operation: operation.id,
        finished: operation.finished_at,
        failed,
        cause: operation.note,
    }
}

/// What was done to an instance, newest first; also to one that is deleted.
pub async fn actions(cx: &Context, actor: &Actor, id: InstanceId) -> Result<Vec<Action>, Failure> {
    let mut tx = cx.store.read().await?;
    let instance: Option<instances::Instance> = corten_store::record::get(&mut tx, id).await?;
    let instance = instance.ok_or_else(|| query::missing(id))?;
    query::permit(
        cx,
        actor,
        &instance,
        corten_iam::action::compute::SERVERS_READ,
    )?;
    let filter = Filter {
        subject: Some((instances::SUBJECT.to_owned(), id.to_string())),
        ..Filter::default()
    };
    let operations = operations::list(&mut tx, filter).await?;
    Ok(operations
        .into_iter()
        .map(|operation| action(id, operation))
        .collect())
}

/// The parts of an action: one for each state that it went through, newest first.
pub async fn events(cx: &Context, action: &Action) -> Result<Vec<Event>, Failure> {
    let mut tx = cx.store.read().await?;
    let transitions = transitions::of_operation(&mut tx, action.operation).await?;
    let mut events = vec![Event {
        name: format!("compute_{}_instance", action.name),
        started: action.started,
        finished: action.finished,
        result: action
            .finished
            .map(|_| if action.failed { "Error" } else { "Success" }),
        details: (action.failed && !action.cause.is_empty()).then(|| action.cause.clone()),
    }];
    for (index, transition) in transitions.iter().enumerate() {
        let until = transitions
            .get(index + 1)
            .map(|next| next.at)
            .or(action.finished);
        events.push(Event {
            name: transition.to.clone(),
            started: transition.at,
            finished: until,
            result: until.map(|_| "Success"),
            details: None,
        });
    }
    events.reverse();
    Ok(events)
}
