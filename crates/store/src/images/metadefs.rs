//! Definitions of metadata: namespaces that say which properties a resource may carry and what they mean.
//!
//! A namespace is one row with all it holds, because it is read and written as a whole and is small.

use crate::db::Tx;
use crate::error::Result;
use crate::record::{self, Direction, Query, Record, Value};
use corten_model::ids::ProjectId;
use corten_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    pub id: Uuid,
    /// Its unique name, which can change.
    pub namespace: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub public: bool,
    pub protected: bool,
    pub owner: Option<ProjectId>,
    pub resource_types: Vec<Association>,
    pub properties: Vec<Property>,
    pub objects: Vec<Object>,
    pub tags: Vec<Tag>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A kind of resource that the properties of a namespace apply to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Association {
    pub name: String,
    pub prefix: Option<String>,
    pub properties_target: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A property; its schema is a JSON schema in Glance's subset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Property {
    pub name: String,
    pub schema: Map<String, Json>,
}

/// Properties that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Object {
    pub name: String,
    pub description: Option<String>,
    pub required: Vec<String>,
    pub properties: Map<String, Json>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    pub name: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Record for Namespace {
    const TABLE: &'static str = "metadef_namespaces";
    const COLUMNS: &'static [&'static str] = &[
        "namespace",
        "visibility",
        "owner",
        "created_at",
        "updated_at",
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Value> {
        vec![
            self.namespace.as_str().into(),
            if self.public { "public" } else { "private" }.into(),
            self.owner.as_ref().map_or("", ProjectId::as_str).into(),
            self.created_at.into(),
            self.updated_at.into(),
        ]
    }
}

/// Adds a namespace; [`crate::Error::Exists`] if its name is taken.
pub async fn insert(tx: &mut Tx, namespace: &Namespace) -> Result<()> {
    record::insert(tx, namespace).await
}

pub async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<Namespace>> {
    Query::new().equals("namespace", name).first(tx).await
}

/// The namespace with this name, to be changed in this transaction.
pub async fn lock_by_name(tx: &mut Tx, name: &str) -> Result<Option<Namespace>> {
    match by_name(tx, name).await? {
        Some(found) => record::lock(tx, found.id).await,
        None => Ok(None),
    }
}

/// Writes a namespace that exists; [`crate::Error::Exists`] if its new name is taken.
pub async fn update(tx: &mut Tx, namespace: &Namespace) -> Result<bool> {
    record::update(tx, namespace).await
}

pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<bool> {
    record::delete::<Namespace>(tx, id).await
}

/// All namespaces, newest first.
pub async fn all(tx: &mut Tx) -> Result<Vec<Namespace>> {
    Query::new()
        .order_by("created_at", Direction::Descending)
        .all(tx)
        .await
}

pub async fn count(tx: &mut Tx) -> Result<i64> {
    Query::<Namespace>::new().count(tx).await
}
