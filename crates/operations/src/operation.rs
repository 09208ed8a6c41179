//! Operations as administrators see them: what is being done, what was, and a way to stop it.

use crate::context::Context;
use crate::metal::firmware_steps;
use corten_iam::action::native::{OPERATIONS_CANCEL, OPERATIONS_READ};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::OperationId;
use corten_model::refusal::Refusal;
use corten_store::Failure;
use corten_store::operations::{self, Filter, Operation};
use corten_store::transitions::{self, Transition};

fn missing(id: OperationId) -> Refusal {
    Refusal::no_such("Operation", id)
}

/// Operations, newest first: those that run, or with `all` those that have ended too.
pub async fn list(
    cx: &Context,
    actor: &Actor,
    all: bool,
    limit: i64,
) -> Result<Vec<Operation>, Failure> {
    cx.policy.check(actor, OPERATIONS_READ, &Target::cloud())?;
    let filter = Filter {
        running: !all,
        limit: Some(limit),
        ..Filter::default()
    };
    Ok(operations::list(&mut cx.store.read().await?, filter).await?)
}

/// One operation and the states it caused.
pub async fn show(
    cx: &Context,
    actor: &Actor,
    id: OperationId,
) -> Result<(Operation, Vec<Transition>), Failure> {
    cx.policy.check(actor, OPERATIONS_READ, &Target::cloud())?;
    let mut tx = cx.store.read().await?;
    let operation = operations::get(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    let transitions = transitions::of_operation(&mut tx, id).await?;
    Ok((operation, transitions))
}

/// Asks an operation to stop at its next step and to clean up.
pub async fn cancel(cx: &Context, actor: &Actor, id: OperationId) -> Result<(), Failure> {
    cx.policy
        .check(actor, OPERATIONS_CANCEL, &Target::cloud())?;
    let mut tx = cx.store.write().await?;
    let operation = operations::get(&mut tx, id)
        .await?
        .ok_or_else(|| missing(id))?;
    if !operations::request_cancel(&mut tx, id, cx.now()).await? {
        let status = operation.status.as_str();
        return Err(Refusal::conflict(format!(
            "Operation {id} is {status}: only a running one can be cancelled."
        ))
        .into());
    }
    firmware_steps::check_cancel(&mut tx, &operation, cx.now()).await?;
    tx.commit().await?;
    Ok(())
}
