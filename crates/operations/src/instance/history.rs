//! What was done to an instance: its operations as Nova's actions, their transitions as its events.

use super::query;
use crate::context::Context;
use corten_engine::Place;
use corten_iam::action::compute::SERVERS_READ;
use corten_iam::actor::Actor;
use corten_model::ids::{InstanceId, OperationId, ProjectId, RequestId, UserId};
use corten_model::time::Timestamp;
use corten_store::instances::{self, Instance};
use corten_store::operations::{self, Filter, NewOperation, Operation, Status};
use corten_store::transitions::{self, Transition};
use corten_store::{Error, Failure, Tx, record};

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
    let name = kind.strip_suffix("_instance").unwrap_or(kind);
    match name.strip_suffix("_metal").unwrap_or(name) {
        "soft_reboot" | "hard_reboot" => "reboot".to_owned(),
        "snapshot" => "createImage".to_owned(),
        "backup" => "createBackup".to_owned(),
        "confirm_resize" => "confirmResize".to_owned(),
        "revert_resize" => "revertResize".to_owned(),
        "shelve_offload" => "shelveOffload".to_owned(),
        "change_password" => "changePassword".to_owned(),
        "reset_state" => "resetState".to_owned(),
        other => other.to_owned(),
    }
}

/// Something that was done to an instance, or tried, and was over at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Lock,
    Unlock,
    ResetState,
    ChangePassword,
    TriggerCrashDump,
}

impl Deed {
    fn kind(self) -> &'static str {
        match self {
            Self::Lock => "lock_instance",
            Self::Unlock => "unlock_instance",
            Self::ResetState => "reset_state_instance",
            Self::ChangePassword => "change_password_instance",
            Self::TriggerCrashDump => "trigger_crash_dump_instance",
        }
    }
}

/// Keeps what was over at once among the instance's actions; `failure` says why it failed.
pub(super) async fn keep(
    tx: &mut Tx,
    cx: &Context,
    actor: &Actor,
    instance: &Instance,
    deed: Deed,
    failure: Option<&str>,
) -> Result<(), Error> {
    let now = cx.now();
    let operation = NewOperation {
        kind: deed.kind().to_owned(),
        subject_kind: instances::SUBJECT.to_owned(),
        subject_id: instance.id.to_string(),
        project_id: Some(instance.project_id.clone()),
        origin: actor.origin(),
        place: Place::Control.to_string(),
        step: String::new(),
        input: String::new(),
        now,
        deadline: now,
    };
    let status = match failure {
        None => Status::Done,
        Some(_) => Status::Failed,
    };
    operations::record(tx, operation, status, failure.unwrap_or_default()).await?;
    Ok(())
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

/// The instance, if `actor` may see it; also one that is deleted.
async fn remembered(
    cx: &Context,
    tx: &mut Tx,
    actor: &Actor,
    id: InstanceId,
) -> Result<Instance, Failure> {
    let instance: Option<Instance> = record::get(tx, id).await?;
    let instance = instance.ok_or_else(|| query::missing(id))?;
    query::permit(cx, actor, &instance, SERVERS_READ)?;
    Ok(instance)
}

/// Every change of an instance's state, oldest first; also of one that is deleted.
pub async fn timeline(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
) -> Result<(Instance, Vec<Transition>), Failure> {
    let mut tx = cx.store.read().await?;
    let instance = remembered(cx, &mut tx, actor, id).await?;
    let log = transitions::of_subject(&mut tx, instances::SUBJECT, &id.to_string()).await?;
    Ok((instance, log))
}

/// What was done to an instance, newest first; also to one that is deleted.
pub async fn actions(cx: &Context, actor: &Actor, id: InstanceId) -> Result<Vec<Action>, Failure> {
    let mut tx = cx.store.read().await?;
    remembered(cx, &mut tx, actor, id).await?;
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
    // Nova's words: what the API does itself, and what a host does.
    let name = match action.name.as_str() {
        deed @ ("lock" | "unlock") => format!("api_{deed}"),
        "changePassword" => "compute_set_admin_password".to_owned(),
        other => format!("compute_{other}_instance"),
    };
    let mut events = vec![Event {
        name,
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
