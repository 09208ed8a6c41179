//! Starting an operation, in the transaction that changes its subject's state.

use crate::workflow::{Place, Workflow};
use corten_model::ids::{OperationId, ProjectId};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use corten_store::operations::{self, NewOperation};
use corten_store::{Error, Result, Tx};

/// What an operation works on. One operation at a time works on a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub kind: &'static str,
    pub id: String,
    pub project_id: Option<ProjectId>,
}

/// A new operation of one kind.
pub struct Submission<'a, W: Workflow> {
    pub workflow: &'a W,
    pub subject: Subject,
    pub origin: Origin,
    pub place: Place,
    pub step: W::Step,
    pub input: W::Input,
}

/// Adds the operation; workers hear of it when `tx` is committed. [`Error::Exists`] if one runs on the subject.
pub async fn submit<W: Workflow>(
    tx: &mut Tx,
    now: Timestamp,
    submission: Submission<'_, W>,
) -> Result<OperationId> {
    let Submission {
        workflow,
        subject,
        origin,
        place,
        step,
        input,
    } = submission;
    let unwritable = |source| Error::Unwritable {
        table: "operations",
        source,
    };
    let deadline = now.plus(workflow.budget(&step));
    let new = NewOperation {
        kind: workflow.kind().to_owned(),
        subject_kind: subject.kind.to_owned(),
        subject_id: subject.id,
        project_id: subject.project_id,
        origin,
        place: place.to_string(),
        step: serde_json::to_string(&step).map_err(unwritable)?,
        input: serde_json::to_string(&input).map_err(unwritable)?,
        now,
        deadline,
    };
    operations::insert(tx, new).await
}
