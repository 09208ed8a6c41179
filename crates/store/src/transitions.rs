//! The transition log: one row for every change of state of anything.
//!
//! Audit log, instance actions, timelines, live events, metrics and metering are folds of this log, so nothing else
//! may record a change of state. Rows are only ever appended.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value, insert};
use corten_model::ids::{OperationId, ProjectId, TransitionId};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    pub id: TransitionId,
    pub at: Timestamp,
    /// `instance`, `image`, `volume`, `node`, …
    pub subject_kind: String,
    pub subject_id: String,
    pub project_id: Option<ProjectId>,
    /// `None` for the first state of a new thing.
    pub from: Option<String>,
    pub to: String,
    /// For people: what caused it.
    pub why: String,
    pub origin: Origin,
    /// How long the subject was in `from`; zero for the first state.
    pub lasted_micros: i64,
}

impl Record for Transition {
    const TABLE: &'static str = "transitions";
    const COLUMNS: &'static [&'static str] = &[
        "at",
        "subject_kind",
        "subject_id",
        "project_id",
        "operation_id",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.at.into(),
            self.subject_kind.as_str().into(),
            self.subject_id.as_str().into(),
            self.project_id.as_ref().map(ToString::to_string).into(),
            self.origin.operation_id.map(|id| id.to_string()).into(),
        ]
    }
}

/// Appends one change of state.
pub async fn append(tx: &mut Tx, transition: &Transition) -> Result<()> {
    insert(tx, transition).await
}

/// Everything that happened to one thing, oldest first.
pub async fn of_subject(tx: &mut Tx, kind: &str, id: &str) -> Result<Vec<Transition>> {
    Query::new()
        .equals("subject_kind", kind)
        .equals("subject_id", id)
        .order_by("id", Direction::Ascending)
        .all(tx)
        .await
}

/// What one operation changed, oldest first.
pub async fn of_operation(tx: &mut Tx, operation: OperationId) -> Result<Vec<Transition>> {
    Query::new()
        .equals("operation_id", &operation)
        .order_by("id", Direction::Ascending)
        .all(tx)
        .await
}
