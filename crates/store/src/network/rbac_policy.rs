//! RBAC policies: who beside its owner may use a network, a security group or another resource.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{ProjectId, RbacPolicyId};
use serde::{Deserialize, Serialize};

/// Everyone, as a target.
pub const EVERYONE: &str = "*";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RbacPolicy {
    pub id: RbacPolicyId,
    pub project_id: ProjectId,
    /// `network`, `security_group`, `address_scope`, `address_group`, `subnetpool` or `qos_policy`.
    pub object_type: String,
    pub object_id: String,
    /// A project, or [`EVERYONE`].
    pub target: String,
    /// `access_as_shared` or `access_as_external`.
    pub action: String,
}

impl Record for RbacPolicy {
    const TABLE: &'static str = "rbac_policies";
    const COLUMNS: &'static [&'static str] =
        &["project_id", "object_type", "object_id", "target", "action"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.project_id).into(),
            self.object_type.as_str().into(),
            self.object_id.as_str().into(),
            self.target.as_str().into(),
            self.action.as_str().into(),
        ]
    }
}

/// What a project was given of one type, by whatever action.
pub async fn granted(tx: &mut Tx, object_type: &str, to: &ProjectId) -> Result<Vec<RbacPolicy>> {
    Query::new()
        .equals("object_type", object_type)
        .any_of("target", [to.as_str(), EVERYONE])
        .all(tx)
        .await
}

/// Every grant of one object.
pub async fn of_object(tx: &mut Tx, object_type: &str, id: &str) -> Result<Vec<RbacPolicy>> {
    Query::new()
        .equals("object_type", object_type)
        .equals("object_id", id)
        .all(tx)
        .await
}
