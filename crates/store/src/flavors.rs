//! Flavors: the sizes an instance can have, and which projects may use those that are not public.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{Direction, Query, Record, Value};
use corten_model::ids::{FlavorId, ProjectId};
use corten_model::lifecycle::InstanceClass;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A size. Only its description, extra specs and access list can change (Nova's rule: running instances keep what they
/// were made with).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flavor {
    pub id: FlavorId,
    /// The order of creation.
    pub number: i64,
    pub name: String,
    /// A virtual machine, or a whole server (K110).
    pub class: InstanceClass,
    pub vcpus: u32,
    pub memory_mib: u32,
    /// The root disk; 0 means as large as the image.
    pub disk_gib: u32,
    pub ephemeral_gib: u32,
    pub swap_mib: u32,
    pub rxtx_factor: f64,
    pub is_public: bool,
    pub disabled: bool,
    pub description: Option<String>,
    pub extra_specs: BTreeMap<String, String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

impl Record for Flavor {
    const TABLE: &'static str = "flavors";
    const COLUMNS: &'static [&'static str] = &["name", "is_public"];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![self.name.as_str().into(), self.is_public.into()]
    }
}

/// A project that may use a flavor that is not public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlavorAccess {
    pub flavor_id: FlavorId,
    pub project_id: ProjectId,
}

impl FlavorAccess {
    pub fn key(flavor: &FlavorId, project: &ProjectId) -> String {
        format!("{flavor}/{project}")
    }
}

impl Record for FlavorAccess {
    const TABLE: &'static str = "flavor_access";
    const COLUMNS: &'static [&'static str] = &["flavor_id", "project_id"];

    fn id(&self) -> String {
        Self::key(&self.flavor_id, &self.project_id)
    }

    fn columns(&self) -> Vec<Value> {
        vec![(&self.flavor_id).into(), (&self.project_id).into()]
    }
}

/// Every flavor. There are few: lists filter and sort them in memory.
pub async fn all(tx: &mut Tx) -> Result<Vec<Flavor>> {
    Query::new().all(tx).await
}

pub async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<Flavor>> {
    Query::new().equals("name", name).first(tx).await
}

/// The projects that may use a flavor, in the order of their ids.
pub async fn access_of(tx: &mut Tx, flavor: &FlavorId) -> Result<Vec<FlavorAccess>> {
    Query::new()
        .equals("flavor_id", flavor)
        .order_by("project_id", Direction::Ascending)
        .all(tx)
        .await
}

/// What a project may use beside the public flavors.
pub async fn access_for(tx: &mut Tx, project: &ProjectId) -> Result<Vec<FlavorAccess>> {
    Query::new().equals("project_id", project).all(tx).await
}
