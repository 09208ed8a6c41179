//! Domains: name spaces for users, groups and projects.

use crate::access::{list_domain, list_target};
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::DEFAULT_DOMAIN;
use crate::naming::{check_immutable, check_length, merge_extra, taken};
use crate::policy::Target;
use crate::project::MAX_PROJECT_NAME;
use crate::role_book::assignments_of;
use crate::{Change, Iam};
use corten_model::ids::{DomainId, ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::identity::assignment::{self, Extent, Holder};
use corten_store::identity::group::{self, Group};
use corten_store::identity::project::{self, Project};
use corten_store::identity::role::Role;
use corten_store::identity::user::{self, User};
use corten_store::identity::{Extra, credential};
use corten_store::{Failure, Query, record};

pub struct NewDomain {
    pub id: Option<DomainId>,
    pub name: String,
    pub description: Option<String>,
    pub enabled: bool,
    pub immutable: Option<bool>,
    pub extra: Extra,
}

#[derive(Default)]
pub struct DomainChanges {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub enabled: Option<bool>,
    pub immutable: Option<Option<bool>>,
    pub extra: Extra,
}

fn missing(id: &DomainId) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find domain: {id}."))
}

/// The domain that a new user, group or project is to be in.
pub(crate) async fn existing(change: &mut Change, id: &DomainId) -> Result<Project, Failure> {
    Ok(project::domain(change, id).await?.ok_or_else(missing(id))?)
}

impl Iam {
    pub async fn create_domain(&self, actor: &Actor, new: NewDomain) -> Result<Project, Failure> {
        self.policy
            .check(actor, action::DOMAINS_WRITE, &Target::cloud())?;
        let NewDomain {
            id,
            name,
            description,
            enabled,
            immutable,
            extra,
        } = new;
        check_length("domain", &name, MAX_PROJECT_NAME)?;
        let domain = Project {
            id: id.map_or_else(ProjectId::random, |id| ProjectId(id.0)),
            domain_id: None,
            parent_id: None,
            is_domain: true,
            name,
            description: description.unwrap_or_default(),
            enabled,
            tags: Vec::new(),
            immutable,
            extra,
            tokens_valid_after: Timestamp(0),
        };
        let mut change = self.change().await?;
        record::insert(&mut change, &domain)
            .await
            .map_err(taken("domain", &domain.name))?;
        change.commit().await?;
        Ok(domain)
    }

    pub async fn domain(&self, actor: &Actor, id: &DomainId) -> Result<Project, Failure> {
        let found = project::domain(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::DOMAINS_READ,
            found,
            |_| Target::domain(id),
            missing(id),
        )?)
    }

    /// Every domain; for a domain-scoped token, that one.
    pub async fn domains(&self, actor: &Actor) -> Result<Vec<Project>, Failure> {
        let mut tx = self.read().await?;
        if let Some(own) = list_domain(actor) {
            self.policy
                .check(actor, action::DOMAINS_READ, &list_target(actor))?;
            return Ok(project::domain(&mut tx, own).await?.into_iter().collect());
        }
        self.policy
            .check(actor, action::DOMAINS_LIST, &Target::cloud())?;
        Ok(Query::new().equals("is_domain", true).all(&mut tx).await?)
    }

    pub async fn update_domain(
        &self,
        actor: &Actor,
        id: &DomainId,
        changes: DomainChanges,
    ) -> Result<Project, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Project>(&mut change, id)
            .await?
            .filter(|project| project.is_domain);
        let mut domain = self.writable(
            actor,
            action::DOMAINS_WRITE,
            found,
            |_| Target::domain(id),
            missing(id),
        )?;
        let DomainChanges {
            name,
            description,
            enabled,
            immutable,
            extra,
        } = changes;
        check_immutable("domain", id.as_str(), domain.immutable, immutable)?;
        if let Some(name) = name {
            check_length("domain", &name, MAX_PROJECT_NAME)?;
            domain.name = name;
        }
        if let Some(description) = description {
            domain.description = description.unwrap_or_default();
        }
        if let Some(enabled) = enabled {
            if !enabled && id.as_str() == DEFAULT_DOMAIN {
                return Err(Refusal::forbidden(
                    "The default domain cannot be disabled: the administrators are in it.",
                )
                .into());
            }
            self.set_enabled(&mut domain, enabled);
        }
        if let Some(immutable) = immutable {
            domain.immutable = immutable;
        }
        merge_extra(&mut domain.extra, extra);
        record::update(&mut change, &domain)
            .await
            .map_err(taken("domain", &domain.name))?;
        change.commit().await?;
        Ok(domain)
    }

    /// Disabling a project or domain voids the tokens that are out for it, also for when it is enabled again.
    pub(crate) fn set_enabled(&self, project: &mut Project, enabled: bool) {
        if project.enabled && !enabled {
            project.tokens_valid_after = self.now();
        }
        project.enabled = enabled;
    }

    /// Deletes a domain that was disabled first, with everything in it.
    pub async fn delete_domain(&self, actor: &Actor, id: &DomainId) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Project>(&mut change, id)
            .await?
            .filter(|project| project.is_domain);
        let domain = self.writable(
            actor,
            action::DOMAINS_WRITE,
            found,
            |_| Target::domain(id),
            missing(id),
        )?;
        check_immutable("domain", id.as_str(), domain.immutable, None)?;
        if id.as_str() == DEFAULT_DOMAIN {
            return Err(Refusal::forbidden(
                "The default domain cannot be deleted: the administrators are in it.",
            )
            .into());
        }
        if domain.enabled {
            return Err(Refusal::forbidden(format!(
                "Cannot delete domain {id}: it is enabled; disable it first (PATCH with \"enabled\": false)."
            ))
            .into());
        }
        for user in user::of_domain(&mut change, id).await? {
            assignment::forget_holder(&mut change, &Holder::User(user.id.clone())).await?;
            record::delete::<User>(&mut change, &user.id).await?;
        }
        for group in group::of_domain(&mut change, id).await? {
            assignment::forget_holder(&mut change, &Holder::Group(group.id.clone())).await?;
            record::delete::<Group>(&mut change, &group.id).await?;
        }
        let below = project::descendants(&mut change, &domain.id).await?;
        for project in below.into_iter().rev() {
            remove_project(&mut change, &project.id).await?;
        }
        Query::<Role>::new()
            .equals("domain_id", id)
            .delete(&mut change)
            .await?;
        assignment::forget_extent(&mut change, &Extent::Domain(id.clone())).await?;
        remove_project(&mut change, &domain.id).await?;
        change.commit().await
    }

    /// The domains on which a user has a role, and so can be scoped to.
    pub async fn domains_open_to(&self, user: &UserId) -> Result<Vec<Project>, Failure> {
        let mut tx = self.read().await?;
        let mut found: Vec<Project> = Vec::new();
        for one in assignments_of(&mut tx, user).await? {
            let Extent::Domain(id) = &one.extent else {
                continue;
            };
            if one.inherited || found.iter().any(|domain| domain.id.as_str() == id.as_str()) {
                continue;
            }
            found.extend(
                project::domain(&mut tx, id)
                    .await?
                    .filter(|domain| domain.enabled),
            );
        }
        Ok(found)
    }

    /// Whether a user has a role on the system.
    pub async fn is_system_open_to(&self, user: &UserId) -> Result<bool, Failure> {
        let assignments = assignments_of(&mut self.read().await?, user).await?;
        Ok(assignments.iter().any(|one| one.extent == Extent::System))
    }
}

/// Removes a project or domain with what identity keeps for it. Application credentials, trusts, limits and endpoint
/// filters go with the row.
pub(crate) async fn remove_project(change: &mut Change, id: &ProjectId) -> Result<(), Failure> {
    assignment::forget_extent(change, &Extent::Project(id.clone())).await?;
    credential::forget_project(change, id).await?;
    record::delete::<Project>(change, id).await?;
    Ok(())
}
