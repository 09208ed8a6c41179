//! From a token's text to its bearer: is it ours, is it revoked, is everything it names still there and enabled, and
//! which roles does it carry now?

use crate::Iam;
use crate::access_rule;
use crate::actor::Actor;
use crate::policy::Target;
use crate::role_book::{Place, RoleBook, roles_at};
use crate::token::{Payload, ScopeRef};
use crate::view::{
    ApplicationCredentialView, ProjectView, Reference, ScopeView, TokenView, TrustView, UserView,
};
use crate::{action, token};
use corten_model::ids::{DomainId, RequestId, RoleId, UserId};
use corten_model::refusal::{Reason, Refusal};
use corten_model::time::Timestamp;
use corten_store::identity;
use corten_store::identity::application_credential::ApplicationCredential;
use corten_store::identity::project::{self, Project};
use corten_store::identity::revocation::{self, Revocation};
use corten_store::identity::trust::Trust;
use corten_store::identity::user::User;
use corten_store::{Failure, Tx, record};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The text for a token that is none, or none any more. It does not say which: the bearer of a stolen token learns
/// nothing.
const INVALID: &str = "The request you have made requires authentication.";

/// A request, as far as access rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    pub method: &'a str,
    /// From the root of the listener: `/compute/v2.1/servers`.
    pub path: &'a str,
}

impl Iam {
    /// The bearer of a token, for requests that no access rule can allow or forbid. A token with access rules is
    /// refused here; see [`Self::admit`].
    pub async fn validate(&self, token: &str, request_id: RequestId) -> Result<Actor, Failure> {
        let view = self.bearer(token).await?;
        if view
            .application_credential
            .as_ref()
            .is_some_and(|credential| credential.access_rules.is_some())
        {
            return Err(Refusal::forbidden(
                "This token comes from an application credential with access rules, which this call cannot check.",
            )
            .into());
        }
        Ok(view.actor(request_id))
    }

    /// The bearer of a token that comes with a request. 401 if the token is not good; 403 if it comes from an
    /// application credential whose access rules do not allow the request.
    pub async fn admit(&self, token: &str, visit: Visit<'_>) -> Result<Arc<TokenView>, Failure> {
        let view = self.bearer(token).await?;
        let rules = view
            .application_credential
            .as_ref()
            .and_then(|credential| credential.access_rules.as_ref());
        if let Some(rules) = rules
            && !rules.iter().any(|rule| access_rule::allows(rule, visit))
        {
            return Err(Refusal::forbidden(format!(
                "No access rule of this application credential allows {} {}.",
                visit.method, visit.path
            ))
            .into());
        }
        Ok(view)
    }

    async fn bearer(&self, token: &str) -> Result<Arc<TokenView>, Failure> {
        self.look_up(token).await.map_err(|failure| match failure {
            Failure::Refused(refusal) if refusal.reason == Reason::NotFound => {
                Refusal::unauthenticated(INVALID).into()
            }
            other => other,
        })
    }

    /// What `actor` may learn about a token: everything, if it is theirs, or if they are a service or administrator.
    pub async fn inspect(&self, actor: &Actor, subject: &str) -> Result<Arc<TokenView>, Failure> {
        let view = self.look_up(subject).await?;
        self.policy.check(
            actor,
            action::identity::TOKENS_VALIDATE,
            &Target::user(&view.user.id),
        )?;
        Ok(view)
    }

    /// Revokes one token.
    pub async fn revoke(&self, actor: &Actor, subject: &str) -> Result<(), Failure> {
        let view = self.look_up(subject).await?;
        self.policy.check(
            actor,
            action::identity::TOKENS_REVOKE,
            &Target::user(&view.user.id),
        )?;
        let Some(audit_id) = view.audit_ids.first().cloned() else {
            return Ok(());
        };
        let mut change = self.change().await?;
        revocation::purge(&mut change, self.now()).await?;
        let revocation = Revocation {
            audit_id,
            revoked_at: self.now(),
            expires_at: view.expires_at,
        };
        match record::insert(&mut change, &revocation).await {
            Ok(()) => change.commit().await,
            // Another request was faster; the transaction holds nothing that is worth keeping.
            Err(corten_store::Error::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The single revocations that still matter, for `OS-REVOKE`.
    pub async fn revocations(&self, actor: &Actor) -> Result<Vec<Revocation>, Failure> {
        self.policy
            .check(actor, action::identity::TOKENS_VALIDATE, &Target::cloud())?;
        Ok(revocation::all(&mut self.read().await?).await?)
    }

    /// What a token says. 404 if it is not, or no longer, a token.
    pub(crate) async fn look_up(&self, token: &str) -> Result<Arc<TokenView>, Failure> {
        let now = self.now();
        let mut tx = self.read().await?;
        let generation = identity::generation(&mut tx).await?;
        if let Some(view) = self.cache.get(generation, token) {
            if view.expires_at <= now {
                return Err(gone());
            }
            return Ok(view);
        }
        let payload = token::Payload::open(token, &self.token_keys).ok_or_else(gone)?;
        let audit_id = payload.audit_ids.first().ok_or_else(gone)?;
        if payload.expires_at <= now || revocation::is_revoked(&mut tx, audit_id).await? {
            return Err(gone());
        }
        let view = self
            .resolve(&mut tx, &payload)
            .await
            .map_err(|failure| match failure {
                Failure::Refused(refusal) => {
                    tracing::debug!(reason = %refusal, "a token is no longer good");
                    gone()
                }
                other => other,
            })?;
        let view = Arc::new(view);
        self.cache.put(generation, token, view.clone());
        Ok(view)
    }

    /// Looks up everything a token names; refused if one of them is gone, disabled or newer than the token.
    pub(crate) async fn resolve(
        &self,
        tx: &mut Tx,
        payload: &Payload,
    ) -> Result<TokenView, Failure> {
        let user = enabled_user(tx, &payload.user_id, payload.issued_at).await?;
        let user_domain = enabled_domain(tx, &user.domain_id, payload.issued_at).await?;
        let application_credential = match &payload.application_credential_id {
            Some(id) => Some(self.live_application_credential(tx, id).await?),
            None => None,
        };
        let trust = match &payload.trust_id {
            Some(id) => Some(self.live_trust(tx, id, payload.issued_at).await?),
            None => None,
        };
        let (scope, place) = resolve_scope(tx, &payload.scope, payload.issued_at).await?;
        let roles = match place {
            Some(place) => {
                let limit = application_credential
                    .as_ref()
                    .map(|credential| credential.role_ids.as_slice())
                    .or(trust.as_ref().map(|trust| trust.role_ids.as_slice()));
                let giver = trust
                    .as_ref()
                    .map_or(&user.id, |trust| &trust.trustor_user_id);
                let roles = roles_in_force(tx, giver, &place, limit).await?;
                if roles.is_empty() {
                    return Err(Refusal::unauthenticated(format!(
                        "User {} has no access to the scope asked for, or it does not exist or is disabled.",
                        user.id
                    ))
                    .into());
                }
                roles
            }
            None => Vec::new(),
        };
        Ok(TokenView {
            user: UserView {
                password_expires_at: user
                    .passwords
                    .last()
                    .and_then(|password| password.expires_at),
                id: user.id,
                name: user.name,
                domain: Reference {
                    id: user.domain_id,
                    name: user_domain.name,
                },
            },
            scope,
            roles,
            methods: payload.methods.clone(),
            audit_ids: payload.audit_ids.clone(),
            issued_at: payload.issued_at,
            expires_at: payload.expires_at,
            application_credential: match application_credential {
                Some(credential) => Some(credential_view(tx, credential).await?),
                None => None,
            },
            trust: trust.map(|trust| TrustView {
                id: trust.id,
                trustor_user_id: trust.trustor_user_id,
                trustee_user_id: trust.trustee_user_id,
                impersonation: trust.impersonation,
                redelegation_count: trust.redelegation_count,
            }),
        })
    }

    pub(crate) async fn live_application_credential(
        &self,
        tx: &mut Tx,
        id: &str,
    ) -> Result<ApplicationCredential, Failure> {
        let credential = record::get::<ApplicationCredential>(tx, id)
            .await?
            .ok_or_else(|| {
                Refusal::unauthenticated("The application credential does not exist.")
            })?;
        if credential
            .expires_at
            .is_some_and(|expiry| expiry <= self.now())
        {
            return Err(Refusal::unauthenticated("The application credential has expired.").into());
        }
        Ok(credential)
    }

    /// A trust that can be used now: not expired, both users there and enabled.
    pub(crate) async fn live_trust(
        &self,
        tx: &mut Tx,
        id: &str,
        issued_at: Timestamp,
    ) -> Result<Trust, Failure> {
        let trust = record::get::<Trust>(tx, id)
            .await?
            .filter(|trust| trust.deleted_at.is_none());
        let trust = trust.ok_or_else(|| Refusal::unauthenticated("The trust does not exist."))?;
        if trust.expires_at.is_some_and(|expiry| expiry <= self.now()) {
            return Err(Refusal::unauthenticated("The trust has expired.").into());
        }
        for user in [&trust.trustor_user_id, &trust.trustee_user_id] {
            let user = enabled_user(tx, user, issued_at).await?;
            enabled_domain(tx, &user.domain_id, issued_at).await?;
        }
        Ok(trust)
    }
}

fn gone() -> Failure {
    Refusal::not_found("Failed to validate token: it is not, or no longer, a valid token.").into()
}

async fn enabled_user(tx: &mut Tx, id: &UserId, issued_at: Timestamp) -> Result<User, Failure> {
    let user = record::get::<User>(tx, id)
        .await?
        .filter(|user| user.enabled);
    let user = user.ok_or_else(|| {
        Refusal::unauthenticated(format!("User {id} does not exist or is disabled."))
    })?;
    if issued_at < user.tokens_valid_after {
        return Err(
            Refusal::unauthenticated(format!("The tokens of user {id} were revoked.")).into(),
        );
    }
    Ok(user)
}

pub(crate) async fn enabled_domain(
    tx: &mut Tx,
    id: &DomainId,
    issued_at: Timestamp,
) -> Result<Project, Failure> {
    let domain = project::domain(tx, id)
        .await?
        .filter(|domain| domain.enabled);
    let domain = domain.ok_or_else(|| {
        Refusal::unauthenticated(format!("Domain {id} does not exist or is disabled."))
    })?;
    if issued_at < domain.tokens_valid_after {
        return Err(
            Refusal::unauthenticated(format!("The tokens of domain {id} were revoked.")).into(),
        );
    }
    Ok(domain)
}

async fn resolve_scope(
    tx: &mut Tx,
    scope: &ScopeRef,
    issued_at: Timestamp,
) -> Result<(ScopeView, Option<Place>), Failure> {
    match scope {
        ScopeRef::Unscoped => Ok((ScopeView::Unscoped, None)),
        ScopeRef::System => Ok((ScopeView::System, Some(Place::System))),
        ScopeRef::Domain(id) => {
            let domain = enabled_domain(tx, id, issued_at).await?;
            Ok((
                ScopeView::Domain(Reference {
                    id: id.clone(),
                    name: domain.name,
                }),
                Some(Place::Domain(id.clone())),
            ))
        }
        ScopeRef::Project(id) => {
            let found = record::get::<Project>(tx, id)
                .await?
                .filter(|project| project.enabled && !project.is_domain);
            let project = found.ok_or_else(|| {
                Refusal::unauthenticated(format!("Project {id} does not exist or is disabled."))
            })?;
            if issued_at < project.tokens_valid_after {
                return Err(Refusal::unauthenticated(format!(
                    "The tokens of project {id} were revoked."
                ))
                .into());
            }
            let domain = enabled_domain(tx, &project.domain(), issued_at).await?;
            let place = Place::of_project(tx, &project).await?;
            let domain = Reference {
                id: project.domain(),
                name: domain.name,
            };
            Ok((
                ScopeView::Project(ProjectView {
                    id: project.id,
                    name: project.name,
                    domain,
                }),
                Some(place),
            ))
        }
    }
}

/// The roles a user has at a place, within a limit if power was lent.
async fn roles_in_force(
    tx: &mut Tx,
    user: &UserId,
    place: &Place,
    limit: Option<&[RoleId]>,
) -> Result<Vec<Reference<RoleId>>, Failure> {
    let given = roles_at(tx, user, place).await?;
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let book = RoleBook::load(tx).await?;
    let roles: BTreeSet<RoleId> = match limit {
        Some(limit) => {
            let held = book.closure(given);
            limit
                .iter()
                .filter(|role| held.contains(role))
                .cloned()
                .collect()
        }
        None => given,
    };
    let effective = book.effective(roles);
    Ok(effective
        .into_iter()
        .map(|role| Reference {
            id: role.id.clone(),
            name: role.name.clone(),
        })
        .collect())
}

async fn credential_view(
    tx: &mut Tx,
    credential: ApplicationCredential,
) -> Result<ApplicationCredentialView, Failure> {
    let access_rules = match &credential.access_rule_ids {
        Some(ids) => Some(identity::access_rule::by_ids(tx, ids).await?),
        None => None,
    };
    Ok(ApplicationCredentialView {
        id: credential.id,
        name: credential.name,
        restricted: !credential.unrestricted,
        access_rules,
    })
}
