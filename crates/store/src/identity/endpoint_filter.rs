//! OS-EP-FILTER: groups of endpoints, and which projects see which endpoints.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Query, Record, Value};
use corten_model::ids::ProjectId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The endpoints that match every filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointGroup {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    /// `service_id`, `interface`, `region_id`, `enabled` or `url` to a value.
    pub filters: BTreeMap<String, serde_json::Value>,
}

impl Record for EndpointGroup {
    const TABLE: &'static str = "endpoint_groups";
    const COLUMNS: &'static [&'static str] = &[];

    fn id(&self) -> String {
        self.id.clone()
    }

    fn columns(&self) -> Vec<Value> {
        Vec::new()
    }
}

/// What is associated with a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    Endpoint(String),
    EndpointGroup(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectEndpoint {
    pub project_id: ProjectId,
    pub selection: Selection,
}

impl Record for ProjectEndpoint {
    const TABLE: &'static str = "project_endpoints";
    const COLUMNS: &'static [&'static str] = &["project_id", "endpoint_id", "endpoint_group_id"];

    fn id(&self) -> String {
        match &self.selection {
            Selection::Endpoint(id) => format!("{}/endpoint/{id}", self.project_id),
            Selection::EndpointGroup(id) => format!("{}/group/{id}", self.project_id),
        }
    }

    fn columns(&self) -> Vec<Value> {
        let (endpoint, group) = match &self.selection {
            Selection::Endpoint(id) => (Some(id.clone()), None),
            Selection::EndpointGroup(id) => (None, Some(id.clone())),
        };
        vec![(&self.project_id).into(), endpoint.into(), group.into()]
    }
}

pub async fn groups(tx: &mut Tx) -> Result<Vec<EndpointGroup>> {
    Query::new().all(tx).await
}

pub async fn of_project(tx: &mut Tx, project: &ProjectId) -> Result<Vec<ProjectEndpoint>> {
    Query::new().equals("project_id", project).all(tx).await
}

pub async fn associations(tx: &mut Tx, selection: &Selection) -> Result<Vec<ProjectEndpoint>> {
    match selection {
        Selection::Endpoint(id) => {
            Query::new()
                .equals("endpoint_id", id.as_str())
                .all(tx)
                .await
        }
        Selection::EndpointGroup(id) => {
            Query::new()
                .equals("endpoint_group_id", id.as_str())
                .all(tx)
                .await
        }
    }
}
