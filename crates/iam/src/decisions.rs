//! Decisions that were made before. The policies do not change while the process lives, and Cedar sees nothing but what
//! a [`Question`] holds, so an answer stays right for good.

use crate::actor::{Actor, Scope};
use crate::policy::Target;
use corten_model::ids::{DomainId, UserId};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More than this and all is forgotten: rare, and cheaper than keeping an order.
const MAX_ENTRIES: usize = 10_000;

/// Everything a decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    action: &'static str,
    user_id: UserId,
    user_domain_id: DomainId,
    scope: Scope,
    roles: BTreeSet<String>,
    target: Target,
}

impl Question {
    pub fn of(actor: &Actor, action: &'static str, target: &Target) -> Self {
        let Actor {
            user_id,
            user_domain_id,
            scope,
            roles,
            expires_at: _,
            request_id: _,
        } = actor;
        Self {
            action,
            user_id: user_id.clone(),
            user_domain_id: user_domain_id.clone(),
            scope: scope.clone(),
            roles: roles.clone(),
            target: target.clone(),
        }
    }
}

/// The longest id that there is, in bytes.
const LONGEST_ID: usize = 64;

impl Question {
    /// An id in a request's body may be of any length: what no real id looks like is not kept.
    fn is_small(&self) -> bool {
        let Target {
            project_id,
            domain_id,
            owner,
        } = &self.target;
        let ids = [
            project_id.as_ref().map(|id| id.as_str()),
            domain_id.as_ref().map(|id| id.as_str()),
            owner.as_ref().map(|id| id.as_str()),
        ];
        ids.into_iter().flatten().all(|id| id.len() <= LONGEST_ID)
    }
}

#[derive(Default)]
pub struct Decisions(Mutex<HashMap<Question, bool>>);

impl Decisions {
    fn made(&self) -> MutexGuard<'_, HashMap<Question, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, question: &Question) -> Option<bool> {
        self.made().get(question).copied()
    }

    pub fn put(&self, question: Question, allowed: bool) {
        if !question.is_small() {
            return;
        }
        let mut made = self.made();
        if made.len() >= MAX_ENTRIES {
            made.clear();
        }
        made.insert(question, allowed);
    }
}
