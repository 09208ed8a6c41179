//! Migrations, in Nova's sense: the changes of an instance's flavor that were asked for.
//!
//! A row holds what stays true: who asked for what, and where. How it went is told by the operations on the instance,
//! so nothing here can disagree with them.

use crate::record::{Record, Value};
use corten_model::ids::{InstanceId, OperationId, ProjectId, UserId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One change of flavor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The operation that does it.
    pub id: OperationId,
    /// The id that older versions of the API show.
    pub number: i64,
    /// Nova's word: `resize`.
    pub kind: String,
    pub instance_id: InstanceId,
    /// Who asked for it.
    pub project_id: ProjectId,
    pub user_id: UserId,
    /// The host that the instance is on, and stays on.
    pub host: String,
    /// The numbers of both flavors; of one that was removed since the instance got it, none is known.
    pub old_flavor: Option<i64>,
    pub new_flavor: Option<i64>,
    pub created_at: Timestamp,
}

impl Record for Migration {
    const TABLE: &'static str = "migrations";
    const COLUMNS: &'static [&'static str] = &[
        "number",
        "kind",
        "instance_id",
        "project_id",
        "user_id",
        "host",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.number.into(),
            self.kind.as_str().into(),
            (&self.instance_id).into(),
            (&self.project_id).into(),
            (&self.user_id).into(),
            self.host.as_str().into(),
        ]
    }
}
