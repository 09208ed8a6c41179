//! Projects: what everything else is owned by (K128). They form trees inside a domain.

use crate::access::{home_domain, list_domain, list_target};
use crate::action::identity as action;
use crate::actor::Actor;
use crate::domain::{self, remove_project};
use crate::naming::{check_immutable, check_length, merge_extra, taken};
use crate::policy::Target;
use crate::role_book::assignments_of;
use crate::{Change, Iam};
use corten_model::ids::{DomainId, ProjectId, UserId};
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::identity::assignment::Extent;
use corten_store::identity::project::{self, Project};
use corten_store::identity::{Extra, name_key};
use corten_store::{Failure, Query, record};
use std::collections::BTreeMap;

/// Keystone's limit for the names of projects and domains.
pub(crate) const MAX_PROJECT_NAME: usize = 64;

/// Levels of projects below a domain, as Keystone's `max_project_tree_depth`.
const MAX_DEPTH: usize = 5;

const MAX_TAGS: usize = 80;

pub struct NewProject {
    pub name: String,
    pub domain_id: Option<DomainId>,
    pub parent_id: Option<ProjectId>,
    pub is_domain: bool,
    pub description: Option<String>,
    pub enabled: bool,
    pub tags: Vec<String>,
    pub immutable: Option<bool>,
    pub extra: Extra,
}

#[derive(Default)]
pub struct ProjectChanges {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub enabled: Option<bool>,
    pub tags: Option<Vec<String>>,
    pub immutable: Option<Option<bool>>,
    /// Given only to be compared: these do not change.
    pub domain_id: Option<Option<DomainId>>,
    pub parent_id: Option<Option<ProjectId>>,
    pub is_domain: Option<bool>,
    pub extra: Extra,
}

/// What a list of projects is limited to.
#[derive(Default)]
pub struct ProjectFilter {
    pub domain_id: Option<DomainId>,
    pub parent_id: Option<ProjectId>,
    pub name: Option<String>,
    pub is_domain: bool,
}

fn missing(id: &ProjectId) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find project: {id}."))
}

fn target(project: &Project) -> Target {
    Target {
        project_id: Some(project.id.clone()),
        domain_id: Some(project.domain()),
        owner: None,
    }
}

/// Tags are short words without `/` and `,`, which the API's lists and paths use.
pub fn check_tags(tags: &[String]) -> Result<(), Refusal> {
    if tags.len() > MAX_TAGS {
        return Err(Refusal::invalid(format!(
            "A project has at most {MAX_TAGS} tags; {} were given.",
            tags.len()
        )));
    }
    for (index, tag) in tags.iter().enumerate() {
        let length = tag.chars().count();
        if length == 0 || length > 255 || tag.contains(['/', ',']) {
            return Err(Refusal::invalid(format!(
                "'{tag}' is not a tag: 1 to 255 characters without '/' and ','."
            )));
        }
        if tags[..index].contains(tag) {
            return Err(Refusal::invalid(format!("The tag '{tag}' is given twice.")));
        }
    }
    Ok(())
}

impl Iam {
    pub async fn create_project(&self, actor: &Actor, new: NewProject) -> Result<Project, Failure> {
        let mut change = self.change().await?;
        let NewProject {
            name,
            domain_id,
            parent_id,
            is_domain,
            description,
            enabled,
            tags,
            immutable,
            extra,
        } = new;
        let place = if is_domain {
            self.policy
                .check(actor, action::DOMAINS_WRITE, &Target::cloud())?;
            if domain_id.is_some() || parent_id.is_some() {
                return Err(Refusal::invalid(
                    "A project that acts as a domain has neither domain_id nor parent_id.",
                )
                .into());
            }
            None
        } else {
            Some(self.place(&mut change, actor, domain_id, parent_id).await?)
        };
        check_length("project", &name, MAX_PROJECT_NAME)?;
        check_tags(&tags)?;
        let project = Project {
            id: ProjectId::random(),
            domain_id: place.as_ref().map(|(domain, _)| domain.clone()),
            parent_id: place.map(|(_, parent)| parent),
            is_domain,
            name,
            description: description.unwrap_or_default(),
            enabled,
            tags,
            immutable,
            extra,
            tokens_valid_after: Timestamp(0),
        };
        record::insert(&mut change, &project)
            .await
            .map_err(taken("project", &project.name))?;
        change.commit().await?;
        Ok(project)
    }

    /// Where a new project goes: its domain and its parent.
    async fn place(
        &self,
        change: &mut Change,
        actor: &Actor,
        domain_id: Option<DomainId>,
        parent_id: Option<ProjectId>,
    ) -> Result<(DomainId, ProjectId), Failure> {
        let parent = match &parent_id {
            Some(id) => {
                let found = record::get::<Project>(change, id).await?;
                Some(self.writable(actor, action::PROJECTS_WRITE, found, target, missing(id))?)
            }
            None => None,
        };
        let domain_id = domain_id
            .or_else(|| parent.as_ref().map(Project::domain))
            .unwrap_or_else(|| home_domain(actor));
        self.policy
            .check(actor, action::PROJECTS_WRITE, &Target::domain(&domain_id))?;
        let domain = domain::existing(change, &domain_id).await?;
        let parent = parent.unwrap_or(domain);
        if parent.domain() != domain_id {
            return Err(Refusal::invalid(format!(
                "Parent {} is in domain {}, not in {domain_id}; a project is in its parent's domain.",
                parent.id,
                parent.domain()
            ))
            .into());
        }
        if !parent.enabled {
            return Err(Refusal::forbidden(format!(
                "Project {} is disabled; nothing can be made below it.",
                parent.id
            ))
            .into());
        }
        if project::ancestors(change, &parent).await?.len() >= MAX_DEPTH {
            return Err(Refusal::forbidden(format!(
                "Projects are at most {MAX_DEPTH} levels deep below a domain."
            ))
            .into());
        }
        Ok((domain_id, parent.id))
    }

    pub async fn project(&self, actor: &Actor, id: &ProjectId) -> Result<Project, Failure> {
        let found = record::get::<Project>(&mut self.read().await?, id).await?;
        Ok(self.readable(actor, action::PROJECTS_READ, found, target, missing(id))?)
    }

    /// The projects that pass the filter; for a domain-scoped token, those of that domain.
    pub async fn projects(
        &self,
        actor: &Actor,
        filter: ProjectFilter,
    ) -> Result<Vec<Project>, Failure> {
        self.policy
            .check(actor, action::PROJECTS_LIST, &list_target(actor))?;
        let ProjectFilter {
            domain_id,
            parent_id,
            name,
            is_domain,
        } = filter;
        let mut query = Query::<Project>::new().equals("is_domain", is_domain);
        if let Some(id) = list_domain(actor) {
            query = query.equals("domain_id", id);
        }
        if let Some(id) = &domain_id {
            query = query.equals("domain_id", id);
        }
        if let Some(id) = &parent_id {
            query = query.equals("parent_id", id);
        }
        if let Some(name) = name {
            query = query.equals("name_key", name_key(&name));
        }
        Ok(query.all(&mut self.read().await?).await?)
    }

    /// The projects above one, nearest first, without its domain.
    pub async fn parents(&self, project: &Project) -> Result<Vec<Project>, Failure> {
        let above = project::ancestors(&mut self.read().await?, project).await?;
        Ok(above
            .into_iter()
            .filter(|project| !project.is_domain)
            .collect())
    }

    /// The projects below one, parents before their children.
    pub async fn subtree(&self, project: &Project) -> Result<Vec<Project>, Failure> {
        Ok(project::descendants(&mut self.read().await?, &project.id).await?)
    }

    pub async fn update_project(
        &self,
        actor: &Actor,
        id: &ProjectId,
        changes: ProjectChanges,
    ) -> Result<Project, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Project>(&mut change, id).await?;
        let mut project =
            self.writable(actor, action::PROJECTS_WRITE, found, target, missing(id))?;
        if project.is_domain {
            self.policy
                .check(actor, action::DOMAINS_WRITE, &target(&project))?;
        }
        let ProjectChanges {
            name,
            description,
            enabled,
            tags,
            immutable,
            domain_id,
            parent_id,
            is_domain,
            extra,
        } = changes;
        check_immutable("project", id.as_str(), project.immutable, immutable)?;
        check_fixed(&project, domain_id, parent_id, is_domain)?;
        if let Some(name) = name {
            check_length("project", &name, MAX_PROJECT_NAME)?;
            project.name = name;
        }
        if let Some(description) = description {
            project.description = description.unwrap_or_default();
        }
        if let Some(enabled) = enabled
            && enabled != project.enabled
        {
            check_tree(&mut change, &project, enabled).await?;
            self.set_enabled(&mut project, enabled);
        }
        if let Some(tags) = tags {
            check_tags(&tags)?;
            project.tags = tags;
        }
        if let Some(immutable) = immutable {
            project.immutable = immutable;
        }
        merge_extra(&mut project.extra, extra);
        record::update(&mut change, &project)
            .await
            .map_err(taken("project", &project.name))?;
        change.commit().await?;
        Ok(project)
    }

    /// Deletes a project without children. A project that acts as a domain goes as a domain does.
    pub async fn delete_project(&self, actor: &Actor, id: &ProjectId) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<Project>(&mut change, id).await?;
        let project = self.writable(actor, action::PROJECTS_WRITE, found, target, missing(id))?;
        if project.is_domain {
            drop(change);
            return self.delete_domain(actor, &project.domain()).await;
        }
        check_immutable("project", id.as_str(), project.immutable, None)?;
        if !project::children(&mut change, id).await?.is_empty() {
            return Err(Refusal::forbidden(format!(
                "Cannot delete project {id}: there are projects below it; delete those first."
            ))
            .into());
        }
        remove_project(&mut change, id).await?;
        change.commit().await
    }

    /// The projects on which a user has a role, and so can be scoped to.
    pub async fn projects_open_to(&self, user: &UserId) -> Result<Vec<Project>, Failure> {
        let mut tx = self.read().await?;
        let mut found: BTreeMap<ProjectId, Project> = BTreeMap::new();
        for one in assignments_of(&mut tx, user).await? {
            let reached = match (&one.extent, one.inherited) {
                (Extent::Project(id), false) => record::get::<Project>(&mut tx, id)
                    .await?
                    .into_iter()
                    .collect(),
                (Extent::Project(id), true) => project::descendants(&mut tx, id).await?,
                (Extent::Domain(id), true) => {
                    project::descendants(&mut tx, &ProjectId(id.0.clone())).await?
                }
                (Extent::Domain(_) | Extent::System, _) => Vec::new(),
            };
            found.extend(
                reached
                    .into_iter()
                    .map(|project| (project.id.clone(), project)),
            );
        }
        Ok(found
            .into_values()
            .filter(|project| project.enabled)
            .collect())
    }

    /// What another's user can be scoped to, for who may know.
    pub async fn projects_of_user(
        &self,
        actor: &Actor,
        id: &UserId,
    ) -> Result<Vec<Project>, Failure> {
        self.user(actor, id).await?;
        self.projects_open_to(id).await
    }
}

/// Refuses to move a project, or to make a domain of it.
fn check_fixed(
    project: &Project,
    domain_id: Option<Option<DomainId>>,
    parent_id: Option<Option<ProjectId>>,
    is_domain: Option<bool>,
) -> Result<(), Refusal> {
    if domain_id.is_some_and(|id| id != project.domain_id) {
        return Err(Refusal::invalid(
            "domain_id cannot be changed: a project stays in its domain.",
        ));
    }
    if parent_id.is_some_and(|id| id != project.parent_id) {
        return Err(Refusal::forbidden("Update of `parent_id` is not allowed."));
    }
    if is_domain.is_some_and(|wanted| wanted != project.is_domain) {
        return Err(Refusal::invalid(
            "is_domain cannot be changed: a project is not made into a domain, or back.",
        ));
    }
    Ok(())
}

/// Below a disabled project there is no enabled one.
async fn check_tree(change: &mut Change, project: &Project, enabled: bool) -> Result<(), Failure> {
    if project.is_domain {
        return Ok(());
    }
    let blocking = if enabled {
        project::ancestors(change, project)
            .await?
            .into_iter()
            .find(|above| !above.enabled)
    } else {
        project::descendants(change, &project.id)
            .await?
            .into_iter()
            .find(|below| below.enabled)
    };
    let Some(blocking) = blocking else {
        return Ok(());
    };
    let (verb, state) = if enabled {
        ("enable", "disabled")
    } else {
        ("disable", "enabled")
    };
    Err(Refusal::forbidden(format!(
        "Cannot {verb} project {}: {} in its tree is {state}; {verb} that first.",
        project.id, blocking.id
    ))
    .into())
}
