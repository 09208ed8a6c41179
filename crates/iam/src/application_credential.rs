//! Application credentials and their access rules.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::naming::{check_name, taken};
use crate::policy::Target;
use crate::role_book::RoleBook;
use crate::token;
use crate::view::{ScopeView, TokenView};
use corten_model::ids::{RoleId, UserId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::identity::access_rule::{self, AccessRule};
use corten_store::identity::application_credential::{self, ApplicationCredential};
use corten_store::identity::role::Role;
use corten_store::{Failure, Tx, record};

/// A role by id or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleRef {
    Id(RoleId),
    Name(String),
}

/// An access rule of the user's by its id, or a new one.
pub enum AccessRuleRef {
    Id(String),
    New {
        service: String,
        method: String,
        path: String,
    },
}

pub struct NewApplicationCredential {
    pub name: String,
    pub description: Option<String>,
    /// Made up if absent.
    pub secret: Option<String>,
    /// All of the token's if absent.
    pub roles: Option<Vec<RoleRef>>,
    pub expires_at: Option<Timestamp>,
    pub unrestricted: bool,
    pub access_rules: Option<Vec<AccessRuleRef>>,
}

/// An application credential with what it names.
pub struct ApplicationCredentialDetail {
    pub credential: ApplicationCredential,
    pub roles: Vec<Role>,
    pub access_rules: Option<Vec<AccessRule>>,
}

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find Application Credential: {id}."))
}

fn no_rule(id: &str) -> Refusal {
    Refusal::not_found(format!("Could not find access rule: {id}."))
}

/// The methods an access rule can name.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl Iam {
    /// Makes an application credential of the token's user on the token's project. Gives the secret, once.
    pub async fn create_application_credential(
        &self,
        actor: &Actor,
        token: &TokenView,
        user: &UserId,
        new: NewApplicationCredential,
    ) -> Result<(ApplicationCredentialDetail, String), Failure> {
        self.policy.check(
            actor,
            action::APPLICATION_CREDENTIALS_CREATE,
            &Target::user(user),
        )?;
        check_unrestricted(token)?;
        if token.trust.is_some() {
            return Err(Refusal::forbidden(
                "A token got through a trust cannot make application credentials.",
            )
            .into());
        }
        let ScopeView::Project(project) = &token.scope else {
            return Err(Refusal::invalid(
                "An application credential belongs to a project; use a project-scoped token.",
            )
            .into());
        };
        let NewApplicationCredential {
            name,
            description,
            secret,
            roles,
            expires_at,
            unrestricted,
            access_rules,
        } = new;
        check_name("application credential", &name)?;
        if expires_at.is_some_and(|expiry| expiry <= self.now()) {
            return Err(Refusal::invalid("expires_at is in the past.").into());
        }
        let secret = secret.unwrap_or_else(token::secret);
        let secret_hash = self.hasher.hash(&secret).await?;
        let mut change = self.change().await?;
        let book = RoleBook::load(&mut change).await?;
        let role_ids = match roles {
            Some(roles) => held_roles(token, roles)?,
            None => token.roles.iter().map(|role| role.id.clone()).collect(),
        };
        let mut rule_ids = None;
        if let Some(rules) = access_rules {
            let mut ids = Vec::with_capacity(rules.len());
            for rule in rules {
                ids.push(ensure_rule(&mut change, user, rule).await?);
            }
            rule_ids = Some(ids);
        }
        let credential = ApplicationCredential {
            id: new_id(),
            name,
            description,
            user_id: user.clone(),
            project_id: project.id.clone(),
            role_ids,
            expires_at,
            unrestricted,
            access_rule_ids: rule_ids,
            secret_hash,
        };
        record::insert(&mut change, &credential)
            .await
            .map_err(taken("application credential", &credential.name))?;
        let detail = detail(&mut change, &book, credential).await?;
        change.commit().await?;
        Ok((detail, secret))
    }

    pub async fn application_credentials(
        &self,
        actor: &Actor,
        user: &UserId,
    ) -> Result<Vec<ApplicationCredentialDetail>, Failure> {
        self.policy.check(
            actor,
            action::APPLICATION_CREDENTIALS_READ,
            &Target::user(user),
        )?;
        let mut tx = self.read().await?;
        let book = RoleBook::load(&mut tx).await?;
        let mut details = Vec::new();
        for credential in application_credential::of_user(&mut tx, user).await? {
            details.push(detail(&mut tx, &book, credential).await?);
        }
        Ok(details)
    }

    pub async fn application_credential(
        &self,
        actor: &Actor,
        user: &UserId,
        id: &str,
    ) -> Result<ApplicationCredentialDetail, Failure> {
        let mut tx = self.read().await?;
        let found = record::get::<ApplicationCredential>(&mut tx, id)
            .await?
            .filter(|one| one.user_id == *user);
        let target = |_: &ApplicationCredential| Target::user(user);
        let credential = self.readable(
            actor,
            action::APPLICATION_CREDENTIALS_READ,
            found,
            target,
            missing(id),
        )?;
        let book = RoleBook::load(&mut tx).await?;
        detail(&mut tx, &book, credential).await
    }

    /// Deletes an application credential; its tokens are void at once. Its access rules stay for others.
    pub async fn delete_application_credential(
        &self,
        actor: &Actor,
        token: &TokenView,
        user: &UserId,
        id: &str,
    ) -> Result<(), Failure> {
        self.policy.check(
            actor,
            action::APPLICATION_CREDENTIALS_DELETE,
            &Target::user(user),
        )?;
        check_unrestricted(token)?;
        let mut change = self.change().await?;
        let found = record::lock::<ApplicationCredential>(&mut change, id).await?;
        found
            .filter(|one| one.user_id == *user)
            .ok_or_else(missing(id))?;
        record::delete::<ApplicationCredential>(&mut change, id).await?;
        change.commit().await
    }

    pub async fn access_rules(
        &self,
        actor: &Actor,
        user: &UserId,
    ) -> Result<Vec<AccessRule>, Failure> {
        self.policy.check(
            actor,
            action::APPLICATION_CREDENTIALS_READ,
            &Target::user(user),
        )?;
        Ok(access_rule::of_user(&mut self.read().await?, user).await?)
    }

    pub async fn access_rule(
        &self,
        actor: &Actor,
        user: &UserId,
        id: &str,
    ) -> Result<AccessRule, Failure> {
        self.policy.check(
            actor,
            action::APPLICATION_CREDENTIALS_READ,
            &Target::user(user),
        )?;
        let found = record::get::<AccessRule>(&mut self.read().await?, id).await?;
        Ok(found
            .filter(|rule| rule.user_id == *user)
            .ok_or_else(|| no_rule(id))?)
    }

    /// Deletes an access rule that no application credential uses.
    pub async fn delete_access_rule(
        &self,
        actor: &Actor,
        user: &UserId,
        id: &str,
    ) -> Result<(), Failure> {
        self.policy.check(
            actor,
            action::APPLICATION_CREDENTIALS_DELETE,
            &Target::user(user),
        )?;
        let mut change = self.change().await?;
        let found = record::get::<AccessRule>(&mut change, id).await?;
        found
            .filter(|rule| rule.user_id == *user)
            .ok_or_else(|| no_rule(id))?;
        let users = application_credential::of_user(&mut change, user).await?;
        if let Some(one) = users
            .iter()
            .find(|one| one.access_rule_ids.iter().flatten().any(|rule| rule == id))
        {
            return Err(Refusal::forbidden(format!(
                "Access rule {id} is in use by application credential {}; delete that first.",
                one.id
            ))
            .into());
        }
        record::delete::<AccessRule>(&mut change, id).await?;
        change.commit().await
    }
}

/// The roles asked for, each of which the token must have: what is lent on is never more than what was lent.
fn held_roles(token: &TokenView, wanted: Vec<RoleRef>) -> Result<Vec<RoleId>, Refusal> {
    let find = |wanted: RoleRef| {
        let found = token.roles.iter().find(|role| match &wanted {
            RoleRef::Id(id) => role.id == *id,
            RoleRef::Name(name) => role.name.eq_ignore_ascii_case(name),
        });
        found.map(|role| role.id.clone()).ok_or_else(|| {
            let (RoleRef::Id(RoleId(text)) | RoleRef::Name(text)) = &wanted;
            Refusal::invalid(format!(
                "Invalid application credential: this token has no role {text} on the project."
            ))
        })
    };
    wanted.into_iter().map(find).collect()
}

/// Power that was lent with restrictions cannot be lent on.
pub(crate) fn check_unrestricted(token: &TokenView) -> Result<(), Refusal> {
    if token.is_restricted() {
        return Err(Refusal::forbidden(
            "This token comes from a restricted application credential, which cannot manage application credentials or \
             trusts; make one with unrestricted=true for that.",
        ));
    }
    Ok(())
}

/// The id of an access rule: one of the user's, an equal one there is, or a new one.
async fn ensure_rule(tx: &mut Tx, user: &UserId, wanted: AccessRuleRef) -> Result<String, Failure> {
    let own = access_rule::of_user(tx, user).await?;
    match wanted {
        AccessRuleRef::Id(id) => Ok(own
            .into_iter()
            .find(|rule| rule.id == id)
            .ok_or_else(|| no_rule(&id))?
            .id),
        AccessRuleRef::New {
            service,
            method,
            path,
        } => {
            let method = method.to_ascii_uppercase();
            if !METHODS.contains(&method.as_str()) {
                return Err(Refusal::invalid(format!(
                    "'{method}' is not a method; an access rule allows one of {}.",
                    METHODS.join(", ")
                ))
                .into());
            }
            if !path.starts_with('/')
                || path.len() > 128
                || service.is_empty()
                || service.len() > 64
            {
                return Err(Refusal::invalid(
                    "An access rule has a service type of at most 64 characters and a path of at most 128, which starts \
                     with '/'.",
                )
                .into());
            }
            let equal = own
                .into_iter()
                .find(|rule| rule.service == service && rule.method == method && rule.path == path);
            if let Some(rule) = equal {
                return Ok(rule.id);
            }
            let rule = AccessRule {
                id: new_id(),
                user_id: user.clone(),
                service,
                method,
                path,
            };
            record::insert(tx, &rule).await?;
            Ok(rule.id)
        }
    }
}

async fn detail(
    tx: &mut Tx,
    book: &RoleBook,
    credential: ApplicationCredential,
) -> Result<ApplicationCredentialDetail, Failure> {
    let access_rules = match &credential.access_rule_ids {
        Some(ids) => Some(access_rule::by_ids(tx, ids).await?),
        None => None,
    };
    let roles = credential
        .role_ids
        .iter()
        .filter_map(|id| book.get(id))
        .cloned()
        .collect();
    Ok(ApplicationCredentialDetail {
        credential,
        roles,
        access_rules,
    })
}
