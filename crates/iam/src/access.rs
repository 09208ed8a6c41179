//! The decision next to the row: may this actor read it, may they change it, and would it raise their power?

use crate::Iam;
use crate::action::Action;
use crate::actor::{Actor, Scope};
use crate::policy::Target;
use crate::role_book::RoleBook;
use corten_model::ids::{DomainId, RoleId};
use corten_model::refusal::Refusal;
use corten_store::identity::assignment::{self, Assignment, Extent, Holder};
use corten_store::{Failure, Tx};

/// What a manager of a domain may hand out, and who holds more than this is not theirs to manage.
const GRANTABLE: [&str; 3] = ["manager", "member", "reader"];

impl Iam {
    /// A row to be shown. What the actor may not read does not exist for them.
    pub(crate) fn readable<T>(
        &self,
        actor: &Actor,
        action: Action,
        found: Option<T>,
        target: impl FnOnce(&T) -> Target,
        missing: impl FnOnce() -> Refusal,
    ) -> Result<T, Refusal> {
        match found {
            Some(row) if self.policy.check(actor, action, &target(&row)).is_ok() => Ok(row),
            Some(_) | None => Err(missing()),
        }
    }

    /// A row to be changed. As in Keystone, 403 is the answer to who may not, whether the row exists or not.
    pub(crate) fn writable<T>(
        &self,
        actor: &Actor,
        action: Action,
        found: Option<T>,
        target: impl FnOnce(&T) -> Target,
        missing: impl FnOnce() -> Refusal,
    ) -> Result<T, Refusal> {
        match found {
            Some(row) => {
                self.policy.check(actor, action, &target(&row))?;
                Ok(row)
            }
            None => {
                self.policy.check(actor, action, &Target::cloud())?;
                Err(missing())
            }
        }
    }

    /// The role, if the actor may hand it out: an administrator any, others only what cannot raise their own power.
    pub(crate) fn check_grantable(
        &self,
        actor: &Actor,
        book: &RoleBook,
        role: &RoleId,
    ) -> Result<(), Refusal> {
        if actor.is_admin() || book.within([role.clone()], &GRANTABLE) {
            return Ok(());
        }
        Err(Refusal::forbidden(format!(
            "A manager of a domain may hand out and take back the roles {} only; role {role} is or implies more.",
            GRANTABLE.join(", ")
        )))
    }

    /// Refuses to let a manager of a domain take over somebody who has more power: by setting their password, or by
    /// joining their group.
    pub(crate) async fn check_not_above(
        &self,
        tx: &mut Tx,
        actor: &Actor,
        holder: &Holder,
    ) -> Result<(), Failure> {
        if actor.is_admin() {
            return Ok(());
        }
        let held: Vec<Assignment> = match holder {
            Holder::User(user) => crate::role_book::assignments_of(tx, user).await?,
            Holder::Group(_) => assignment::of_holder(tx, holder).await?,
        };
        let book = RoleBook::load(tx).await?;
        let on_system = held.iter().any(|one| one.extent == Extent::System);
        if on_system || !book.within(held.into_iter().map(|one| one.role_id), &GRANTABLE) {
            return Err(Refusal::forbidden(format!(
                "{} holds roles beyond {}; only an administrator of the cloud may do this.",
                holder.id(),
                GRANTABLE.join(", ")
            ))
            .into());
        }
        Ok(())
    }
}

/// The domain that things made with this token go to, unless another is named.
pub(crate) fn home_domain(actor: &Actor) -> DomainId {
    match &actor.scope {
        Scope::Project { domain_id, .. } => domain_id.clone(),
        Scope::Domain { id } => id.clone(),
        Scope::System | Scope::Unscoped => DomainId::from(crate::bootstrap::DEFAULT_DOMAIN),
    }
}

/// What a list is checked against: the domain of a domain-scoped token, else the whole cloud. The caller filters by it.
pub(crate) fn list_target(actor: &Actor) -> Target {
    match &actor.scope {
        Scope::Domain { id } => Target::domain(id),
        Scope::Unscoped | Scope::Project { .. } | Scope::System => Target::cloud(),
    }
}

/// The domain that a list is limited to by its token.
pub(crate) fn list_domain(actor: &Actor) -> Option<&DomainId> {
    match &actor.scope {
        Scope::Domain { id } => Some(id),
        Scope::Unscoped | Scope::Project { .. } | Scope::System => None,
    }
}
