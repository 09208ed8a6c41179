//! Everything a token says, looked up: what `GET /v3/auth/tokens` shows.

use crate::actor::{Actor, Scope};
use corten_model::ids::{DomainId, ProjectId, RequestId, RoleId, UserId};
use corten_model::time::Timestamp;
use corten_store::identity::access_rule::AccessRule;

/// An id with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<Id> {
    pub id: Id,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct UserView {
    pub id: UserId,
    pub name: String,
    pub domain: Reference<DomainId>,
    pub password_expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectView {
    pub id: ProjectId,
    pub name: String,
    pub domain: Reference<DomainId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeView {
    Unscoped,
    Project(ProjectView),
    Domain(Reference<DomainId>),
    System,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationCredentialView {
    pub id: String,
    pub name: String,
    pub restricted: bool,
    pub access_rules: Option<Vec<AccessRule>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustView {
    pub id: String,
    pub trustor_user_id: UserId,
    pub trustee_user_id: UserId,
    pub impersonation: bool,
    pub redelegation_count: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TokenView {
    pub user: UserView,
    pub scope: ScopeView,
    /// In force for the scope, implied ones included, by name.
    pub roles: Vec<Reference<RoleId>>,
    pub methods: Vec<String>,
    pub audit_ids: Vec<String>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    pub application_credential: Option<ApplicationCredentialView>,
    pub trust: Option<TrustView>,
}

impl TokenView {
    /// The bearer, as the other floors know him.
    pub fn actor(&self, request_id: RequestId) -> Actor {
        Actor {
            user_id: self.user.id.clone(),
            user_domain_id: self.user.domain.id.clone(),
            scope: match &self.scope {
                ScopeView::Unscoped => Scope::Unscoped,
                ScopeView::Project(project) => Scope::Project {
                    id: project.id.clone(),
                    domain_id: project.domain.id.clone(),
                },
                ScopeView::Domain(domain) => Scope::Domain {
                    id: domain.id.clone(),
                },
                ScopeView::System => Scope::System,
            },
            roles: self
                .roles
                .iter()
                .map(|role| role.name.to_lowercase())
                .collect(),
            expires_at: self.expires_at,
            request_id,
        }
    }

    /// Lent power: got through a trust or an application credential, and so not good for lending on, unless the
    /// application credential was made unrestricted.
    pub fn is_restricted(&self) -> bool {
        self.application_credential
            .as_ref()
            .is_some_and(|credential| credential.restricted)
    }
}
