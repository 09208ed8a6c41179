//! Trusts: the trustor lends the trustee some of his roles on a project.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::application_credential::RoleRef;
use crate::bootstrap::new_id;
use crate::policy::Target;
use crate::role_book::{Place, RoleBook, roles_at};
use crate::user;
use crate::view::TokenView;
use corten_model::ids::{ProjectId, RoleId, UserId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::identity::project::Project;
use corten_store::identity::role::{self, Role};
use corten_store::identity::trust::{self, Trust};
use corten_store::identity::user::User;
use corten_store::{Failure, Tx, record};

/// How often a trust can be lent on, at most.
const MAX_REDELEGATIONS: i64 = 3;

pub struct NewTrust {
    pub trustor_user_id: UserId,
    pub trustee_user_id: UserId,
    pub project_id: Option<ProjectId>,
    pub impersonation: bool,
    pub roles: Vec<RoleRef>,
    pub expires_at: Option<Timestamp>,
    pub remaining_uses: Option<i64>,
    pub allow_redelegation: bool,
    pub redelegation_count: Option<i64>,
}

/// A trust with the roles lent.
pub struct TrustDetail {
    pub trust: Trust,
    pub roles: Vec<Role>,
}

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find trust: {id}."))
}

/// Both sides of a trust may look at it.
fn is_party(actor: &Actor, trust: &Trust) -> bool {
    actor.user_id == trust.trustor_user_id || actor.user_id == trust.trustee_user_id
}

fn check_no_application_credential(token: &TokenView) -> Result<(), Refusal> {
    if token.application_credential.is_some() {
        return Err(Refusal::forbidden(
            "A token of an application credential cannot be used to manage trusts.",
        ));
    }
    Ok(())
}

impl Iam {
    pub async fn create_trust(
        &self,
        actor: &Actor,
        token: &TokenView,
        new: NewTrust,
    ) -> Result<TrustDetail, Failure> {
        self.policy.check(
            actor,
            action::TRUSTS_CREATE,
            &Target::user(&new.trustor_user_id),
        )?;
        check_no_application_credential(token)?;
        let NewTrust {
            trustor_user_id,
            trustee_user_id,
            project_id,
            impersonation,
            roles,
            expires_at,
            remaining_uses,
            allow_redelegation,
            redelegation_count,
        } = new;
        if project_id.is_some() && roles.is_empty() {
            return Err(Refusal::forbidden(
                "At least one role should be specified: a trust lends roles.",
            )
            .into());
        }
        if expires_at.is_some_and(|expiry| expiry <= self.now()) {
            return Err(Refusal::invalid("expires_at is in the past.").into());
        }
        if remaining_uses.is_some_and(|uses| uses < 1) {
            return Err(
                Refusal::invalid("remaining_uses is at least 1, or null for any number.").into(),
            );
        }
        let mut change = self.change().await?;
        record::get::<User>(&mut change, &trustee_user_id)
            .await?
            .ok_or_else(user::missing(&trustee_user_id))?;
        let role_ids = lendable(
            &mut change,
            token,
            &trustor_user_id,
            project_id.as_ref(),
            roles,
        )
        .await?;
        let mut trust = Trust {
            id: new_id(),
            trustor_user_id,
            trustee_user_id,
            project_id,
            impersonation,
            role_ids,
            expires_at,
            remaining_uses,
            redelegation_count: redelegation(allow_redelegation, redelegation_count)?,
            redelegated_trust_id: None,
            deleted_at: None,
        };
        if let Some(through) = &token.trust {
            lend_on(&mut change, &mut trust, &through.id).await?;
        }
        record::insert(&mut change, &trust).await?;
        let detail = detail(&mut change, trust).await?;
        change.commit().await?;
        Ok(detail)
    }

    pub async fn trust(
        &self,
        actor: &Actor,
        token: &TokenView,
        id: &str,
    ) -> Result<TrustDetail, Failure> {
        check_no_application_credential(token)?;
        let mut tx = self.read().await?;
        let found = record::get::<Trust>(&mut tx, id)
            .await?
            .filter(|trust| trust.deleted_at.is_none());
        let trust = match found {
            Some(trust) if is_party(actor, &trust) => trust,
            found => {
                let target = |trust: &Trust| Target::user(&trust.trustor_user_id);
                self.readable(actor, action::TRUSTS_READ, found, target, missing(id))?
            }
        };
        detail(&mut tx, trust).await
    }

    /// Every trust; or those of one trustor or trustee, which that user may see too.
    pub async fn trusts(
        &self,
        actor: &Actor,
        token: &TokenView,
        trustor: Option<&UserId>,
        trustee: Option<&UserId>,
    ) -> Result<Vec<Trust>, Failure> {
        check_no_application_credential(token)?;
        match (trustor, trustee) {
            (None, None) => self
                .policy
                .check(actor, action::TRUSTS_LIST, &Target::cloud())?,
            (Some(user), _) | (None, Some(user)) => {
                self.policy
                    .check(actor, action::TRUSTS_READ, &Target::user(user))?;
            }
        }
        let mut trusts = trust::all(&mut self.read().await?).await?;
        trusts.retain(|trust| {
            trust.deleted_at.is_none()
                && trustor.is_none_or(|user| trust.trustor_user_id == *user)
                && trustee.is_none_or(|user| trust.trustee_user_id == *user)
        });
        Ok(trusts)
    }

    /// Takes a trust back, and those that were lent on from it. Their tokens are void at once.
    pub async fn delete_trust(
        &self,
        actor: &Actor,
        token: &TokenView,
        id: &str,
    ) -> Result<(), Failure> {
        check_no_application_credential(token)?;
        let mut change = self.change().await?;
        let found = record::lock::<Trust>(&mut change, id)
            .await?
            .ok_or_else(missing(id))?;
        if !is_party(actor, &found) && !actor.is_admin() {
            return Err(missing(id)().into());
        }
        self.policy.check(
            actor,
            action::TRUSTS_DELETE,
            &Target::user(&found.trustor_user_id),
        )?;
        let all = trust::all(&mut change).await?;
        let mut open = vec![found.id];
        while let Some(id) = open.pop() {
            open.extend(
                all.iter()
                    .filter(|one| one.redelegated_trust_id.as_ref() == Some(&id))
                    .map(|one| one.id.clone()),
            );
            record::delete::<Trust>(&mut change, &id).await?;
        }
        change.commit().await
    }
}

fn redelegation(allowed: bool, count: Option<i64>) -> Result<i64, Refusal> {
    let count = if allowed {
        count.unwrap_or(MAX_REDELEGATIONS)
    } else {
        0
    };
    if !(0..=MAX_REDELEGATIONS).contains(&count) {
        return Err(Refusal::forbidden(format!(
            "Requested redelegation depth of {count} is greater than allowed {MAX_REDELEGATIONS}."
        )));
    }
    Ok(count)
}

/// The roles that are lent: each one that the trustor has on the project.
async fn lendable(
    tx: &mut Tx,
    token: &TokenView,
    trustor: &UserId,
    project: Option<&ProjectId>,
    wanted: Vec<RoleRef>,
) -> Result<Vec<RoleId>, Failure> {
    let Some(project) = project else {
        return Ok(Vec::new());
    };
    let found = record::get::<Project>(tx, project).await?;
    let project =
        found.ok_or_else(|| Refusal::not_found(format!("Could not find project: {project}.")))?;
    let place = Place::of_project(tx, &project).await?;
    let held = RoleBook::load(tx)
        .await?
        .closure(roles_at(tx, trustor, &place).await?);
    let all = role::all(tx).await?;
    let mut ids = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let (RoleRef::Id(RoleId(text)) | RoleRef::Name(text)) = &wanted;
        let role = all.iter().find(|role| match &wanted {
            RoleRef::Id(id) => role.id == *id,
            RoleRef::Name(name) => role.domain_id.is_none() && role.name.eq_ignore_ascii_case(name),
        });
        let lent =
            |role: &Role| token.trust.is_none() || token.roles.iter().any(|one| one.id == role.id);
        let role = role.filter(|role| held.contains(&role.id) && lent(role));
        let role = role.ok_or_else(|| {
            Refusal::not_found(format!(
                "Could not find role: {text}. Lend a role that you have."
            ))
        })?;
        ids.push(role.id.clone());
    }
    Ok(ids)
}

/// A trust made with a token of a trust lends on what that one lent, and no more.
async fn lend_on(tx: &mut Tx, trust: &mut Trust, through: &str) -> Result<(), Failure> {
    let source = record::get::<Trust>(tx, through)
        .await?
        .ok_or_else(missing(through))?;
    let refused = |why: &str| -> Failure {
        Refusal::forbidden(format!("Trust {through} cannot be lent on: {why}.")).into()
    };
    if source.redelegation_count < 1 {
        return Err(refused(
            "its trustor did not allow it, or it was lent on often enough",
        ));
    }
    if source.project_id != trust.project_id
        || !trust
            .role_ids
            .iter()
            .all(|role| source.role_ids.contains(role))
    {
        return Err(refused(
            "only the same project and some of its roles can be",
        ));
    }
    if trust.impersonation && !source.impersonation {
        return Err(refused("it does not impersonate"));
    }
    if let Some(limit) = source.expires_at
        && trust.expires_at.is_none_or(|expiry| expiry > limit)
    {
        return Err(refused(
            "the new trust would outlive it; give an earlier expires_at",
        ));
    }
    if source.remaining_uses.is_some() && trust.remaining_uses.is_some() {
        return Err(refused("remaining_uses must not be set"));
    }
    trust.redelegation_count = trust.redelegation_count.min(source.redelegation_count - 1);
    trust.redelegated_trust_id = Some(source.id);
    Ok(())
}

async fn detail(tx: &mut Tx, trust: Trust) -> Result<TrustDetail, Failure> {
    let mut roles = Vec::new();
    for id in &trust.role_ids {
        roles.extend(record::get::<Role>(tx, id).await?);
    }
    Ok(TrustDetail { trust, roles })
}
