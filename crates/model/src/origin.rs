//! Who asked: carried from the request through the operation into every transition it causes.

use crate::ids::{OperationId, ProjectId, RequestId, UserId};
use serde::{Deserialize, Serialize};

/// Where a change comes from. Nothing changes state without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub request_id: RequestId,
    /// `None` when the system itself acts (a guest crashed, a time budget ran out).
    pub user_id: Option<UserId>,
    /// The project the actor was scoped to, which an administrator's may differ from the resource's.
    pub project_id: Option<ProjectId>,
    pub operation_id: Option<OperationId>,
}

impl Origin {
    /// For changes that nobody asked for: observations and automatic next actions.
    pub fn system() -> Self {
        Self {
            request_id: RequestId::random(),
            user_id: None,
            project_id: None,
            operation_id: None,
        }
    }

    /// The same origin, acting through an operation.
    pub fn through(&self, operation: OperationId) -> Self {
        Self {
            operation_id: Some(operation),
            ..self.clone()
        }
    }
}
