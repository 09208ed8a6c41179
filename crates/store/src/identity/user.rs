//! Users, with their passwords (hashes only) and what keeps guessing in check.

use super::{Extra, name_key};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::{DomainId, ProjectId, UserId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub domain_id: DomainId,
    pub name: String,
    pub description: Option<String>,
    pub enabled: bool,
    pub default_project_id: Option<ProjectId>,
    pub options: UserOptions,
    pub extra: Extra,
    /// Oldest first; the last is in force.
    pub passwords: Vec<Password>,
    pub failed_logins: u32,
    pub last_failed_login: Option<Timestamp>,
    /// Tokens issued before this moment are void.
    pub tokens_valid_after: Timestamp,
}

/// Keystone's resource options of a user: exceptions from the rules for passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_change_password_upon_first_use: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_password_expiry: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_lockout_failure_attempts: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_user_inactivity: Option<bool>,
    /// The user cannot change the password; an administrator can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_password: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_factor_auth_enabled: Option<bool>,
    /// Each rule is a set of methods that together suffice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_factor_auth_rules: Option<Vec<Vec<String>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Password {
    /// A PHC string.
    pub hash: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// Set by the user, not by an administrator.
    pub self_service: bool,
}

impl Record for User {
    const TABLE: &'static str = "users";
    const COLUMNS: &'static [&'static str] = &["domain_id", "name_key", "enabled"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            (&self.domain_id).into(),
            name_key(&self.name).into(),
            self.enabled.into(),
        ]
    }
}

pub async fn by_name(tx: &mut Tx, domain: &DomainId, name: &str) -> Result<Option<User>> {
    Query::new()
        .equals("domain_id", domain)
        .equals("name_key", name_key(name))
        .first(tx)
        .await
}

pub async fn of_domain(tx: &mut Tx, domain: &DomainId) -> Result<Vec<User>> {
    Query::new().equals("domain_id", domain).all(tx).await
}
