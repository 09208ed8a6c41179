//! The catalog: where the services are, for the scope of a token.

use crate::Iam;
use crate::view::{ScopeView, TokenView};
use corten_model::ids::ProjectId;
use corten_store::identity::endpoint::{self, Endpoint};
use corten_store::identity::endpoint_filter::{self, EndpointGroup, Selection};
use corten_store::identity::service;
use corten_store::{Failure, Tx, record};
use std::collections::{BTreeMap, BTreeSet};

/// One service with its endpoints, URLs complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    pub id: String,
    pub kind: String,
    pub name: String,
    pub endpoints: Vec<CatalogEndpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEndpoint {
    pub id: String,
    pub interface: String,
    pub region_id: Option<String>,
    pub url: String,
}

impl Iam {
    /// The services that a token's scope sees. A project that has endpoints of its own (OS-EP-FILTER) sees those
    /// only; an unscoped token sees none.
    pub async fn catalog(&self, view: &TokenView) -> Result<Vec<CatalogEntry>, Failure> {
        if view.is_unscoped() {
            return Ok(Vec::new());
        }
        let mut tx = self.read().await?;
        let mut endpoints = endpoint::all(&mut tx).await?;
        if let ScopeView::Project(project) = &view.scope
            && let Some(selected) = endpoints_of_project(&mut tx, &project.id, &endpoints).await?
        {
            endpoints.retain(|endpoint| selected.contains(&endpoint.id));
        }
        let mut by_service: BTreeMap<String, Vec<CatalogEndpoint>> = BTreeMap::new();
        for endpoint in endpoints.into_iter().filter(|endpoint| endpoint.enabled) {
            let Some(url) = complete(&endpoint.url, view) else {
                continue;
            };
            by_service
                .entry(endpoint.service_id)
                .or_default()
                .push(CatalogEndpoint {
                    id: endpoint.id,
                    interface: endpoint.interface,
                    region_id: endpoint.region_id,
                    url,
                });
        }
        let mut entries: Vec<CatalogEntry> = service::all(&mut tx)
            .await?
            .into_iter()
            .filter(|service| service.enabled)
            .map(|service| CatalogEntry {
                endpoints: by_service.remove(&service.id).unwrap_or_default(),
                id: service.id,
                kind: service.kind,
                name: service.name.unwrap_or_default(),
            })
            .filter(|entry| !entry.endpoints.is_empty())
            .collect();
        entries.sort_by(|left, right| (&left.kind, &left.id).cmp(&(&right.kind, &right.id)));
        Ok(entries)
    }
}

/// The ids of the endpoints chosen for a project, or `None` if nothing was chosen for it.
pub(crate) async fn endpoints_of_project(
    tx: &mut Tx,
    project: &ProjectId,
    all: &[Endpoint],
) -> Result<Option<BTreeSet<String>>, Failure> {
    let chosen = endpoint_filter::of_project(tx, project).await?;
    if chosen.is_empty() {
        return Ok(None);
    }
    let mut ids = BTreeSet::new();
    for one in chosen {
        match one.selection {
            Selection::Endpoint(id) => {
                ids.insert(id);
            }
            Selection::EndpointGroup(id) => {
                if let Some(group) = record::get::<EndpointGroup>(tx, &id).await? {
                    ids.extend(
                        all.iter()
                            .filter(|endpoint| matches(&group, endpoint))
                            .map(|one| one.id.clone()),
                    );
                }
            }
        }
    }
    Ok(Some(ids))
}

/// Whether an endpoint passes every filter of a group.
pub(crate) fn matches(group: &EndpointGroup, endpoint: &Endpoint) -> bool {
    group
        .filters
        .iter()
        .all(|(name, wanted)| match name.as_str() {
            "service_id" => wanted.as_str() == Some(&endpoint.service_id),
            "interface" => wanted.as_str() == Some(&endpoint.interface),
            "region_id" => wanted.as_str() == endpoint.region_id.as_deref(),
            "url" => wanted.as_str() == Some(&endpoint.url),
            "enabled" => wanted.as_bool() == Some(endpoint.enabled),
            _ => false,
        })
}

/// Puts ids into a URL: `$(project_id)s`, `%(tenant_id)s` and so on. `None` if it wants one that the token has not.
fn complete(url: &str, view: &TokenView) -> Option<String> {
    let project = match &view.scope {
        ScopeView::Project(project) => Some(project.id.as_str()),
        ScopeView::Unscoped | ScopeView::Domain(_) | ScopeView::System => None,
    };
    let mut url = url.replace("$(", "%(");
    for (name, value) in [
        ("project_id", project),
        ("tenant_id", project),
        ("user_id", Some(view.user.id.as_str())),
    ] {
        let place = format!("%({name})s");
        if url.contains(&place) {
            url = url.replace(&place, value?);
        }
    }
    Some(url)
}

/// The names that a URL may ask to be filled in.
pub(crate) const URL_PLACES: [&str; 3] = ["project_id", "tenant_id", "user_id"];
