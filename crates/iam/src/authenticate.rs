//! From proofs of identity and a wish for a scope to a token.
//!
//! A refusal before the user has proved who they are is always the same text, and takes as long for a user who does
//! not exist: a stranger learns nothing. After that, refusals explain.

use crate::Iam;
use crate::token::{self, Payload, ScopeRef};
use crate::view::{ScopeView, TokenView};
use corten_model::ids::{DomainId, ProjectId, UserId};
use corten_model::refusal::{Reason, Refusal};
use corten_model::time::Timestamp;
use corten_store::identity::application_credential::{self, ApplicationCredential};
use corten_store::identity::project::{self, Project};
use corten_store::identity::trust::Trust;
use corten_store::identity::user::{self, User};
use corten_store::{Failure, Tx, record};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainRef {
    Id(DomainId),
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    Id(UserId),
    Name { name: String, domain: DomainRef },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectRef {
    Id(ProjectId),
    Name { name: String, domain: DomainRef },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplicationCredentialRef {
    Id(String),
    Name { name: String, user: UserRef },
}

/// What somebody shows to say who they are.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    Password {
        user: UserRef,
        password: String,
    },
    Token(String),
    ApplicationCredential {
        credential: ApplicationCredentialRef,
        secret: String,
    },
}

/// What the token is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeWish {
    /// Nothing said: the project of the application credential, the user's default project, or no scope.
    Default,
    Unscoped,
    Project(ProjectRef),
    Domain(DomainRef),
    System,
    /// OS-TRUST.
    Trust(String),
}

/// A fresh token: the text for its bearer, and what it says.
pub struct IssuedToken {
    pub text: String,
    pub view: Arc<TokenView>,
}

/// What the proofs have shown.
struct Proven {
    user_id: UserId,
    methods: Vec<String>,
    application_credential: Option<ApplicationCredential>,
    /// The token that this one is made from.
    parent: Option<Arc<TokenView>>,
}

fn unproven() -> Failure {
    Refusal::unauthenticated("The request you have made requires authentication.").into()
}

impl Iam {
    /// Checks the proofs (all must be of the same user) and issues a token for the scope wished for.
    pub async fn authenticate(
        &self,
        proofs: &[Proof],
        wish: &ScopeWish,
    ) -> Result<IssuedToken, Failure> {
        let mut proven: Option<Proven> = None;
        for proof in proofs {
            let next = self.prove(proof).await?;
            proven = Some(match proven {
                None => next,
                Some(before) => before.and(next)?,
            });
        }
        let proven = proven.ok_or_else(unproven)?;
        if let ScopeWish::Trust(id) = wish {
            return self.issue_through_trust(&proven, id).await;
        }
        let mut tx = self.read().await?;
        self.check_methods(&mut tx, &proven).await?;
        let view = match wish {
            ScopeWish::Default => self.resolve_default(&mut tx, &proven).await?,
            wish => {
                let scope = scope_ref(&mut tx, wish).await?;
                proven.check_scope(&scope)?;
                self.resolve_new(&mut tx, self.payload(&proven, scope))
                    .await?
            }
        };
        self.seal(view)
    }

    async fn prove(&self, proof: &Proof) -> Result<Proven, Failure> {
        match proof {
            Proof::Password { user, password } => self.prove_password(user, password).await,
            Proof::Token(text) => self.prove_token(text).await,
            Proof::ApplicationCredential { credential, secret } => {
                self.prove_application_credential(credential, secret).await
            }
        }
    }

    async fn prove_password(&self, user: &UserRef, secret: &str) -> Result<Proven, Failure> {
        let user = self.check_password(user, secret).await?;
        let expires_at = user
            .passwords
            .last()
            .and_then(|password| password.expires_at);
        if expires_at.is_some_and(|expiry| expiry <= self.now()) {
            return Err(Refusal::unauthenticated(format!(
                "The password is expired and needs to be changed for user: {}.",
                user.id
            ))
            .into());
        }
        Ok(Proven {
            user_id: user.id,
            methods: vec!["password".to_owned()],
            application_credential: None,
            parent: None,
        })
    }

    /// The user, who has shown the right password, for changing it: it may have expired, the user must be enabled.
    pub(crate) async fn prove_own_password(
        &self,
        id: &UserId,
        secret: &str,
    ) -> Result<User, Failure> {
        let user = self
            .check_password(&UserRef::Id(id.clone()), secret)
            .await?;
        let domain = project::domain(&mut self.read().await?, &user.domain_id).await?;
        if user.enabled && domain.is_some_and(|domain| domain.enabled) {
            Ok(user)
        } else {
            Err(unproven())
        }
    }

    /// The user, if the password is right and the account is not locked. Wrong ones are counted.
    async fn check_password(&self, user: &UserRef, secret: &str) -> Result<User, Failure> {
        let found = find_user(&mut self.read().await?, user).await?;
        let locked = found.as_ref().is_some_and(|user| self.is_locked(user));
        let current = found
            .as_ref()
            .and_then(|user| user.passwords.last())
            .filter(|_| !locked);
        let right = self
            .hasher
            .verify(secret, current.map(|password| password.hash.as_str()))
            .await?;
        let Some(user) = found else {
            return Err(unproven());
        };
        if !right {
            if !locked {
                self.count_failure(&user.id).await?;
            }
            return Err(unproven());
        }
        self.confirm_password(&user).await?;
        Ok(user)
    }

    /// After a right password: still the same, and not locked by guesses made meanwhile. Forgets earlier failures.
    async fn confirm_password(&self, proven: &User) -> Result<(), Failure> {
        let now_user = record::get::<User>(&mut self.read().await?, &proven.id)
            .await?
            .ok_or_else(unproven)?;
        if self.is_locked(&now_user) || now_user.passwords.last() != proven.passwords.last() {
            return Err(unproven());
        }
        if now_user.failed_logins > 0 {
            let mut tx = self.store.write().await?;
            if let Some(mut user) = record::lock::<User>(&mut tx, &proven.id).await? {
                user.failed_logins = 0;
                user.last_failed_login = None;
                record::update(&mut tx, &user).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    fn is_locked(&self, user: &User) -> bool {
        let attempts = self.config.lockout_failure_attempts;
        if attempts == 0
            || user.failed_logins < attempts
            || user.options.ignore_lockout_failure_attempts == Some(true)
        {
            return false;
        }
        let duration = Duration::from_secs(self.config.lockout_duration_secs);
        duration.is_zero()
            || user
                .last_failed_login
                .is_some_and(|last| self.now() < last.plus(duration))
    }

    /// Counts a wrong password. This changes no token, so the generation stays.
    async fn count_failure(&self, id: &UserId) -> Result<(), Failure> {
        if self.config.lockout_failure_attempts == 0 {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        let Some(mut user) = record::lock::<User>(&mut tx, id).await? else {
            return Ok(());
        };
        let lock_is_over =
            user.failed_logins >= self.config.lockout_failure_attempts && !self.is_locked(&user);
        user.failed_logins = if lock_is_over {
            1
        } else {
            user.failed_logins.saturating_add(1)
        };
        user.last_failed_login = Some(self.now());
        if self.is_locked(&user) {
            tracing::warn!(user = %id, attempts = user.failed_logins, "account locked after wrong passwords");
        }
        record::update(&mut tx, &user).await?;
        Ok(tx.commit().await?)
    }

    async fn prove_token(&self, text: &str) -> Result<Proven, Failure> {
        let view = self.look_up(text).await?;
        if view.trust.is_some() {
            return Err(Refusal::forbidden(
                "A token got through a trust cannot be exchanged for another.",
            )
            .into());
        }
        let application_credential = match &view.application_credential {
            Some(credential) => Some(
                self.live_application_credential(&mut self.read().await?, &credential.id)
                    .await?,
            ),
            None => None,
        };
        let mut methods = view.methods.clone();
        if !methods.iter().any(|method| method == "token") {
            methods.push("token".to_owned());
        }
        Ok(Proven {
            user_id: view.user.id.clone(),
            methods,
            application_credential,
            parent: Some(view),
        })
    }

    async fn prove_application_credential(
        &self,
        credential: &ApplicationCredentialRef,
        secret: &str,
    ) -> Result<Proven, Failure> {
        let found = {
            let mut tx = self.read().await?;
            match credential {
                ApplicationCredentialRef::Id(id) => {
                    record::get::<ApplicationCredential>(&mut tx, id).await?
                }
                ApplicationCredentialRef::Name { name, user } => match find_user(&mut tx, user)
                    .await?
                {
                    Some(user) => application_credential::by_name(&mut tx, &user.id, name).await?,
                    None => None,
                },
            }
        };
        let hash = found
            .as_ref()
            .map(|credential| credential.secret_hash.as_str());
        let right = self.hasher.verify(secret, hash).await?;
        let Some(credential) = found.filter(|_| right) else {
            return Err(unproven());
        };
        if credential
            .expires_at
            .is_some_and(|expiry| expiry <= self.now())
        {
            return Err(Refusal::unauthenticated("The application credential has expired.").into());
        }
        Ok(Proven {
            user_id: credential.user_id.clone(),
            methods: vec!["application_credential".to_owned()],
            application_credential: Some(credential),
            parent: None,
        })
    }

    /// A user may ask that only certain sets of methods open the door.
    async fn check_methods(&self, tx: &mut Tx, proven: &Proven) -> Result<(), Failure> {
        let user = record::get::<User>(tx, &proven.user_id)
            .await?
            .ok_or_else(unproven)?;
        let rules = user.options.multi_factor_auth_rules.unwrap_or_default();
        if user.options.multi_factor_auth_enabled == Some(false) || rules.is_empty() {
            return Ok(());
        }
        if rules
            .iter()
            .any(|rule| rule.iter().all(|method| proven.methods.contains(method)))
        {
            return Ok(());
        }
        Err(unproven())
    }

    fn payload(&self, proven: &Proven, scope: ScopeRef) -> Payload {
        let issued_at = self.now();
        let mut audit_ids = vec![token::audit_id()];
        let mut expires_at = issued_at.plus(Duration::from_secs(self.config.token_lifetime_secs));
        if let Some(parent) = &proven.parent {
            audit_ids.extend(parent.audit_ids.last().cloned());
            expires_at = parent.expires_at;
        }
        // A token that outlived its credential would be remembered as good.
        if let Some(expiry) = proven
            .application_credential
            .as_ref()
            .and_then(|credential| credential.expires_at)
        {
            expires_at = expires_at.min(expiry);
        }
        Payload {
            user_id: proven.user_id.clone(),
            methods: proven.methods.clone(),
            scope,
            audit_ids,
            issued_at,
            expires_at,
            application_credential_id: proven
                .application_credential
                .as_ref()
                .map(|credential| credential.id.clone()),
            trust_id: None,
        }
    }

    async fn resolve_default(
        &self,
        tx: &mut Tx,
        proven: &Proven,
    ) -> Result<(Payload, TokenView), Failure> {
        if let Some(credential) = &proven.application_credential {
            let scope = ScopeRef::Project(credential.project_id.clone());
            return self.resolve_new(tx, self.payload(proven, scope)).await;
        }
        let user = record::get::<User>(tx, &proven.user_id)
            .await?
            .ok_or_else(unproven)?;
        if let Some(project) = user.default_project_id {
            match self
                .resolve_new(tx, self.payload(proven, ScopeRef::Project(project)))
                .await
            {
                // A default that does not work is no reason to keep the user out.
                Err(Failure::Refused(refusal)) if refusal.reason == Reason::Unauthenticated => {}
                other => return other,
            }
        }
        self.resolve_new(tx, self.payload(proven, ScopeRef::Unscoped))
            .await
    }

    async fn resolve_new(
        &self,
        tx: &mut Tx,
        payload: Payload,
    ) -> Result<(Payload, TokenView), Failure> {
        let view = self.resolve(tx, &payload).await?;
        Ok((payload, view))
    }

    fn seal(&self, (payload, view): (Payload, TokenView)) -> Result<IssuedToken, Failure> {
        let text = payload
            .seal(&self.token_keys)
            .map_err(|error| Failure::outside("writing a token", error))?;
        Ok(IssuedToken {
            text,
            view: Arc::new(view),
        })
    }

    /// OS-TRUST: the trustee gets a token with the roles lent.
    async fn issue_through_trust(&self, proven: &Proven, id: &str) -> Result<IssuedToken, Failure> {
        if proven.application_credential.is_some() {
            return Err(Refusal::forbidden("An application credential cannot use a trust.").into());
        }
        let mut change = self.change().await?;
        let trust = record::lock::<Trust>(&mut change, id).await?;
        let Some(mut trust) = trust.filter(|trust| trust.trustee_user_id == proven.user_id) else {
            return Err(Refusal::forbidden(format!(
                "Trust {id} does not exist, or you are not its trustee."
            ))
            .into());
        };
        self.check_methods(&mut change, proven).await?;
        let scope = trust
            .project_id
            .clone()
            .map_or(ScopeRef::Unscoped, ScopeRef::Project);
        let user_id = if trust.impersonation {
            &trust.trustor_user_id
        } else {
            &trust.trustee_user_id
        };
        let mut payload = Payload {
            user_id: user_id.clone(),
            trust_id: Some(trust.id.clone()),
            ..self.payload(proven, scope)
        };
        if let Some(expiry) = trust.expires_at {
            payload.expires_at = payload.expires_at.min(expiry);
        }
        let resolved = self
            .resolve_new(&mut change, payload)
            .await
            .map_err(as_forbidden)?;
        if let Some(remaining) = trust.remaining_uses {
            if remaining < 1 {
                return Err(Refusal::forbidden(format!(
                    "Trust {id} has been used as often as it may be."
                ))
                .into());
            }
            trust.remaining_uses = Some(remaining - 1);
            record::update(&mut change, &trust).await?;
            change.commit().await?;
        }
        self.seal(resolved)
    }
}

/// The user has proved who they are; what fails after that is the trust, not the log-in.
fn as_forbidden(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(refusal) => Refusal {
            reason: Reason::Forbidden,
            ..refusal
        }
        .into(),
        other => other,
    }
}

impl Proven {
    /// Two proofs together: of the same user, and the token of one is the parent.
    fn and(self, other: Self) -> Result<Self, Failure> {
        if self.user_id != other.user_id {
            return Err(unproven());
        }
        let mut methods = self.methods;
        for method in other.methods {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        Ok(Self {
            user_id: self.user_id,
            methods,
            application_credential: self.application_credential.or(other.application_credential),
            parent: self.parent.or(other.parent),
        })
    }

    /// An application credential is good for its own project only.
    fn check_scope(&self, scope: &ScopeRef) -> Result<(), Refusal> {
        let Some(credential) = &self.application_credential else {
            return Ok(());
        };
        if *scope == ScopeRef::Project(credential.project_id.clone()) {
            return Ok(());
        }
        Err(Refusal::unauthenticated(format!(
            "Application credential {} is good for project {} only; ask for no scope, or for that one.",
            credential.id, credential.project_id
        )))
    }
}

async fn find_domain(tx: &mut Tx, domain: &DomainRef) -> Result<Option<Project>, Failure> {
    Ok(match domain {
        DomainRef::Id(id) => project::domain(tx, id).await?,
        DomainRef::Name(name) => project::domain_by_name(tx, name).await?,
    })
}

async fn find_user(tx: &mut Tx, user: &UserRef) -> Result<Option<User>, Failure> {
    match user {
        UserRef::Id(id) => Ok(record::get(tx, id).await?),
        UserRef::Name { name, domain } => match find_domain(tx, domain).await? {
            Some(domain) => Ok(user::by_name(tx, &domain.domain(), name).await?),
            None => Ok(None),
        },
    }
}

async fn scope_ref(tx: &mut Tx, wish: &ScopeWish) -> Result<ScopeRef, Failure> {
    let missing = |kind: &str, name: &str| -> Failure {
        Refusal::unauthenticated(format!(
            "There is no {kind} '{name}' that you have access to."
        ))
        .into()
    };
    Ok(match wish {
        ScopeWish::Default | ScopeWish::Unscoped | ScopeWish::Trust(_) => ScopeRef::Unscoped,
        ScopeWish::System => ScopeRef::System,
        ScopeWish::Domain(DomainRef::Id(id)) => ScopeRef::Domain(id.clone()),
        ScopeWish::Domain(DomainRef::Name(name)) => {
            let domain = project::domain_by_name(tx, name)
                .await?
                .ok_or_else(|| missing("domain", name))?;
            ScopeRef::Domain(domain.domain())
        }
        ScopeWish::Project(ProjectRef::Id(id)) => ScopeRef::Project(id.clone()),
        ScopeWish::Project(ProjectRef::Name { name, domain }) => {
            let domain = find_domain(tx, domain)
                .await?
                .ok_or_else(|| missing("project", name))?;
            let project = project::by_name(tx, &domain.domain(), name).await?;
            ScopeRef::Project(project.ok_or_else(|| missing("project", name))?.id)
        }
    })
}

impl TokenView {
    /// Whether the token may be used before this moment only.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    pub fn is_unscoped(&self) -> bool {
        self.scope == ScopeView::Unscoped
    }
}
