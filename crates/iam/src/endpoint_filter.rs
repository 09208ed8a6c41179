//! OS-EP-FILTER: groups of endpoints, and which endpoints a project sees.

use crate::Iam;
use crate::action::identity as action;
use crate::actor::Actor;
use crate::bootstrap::new_id;
use crate::catalog::{endpoints_of_project, matches};
use crate::naming::{Given, check_name, give};
use crate::policy::Target;
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_store::identity::endpoint::{self, Endpoint};
use corten_store::identity::endpoint_filter::{self, EndpointGroup, ProjectEndpoint, Selection};
use corten_store::identity::project::Project;
use corten_store::{Error, Failure, Query, Record, Tx, record};
use std::collections::BTreeMap;

pub type Filters = BTreeMap<String, serde_json::Value>;

#[derive(Default)]
pub struct EndpointGroupChanges {
    pub name: Option<String>,
    pub description: Given<String>,
    /// In place of all the filters there are.
    pub filters: Option<Filters>,
}

fn missing(id: &str) -> impl FnOnce() -> Refusal {
    move || Refusal::not_found(format!("Could not find Endpoint Group: {id}."))
}

const ATTRIBUTES: [&str; 5] = ["service_id", "region_id", "interface", "url", "enabled"];

fn check_filters(filters: &Filters) -> Result<(), Refusal> {
    match filters
        .keys()
        .find(|name| !ATTRIBUTES.contains(&name.as_str()))
    {
        Some(unknown) => Err(Refusal::invalid(format!(
            "'{unknown}' is not an attribute that endpoints can be filtered by; there are {}.",
            ATTRIBUTES.join(", ")
        ))),
        None => Ok(()),
    }
}

impl Iam {
    pub async fn create_endpoint_group(
        &self,
        actor: &Actor,
        name: String,
        description: Option<String>,
        filters: Filters,
    ) -> Result<EndpointGroup, Failure> {
        self.policy
            .check(actor, action::CATALOG_WRITE, &Target::cloud())?;
        check_name("endpoint group", &name)?;
        check_filters(&filters)?;
        let group = EndpointGroup {
            id: new_id(),
            name,
            description,
            filters,
        };
        let mut change = self.change().await?;
        record::insert(&mut change, &group).await?;
        change.commit().await?;
        Ok(group)
    }

    pub async fn endpoint_group(&self, actor: &Actor, id: &str) -> Result<EndpointGroup, Failure> {
        let found = record::get::<EndpointGroup>(&mut self.read().await?, id).await?;
        Ok(self.readable(
            actor,
            action::CATALOG_READ,
            found,
            |_| Target::cloud(),
            missing(id),
        )?)
    }

    pub async fn endpoint_groups(&self, actor: &Actor) -> Result<Vec<EndpointGroup>, Failure> {
        self.policy
            .check(actor, action::CATALOG_READ, &Target::cloud())?;
        Ok(endpoint_filter::groups(&mut self.read().await?).await?)
    }

    pub async fn update_endpoint_group(
        &self,
        actor: &Actor,
        id: &str,
        changes: EndpointGroupChanges,
    ) -> Result<EndpointGroup, Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<EndpointGroup>(&mut change, id).await?;
        let mut group = self.writable(
            actor,
            action::CATALOG_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        let EndpointGroupChanges {
            name,
            description,
            filters,
        } = changes;
        if let Some(name) = name {
            check_name("endpoint group", &name)?;
            group.name = name;
        }
        give(&mut group.description, description);
        if let Some(filters) = filters {
            check_filters(&filters)?;
            group.filters = filters;
        }
        record::update(&mut change, &group).await?;
        change.commit().await?;
        Ok(group)
    }

    pub async fn delete_endpoint_group(&self, actor: &Actor, id: &str) -> Result<(), Failure> {
        let mut change = self.change().await?;
        let found = record::lock::<EndpointGroup>(&mut change, id).await?;
        self.writable(
            actor,
            action::CATALOG_WRITE,
            found,
            |_| Target::cloud(),
            missing(id),
        )?;
        record::delete::<EndpointGroup>(&mut change, id).await?;
        change.commit().await
    }

    /// The endpoints that pass every filter of a group.
    pub async fn endpoints_in_group(
        &self,
        actor: &Actor,
        id: &str,
    ) -> Result<Vec<Endpoint>, Failure> {
        let group = self.endpoint_group(actor, id).await?;
        let all = endpoint::all(&mut self.read().await?).await?;
        Ok(all
            .into_iter()
            .filter(|endpoint| matches(&group, endpoint))
            .collect())
    }

    /// Lets a project see an endpoint or a group of them.
    pub async fn select(
        &self,
        actor: &Actor,
        project: &ProjectId,
        selection: Selection,
    ) -> Result<(), Failure> {
        self.policy
            .check(actor, action::CATALOG_WRITE, &Target::cloud())?;
        let mut change = self.change().await?;
        check_selected(&mut change, project, &selection).await?;
        let row = ProjectEndpoint {
            project_id: project.clone(),
            selection,
        };
        match record::insert(&mut change, &row).await {
            Ok(()) => change.commit().await,
            Err(Error::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn deselect(
        &self,
        actor: &Actor,
        project: &ProjectId,
        selection: Selection,
    ) -> Result<(), Failure> {
        self.policy
            .check(actor, action::CATALOG_WRITE, &Target::cloud())?;
        let mut change = self.change().await?;
        let row = ProjectEndpoint {
            project_id: project.clone(),
            selection,
        };
        if !record::delete::<ProjectEndpoint>(&mut change, row.id()).await? {
            return Err(not_selected(project).into());
        }
        change.commit().await
    }

    pub async fn check_selected(
        &self,
        actor: &Actor,
        project: &ProjectId,
        selection: Selection,
    ) -> Result<(), Failure> {
        self.policy
            .check(actor, action::CATALOG_READ, &Target::cloud())?;
        let row = ProjectEndpoint {
            project_id: project.clone(),
            selection,
        };
        let found = record::get::<ProjectEndpoint>(&mut self.read().await?, row.id()).await?;
        Ok(found.map(|_| ()).ok_or_else(|| not_selected(project))?)
    }

    /// The endpoints chosen for a project, one by one and through groups.
    pub async fn selected_endpoints(
        &self,
        actor: &Actor,
        project: &ProjectId,
    ) -> Result<Vec<Endpoint>, Failure> {
        self.policy
            .check(actor, action::CATALOG_READ, &Target::cloud())?;
        let mut tx = self.read().await?;
        existing_project(&mut tx, project).await?;
        let mut all = endpoint::all(&mut tx).await?;
        let chosen = endpoints_of_project(&mut tx, project, &all)
            .await?
            .unwrap_or_default();
        all.retain(|endpoint| chosen.contains(&endpoint.id));
        Ok(all)
    }

    /// The groups of endpoints chosen for a project.
    pub async fn selected_groups(
        &self,
        actor: &Actor,
        project: &ProjectId,
    ) -> Result<Vec<EndpointGroup>, Failure> {
        self.policy
            .check(actor, action::CATALOG_READ, &Target::cloud())?;
        let mut tx = self.read().await?;
        existing_project(&mut tx, project).await?;
        let mut groups = Vec::new();
        for one in endpoint_filter::of_project(&mut tx, project).await? {
            if let Selection::EndpointGroup(id) = one.selection {
                groups.extend(record::get::<EndpointGroup>(&mut tx, &id).await?);
            }
        }
        Ok(groups)
    }

    /// The projects for which an endpoint or a group was chosen.
    pub async fn projects_with(
        &self,
        actor: &Actor,
        selection: &Selection,
    ) -> Result<Vec<Project>, Failure> {
        self.policy
            .check(actor, action::CATALOG_READ, &Target::cloud())?;
        let mut tx = self.read().await?;
        let rows = endpoint_filter::associations(&mut tx, selection).await?;
        let ids = rows.iter().map(|row| row.project_id.as_str());
        Ok(Query::<Project>::new()
            .any_of("id", ids)
            .all(&mut tx)
            .await?)
    }
}

async fn existing_project(tx: &mut Tx, id: &ProjectId) -> Result<(), Failure> {
    let found = record::get::<Project>(tx, id).await?;
    Ok(found
        .map(|_| ())
        .ok_or_else(|| Refusal::not_found(format!("Could not find project: {id}.")))?)
}

async fn check_selected(
    tx: &mut Tx,
    project: &ProjectId,
    selection: &Selection,
) -> Result<(), Failure> {
    existing_project(tx, project).await?;
    match selection {
        Selection::Endpoint(id) => {
            record::get::<Endpoint>(tx, id)
                .await?
                .ok_or_else(crate::endpoint::missing(id))?;
        }
        Selection::EndpointGroup(id) => {
            record::get::<EndpointGroup>(tx, id)
                .await?
                .ok_or_else(missing(id))?;
        }
    }
    Ok(())
}

fn not_selected(project: &ProjectId) -> Refusal {
    Refusal::not_found(format!("This was not chosen for project {project}."))
}
