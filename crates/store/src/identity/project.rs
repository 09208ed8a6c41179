//! Projects and domains. A domain is a project that is its own domain.

use super::{Extra, name_key};
use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value, get};
use corten_model::ids::{DomainId, ProjectId};
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    /// `None` for a domain.
    pub domain_id: Option<DomainId>,
    /// The project above, or the domain for a project at the top; `None` for a domain.
    pub parent_id: Option<ProjectId>,
    pub is_domain: bool,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub tags: Vec<String>,
    /// Keystone's resource option `immutable`: not to be changed or deleted until it is taken back.
    pub immutable: Option<bool>,
    pub extra: Extra,
    /// Tokens scoped to it that were issued before this moment are void.
    pub tokens_valid_after: Timestamp,
}

impl Project {
    /// The domain it is in; a domain is in itself.
    pub fn domain(&self) -> DomainId {
        self.domain_id
            .clone()
            .unwrap_or_else(|| DomainId(self.id.0.clone()))
    }
}

impl Record for Project {
    const TABLE: &'static str = "projects";
    const COLUMNS: &'static [&'static str] =
        &["domain_id", "parent_id", "is_domain", "name_key", "enabled"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            // Domains share one name space, which no domain can be called.
            self.domain_id
                .as_ref()
                .map_or(String::new(), ToString::to_string)
                .into(),
            self.parent_id.as_ref().map(ToString::to_string).into(),
            self.is_domain.into(),
            name_key(&self.name).into(),
            self.enabled.into(),
        ]
    }
}

/// The domain with this id.
pub async fn domain(tx: &mut Tx, id: &DomainId) -> Result<Option<Project>> {
    Ok(get::<Project>(tx, id)
        .await?
        .filter(|project| project.is_domain))
}

pub async fn domain_by_name(tx: &mut Tx, name: &str) -> Result<Option<Project>> {
    Query::new()
        .equals("domain_id", "")
        .equals("name_key", name_key(name))
        .first(tx)
        .await
}

pub async fn by_name(tx: &mut Tx, domain: &DomainId, name: &str) -> Result<Option<Project>> {
    Query::new()
        .equals("domain_id", domain)
        .equals("name_key", name_key(name))
        .first(tx)
        .await
}

/// The projects directly below this one.
pub async fn children(tx: &mut Tx, id: &ProjectId) -> Result<Vec<Project>> {
    Query::new().equals("parent_id", id).all(tx).await
}

/// The projects above this one, nearest first, its domain last.
pub async fn ancestors(tx: &mut Tx, project: &Project) -> Result<Vec<Project>> {
    let mut found: Vec<Project> = Vec::new();
    let mut next = project.parent_id.clone();
    while let Some(id) = next {
        let Some(parent) = get::<Project>(tx, &id).await? else {
            break;
        };
        next = parent.parent_id.clone();
        found.push(parent);
    }
    Ok(found)
}

/// Everything below this project, parents before their children.
pub async fn descendants(tx: &mut Tx, id: &ProjectId) -> Result<Vec<Project>> {
    let mut found = children(tx, id).await?;
    let mut visited = 0;
    while visited < found.len() {
        let below = found[visited].id.clone();
        found.extend(children(tx, &below).await?);
        visited += 1;
    }
    Ok(found)
}
