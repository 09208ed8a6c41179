//! Who is asking: what a validated token says about its bearer.

use corten_model::ids::{DomainId, ProjectId, RequestId, UserId};
use corten_model::origin::Origin;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a token is good for. Keystone v3, "Token scope".
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    Unscoped,
    Project { id: ProjectId, domain_id: DomainId },
    Domain { id: DomainId },
    System,
}

/// The bearer of a valid token.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    pub user_id: UserId,
    pub user_domain_id: DomainId,
    pub scope: Scope,
    /// Names of the roles in force for this scope, implied ones included, in lower case.
    pub roles: BTreeSet<String>,
    pub expires_at: Timestamp,
    pub request_id: RequestId,
}

impl Actor {
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.contains(name)
    }

    /// The project of a project-scoped token.
    pub fn project_id(&self) -> Option<&ProjectId> {
        match &self.scope {
            Scope::Project { id, .. } => Some(id),
            Scope::Unscoped | Scope::Domain { .. } | Scope::System => None,
        }
    }

    /// An administrator of the cloud: the admin role on the system or on a project, as OpenStack's services have it.
    pub fn is_admin(&self) -> bool {
        self.has_role("admin") && matches!(self.scope, Scope::Project { .. } | Scope::System)
    }

    /// Where changes made for this actor come from.
    pub fn origin(&self) -> Origin {
        Origin {
            request_id: self.request_id.clone(),
            user_id: Some(self.user_id.clone()),
            project_id: self.project_id().cloned(),
            operation_id: None,
        }
    }
}
