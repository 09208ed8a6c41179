//! Users and their passwords.

use crate::Iam;
use crate::access::{home_domain, list_domain, list_target};
use crate::action::identity as action;
use crate::actor::Actor;
use crate::domain;
use crate::naming::{Given, check_name, give, merge_extra, taken};
use crate::policy::Target;
use corten_model::ids::{DomainId, ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::identity::assignment::{self, Holder};
use corten_store::identity::user::{User, UserOptions};
use corten_store::identity::{Extra, name_key};
use corten_store::{Failure, Query, record};

pub struct NewUser {
    pub name: String,
    pub domain_id: Option<DomainId>,
    pub password: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub default_project_id: Option<ProjectId>,
    pub options: UserOptions,
    pub extra: Extra,
}

#[derive(Default)]
pub struct UserChanges {
    pub name: Option<String>,
    pub password: Given<String>,
    pub description: Given<String>,
    pub enabled: Option<bool>,
    pub default_project_id: Given<ProjectId>,
    /// Option by option: null takes one away.
    pub options: Option<serde_json::Map<String, serde_json::Value>>,
    /// Given only to be compared: a user stays in its domain.
    pub domain_id: Option<DomainId>,
    pub extra: Extra,
}

#[derive(Default)]
pub struct UserFilter {
    pub domain_id: Option<DomainId>,
    pub name: Option<String>,
}

pub(crate) fn missing(id: &UserId) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find user: {id}."))
}

pub(crate) fn target(user: &User) -> Target {
    Target::domain(&user.domain_id).owned_by(&user.id)
}

/// The methods that a multi-factor rule can ask for, because this cloud has them.
const METHODS: [&str; 3] = ["password", "token", "application_credential"];

fn check_options(options: &UserOptions) -> Result<(), Refusal> {
    for rule in options.multi_factor_auth_rules.iter().flatten() {
        if rule.is_empty() {
            return Err(Refusal::invalid(
                "options.multi_factor_auth_rules: a rule names at least one method.",
            ));
        }
        if let Some(unknown) = rule
            .iter()
            .find(|method| !METHODS.contains(&method.as_str()))
        {
            return Err(Refusal::invalid(format!(
                "options.multi_factor_auth_rules: '{unknown}' is not a method of this cloud; there are {}.",
                METHODS.join(", ")
            )));
        }
    }
    Ok(())
}

fn merge_options(
    options: &UserOptions,
    changes: serde_json::Map<String, serde_json::Value>,
) -> Result<UserOptions, Failure> {
    let mut merged = match serde_json::to_value(options) {
        Ok(serde_json::Value::Object(fields)) => fields,
        Ok(_) => Extra::new(),
        Err(error) => return Err(Failure::outside("merging a user's options", error)),
    };
    merge_extra(&mut merged, changes);
    let merged: UserOptions =
        serde_json::from_value(serde_json::Value::Object(merged)).map_err(|error| {
            Refusal::invalid(format!(
                "Invalid input for field/attribute user.options. {error}"
            ))
        })?;
    check_options(&merged)?;
    Ok(merged)
}

impl Iam {
    pub async fn create_user(&self, actor: &Actor, new: NewUser) -> Result<User, Failure> {
        let NewUser {
            name,
            domain_id,
            password,
            description,
            enabled,
            default_project_id,
            options,
            extra,
        } = new;
        let domain_id = domain_id.unwrap_or_else(|| home_domain(actor));
        self.policy
            .check(actor, action::USERS_WRITE, &Target::domain(&domain_id))?;
        check_name("user", &name)?;
        check_options(&options)?;
        let hash = match &password {
            Some(password) => {
                self.rules.check_form(password)?;
                Some(self.hasher.hash(password).await?)
            }
            None => None,
        };
        let mut user = User {
            id: UserId::random(),
            domain_id,
            name,
            description,
            enabled,
            default_project_id,
            options,
            extra,
            passwords: Vec::new(),
            failed_logins: 0,
            last_failed_login: None,
            tokens_valid_after: Timestamp(0),
        };
        if let Some(hash) = hash {
            self.rules.put(&mut user, hash, self.now(), false);
        }
        let mut change = self.change().await?;
        domain::existing(&mut change, &user.domain_id).await?;
        record::insert(&mut change, &user)
            .await
            .map_err(taken("user", &user.name))?;
        change.commit().await?;
        Ok(user)
    }

    pub async fn user(&self, actor: &Actor, id: &UserId) -> Result<User, Failure> {
        let found = record::get::<User>(&mut self.read().await?, id).await?;
        Ok(self.readable(actor, action::USERS_READ, found, target, missing(id))?)
    }

    /// The users that pass the filter; for a domain-scoped token, those of that domain.
    pub async fn users(&self, actor: &Actor, filter: UserFilter) -> Result<Vec<User>, Failure> {
        self.policy
            .check(actor, action::USERS_LIST, &list_target(actor))?;
        let UserFilter { domain_id, name } = filter;
        let mut query = Query::<User>::new();
        for id in list_domain(actor).into_iter().chain(&domain_id) {
            query = query.equals("domain_id", id);
        }
        if let Some(name) = name {
            query = query.equals("name_key", name_key(&name));
        }
        Ok(query.all(&mut self.read().await?).await?)
    }

    pub async fn update_user(
        &self,
        actor: &Actor,
        id: &UserId,
        changes: UserChanges,
    ) -> Result<User, Failure> {
        let UserChanges {
            name,
            password,
            description,
            enabled,
            default_project_id,
            options,
            domain_id,
            extra,
        } = changes;
        let hash = match &password {
            Some(Some(password)) => {
                self.may_update_user(actor, id).await?;
                self.rules.check_form(password)?;
                Some(self.hasher.hash(password).await?)
            }
            Some(None) | None => None,
        };
        let mut change = self.change().await?;
        let found = record::lock::<User>(&mut change, id).await?;
        let mut user = self.writable(actor, action::USERS_WRITE, found, target, missing(id))?;
        self.check_not_above(&mut change, actor, &Holder::User(id.clone()))
            .await?;
        if domain_id.is_some_and(|wanted| wanted != user.domain_id) {
            return Err(Refusal::invalid(
                "domain_id cannot be changed: a user stays in its domain.",
            )
            .into());
        }
        if let Some(name) = name {
            check_name("user", &name)?;
            user.name = name;
        }
        if let Some(options) = options {
            user.options = merge_options(&user.options, options)?;
        }
        give(&mut user.description, description);
        give(&mut user.default_project_id, default_project_id);
        if let Some(enabled) = enabled {
            self.set_user_enabled(&mut user, enabled);
        }
        match hash {
            Some(hash) => {
                self.rules.put(&mut user, hash, self.now(), false);
                user.tokens_valid_after = self.now();
                user.failed_logins = 0;
            }
            None if password == Some(None) => user.passwords.clear(),
            None => {}
        }
        merge_extra(&mut user.extra, extra);
        record::update(&mut change, &user)
            .await
            .map_err(taken("user", &user.name))?;
        change.commit().await?;
        Ok(user)
    }

    /// Asked before a password is hashed: whoever may not set it shall not make us work.
    async fn may_update_user(&self, actor: &Actor, id: &UserId) -> Result<(), Failure> {
        let found = record::get::<User>(&mut self.read().await?, id).await?;
        self.writable(actor, action::USERS_WRITE, found, target, missing(id))?;
        Ok(())
    }

    /// Disabling voids the tokens that are out, also for later; enabling unlocks an account.
    fn set_user_enabled(&self, user: &mut User, enabled: bool) {
        if user.enabled && !enabled {
            user.tokens_valid_after = self.now();
        }
        if enabled {
            user.failed_logins = 0;
            user.last_failed_login = None;
        }
        user.enabled = enabled;
    }

    /// Deletes a user with what belongs to them: memberships, credentials, trusts and application credentials go with
    /// the row.
    pub async fn delete_user(&self, actor: &Actor, id: &UserId) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<User>(&mut change, id).await?;
        self.writable(actor, action::USERS_WRITE, found, target, missing(id))?;
        self.check_not_above(&mut change, actor, &Holder::User(id.clone()))
            .await?;
        assignment::forget_holder(&mut change, &Holder::User(id.clone())).await?;
        record::delete::<User>(&mut change, id).await?;
        change.commit().await
    }

    /// A user changes their own password. The old one is the proof; no token is needed, and an expired password will
    /// do. All tokens of the user are void afterwards.
    pub async fn change_password(
        &self,
        id: &UserId,
        original: &str,
        new: &str,
    ) -> Result<(), Failure> {
        let user = self.prove_own_password(id, original).await?;
        if user.options.lock_password == Some(true) {
            return Err(Refusal::forbidden(format!(
                "The password of user {id} is locked: an administrator has to change it (option lock_password)."
            ))
            .into());
        }
        self.rules.check_form(new)?;
        self.rules.check_age(&user, self.now())?;
        self.rules.check_history(&user, new, &self.hasher).await?;
        let hash = self.hasher.hash(new).await?;
        let mut change = self.change().await?;
        let mut locked = record::lock::<User>(&mut change, id)
            .await?
            .ok_or_else(missing(id))?;
        if locked.passwords != user.passwords {
            return Err(Refusal::conflict(
                "The password was changed by somebody else at this moment; try again.",
            )
            .into());
        }
        self.rules.put(&mut locked, hash, self.now(), true);
        locked.tokens_valid_after = self.now();
        record::update(&mut change, &locked).await?;
        change.commit().await
    }
}
