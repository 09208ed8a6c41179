//! Definitions of metadata: who sees a namespace, and the rules of what it holds.
//!
//! Everything in a namespace is read and written with it, so each change is one function over the locked row.

mod contents;
mod preset;

use super::access::own_project;
use crate::context::Context;
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ProjectId;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::images::metadefs as rows;
use corten_store::{Error, Failure, Tx};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

pub use contents::{
    Kind, add_object, add_property, add_tag, associate, clear, dissociate, remove_object,
    remove_property, remove_tag, rename_tag, set_tags, update_object, update_property,
};
pub use corten_store::images::metadefs::{Association, Namespace, Object, Property, Tag};
pub(super) use preset::load as load_preset;

/// Kinds of resources whose metadata can be defined, by the names that Heat gives them.
pub const RESOURCE_TYPES: [&str; 7] = [
    "OS::Cinder::Volume",
    "OS::Cinder::VolumeType",
    "OS::Glance::Image",
    "OS::Ironic::Node",
    "OS::Nova::Aggregate",
    "OS::Nova::Flavor",
    "OS::Nova::Server",
];

/// What a namespace starts with, or is changed to.
#[derive(Debug, Clone, Default)]
pub struct Header {
    pub namespace: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub public: bool,
    pub protected: bool,
    /// The actor's project, if not given.
    pub owner: Option<ProjectId>,
}

/// What a new namespace holds from the start.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    pub resource_types: Vec<NewAssociation>,
    pub properties: Vec<Property>,
    pub objects: Vec<NewObject>,
    pub tags: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct NewAssociation {
    pub name: String,
    pub prefix: Option<String>,
    pub properties_target: Option<String>,
}

impl NewAssociation {
    fn at(self, now: Timestamp) -> Association {
        let Self {
            name,
            prefix,
            properties_target,
        } = self;
        Association {
            name,
            prefix,
            properties_target,
            created_at: now,
            updated_at: now,
        }
    }
}

#[derive(Debug, Clone)]
pub struct NewObject {
    pub name: String,
    pub description: Option<String>,
    pub required: Vec<String>,
    pub properties: Map<String, Value>,
}

impl NewObject {
    fn at(self, now: Timestamp) -> Object {
        let Self {
            name,
            description,
            required,
            properties,
        } = self;
        Object {
            name,
            description,
            required,
            properties,
            created_at: now,
            updated_at: now,
        }
    }
}

fn tag_at(name: String, now: Timestamp) -> Tag {
    Tag {
        name,
        created_at: now,
        updated_at: now,
    }
}

fn no_such_namespace(name: &str) -> Refusal {
    Refusal::not_found(format!(
        "Metadata definition namespace={name} was not found."
    ))
}

fn no_such(kind: &str, name: &str, namespace: &Namespace) -> Refusal {
    Refusal::not_found(format!(
        "Metadata definition {kind}={name} was not found in namespace={}.",
        namespace.namespace
    ))
}

fn taken(kind: &str, name: &str) -> Refusal {
    Refusal::conflict(format!(
        "A metadata definition {kind} with name={name} already exists."
    ))
}

fn check_unprotected(namespace: &Namespace) -> Result<(), Refusal> {
    if !namespace.protected {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "Metadata definition namespace {} is protected and nothing of it can be deleted: set 'protected' to false first.",
        namespace.namespace
    )))
}

/// Refuses a list in which a name comes twice.
fn check_distinct<'a>(kind: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = std::collections::HashSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(taken(kind, twice)),
        None => Ok(()),
    }
}

fn is_admin(cx: &Context, actor: &Actor) -> bool {
    cx.policy
        .check(actor, action::IMAGES_READ_ALL, &Target::cloud())
        .is_ok()
}

fn sees(cx: &Context, actor: &Actor, namespace: &Namespace) -> bool {
    let owns = namespace.owner.is_some() && namespace.owner.as_ref() == actor.project_id();
    namespace.public || owns || is_admin(cx, actor)
}

/// The namespaces that the actor sees, newest first.
pub async fn list(cx: &Context, actor: &Actor) -> Result<Vec<Namespace>, Failure> {
    cx.policy
        .check(actor, action::METADEFS_READ, &own_project(actor))?;
    let all = rows::all(&mut cx.store.read().await?).await?;
    Ok(all
        .into_iter()
        .filter(|namespace| sees(cx, actor, namespace))
        .collect())
}

pub async fn get(cx: &Context, actor: &Actor, name: &str) -> Result<Namespace, Failure> {
    cx.policy
        .check(actor, action::METADEFS_READ, &own_project(actor))?;
    let found = rows::by_name(&mut cx.store.read().await?, name).await?;
    Ok(found
        .filter(|namespace| sees(cx, actor, namespace))
        .ok_or_else(|| no_such_namespace(name))?)
}

pub async fn create(
    cx: &Context,
    actor: &Actor,
    header: Header,
    contents: Contents,
) -> Result<Namespace, Failure> {
    cx.policy
        .check(actor, action::METADEFS_WRITE, &Target::cloud())?;
    let owner = header.owner.clone().or_else(|| actor.project_id().cloned());
    let mut tx = cx.store.write().await?;
    let namespace = insert(&mut tx, header, contents, owner, cx.now()).await?;
    tx.commit().await?;
    Ok(namespace)
}

async fn insert(
    tx: &mut Tx,
    header: Header,
    contents: Contents,
    owner: Option<ProjectId>,
    now: Timestamp,
) -> Result<Namespace, Failure> {
    let Header {
        namespace,
        display_name,
        description,
        public,
        protected,
        owner: _,
    } = header;
    let Contents {
        resource_types,
        properties,
        objects,
        tags,
    } = contents;
    check_distinct(
        "resource type association",
        resource_types.iter().map(|each| each.name.as_str()),
    )?;
    check_distinct("property", properties.iter().map(|each| each.name.as_str()))?;
    check_distinct("object", objects.iter().map(|each| each.name.as_str()))?;
    check_distinct("tag", tags.iter().map(String::as_str))?;
    let new = Namespace {
        id: Uuid::new_v4(),
        namespace,
        display_name,
        description,
        public,
        protected,
        owner,
        resource_types: resource_types
            .into_iter()
            .map(|each| each.at(now))
            .collect(),
        properties,
        objects: objects.into_iter().map(|each| each.at(now)).collect(),
        tags: tags.into_iter().map(|name| tag_at(name, now)).collect(),
        created_at: now,
        updated_at: now,
    };
    rows::insert(tx, &new)
        .await
        .map_err(|error| name_conflict(error, &new.namespace))?;
    Ok(new)
}

fn name_conflict(error: Error, name: &str) -> Failure {
    match error {
        Error::Exists { .. } => taken("namespace", name).into(),
        other => other.into(),
    }
}

/// Changes a namespace; the answer is what `change` says of it.
async fn edit<T>(
    cx: &Context,
    actor: &Actor,
    name: &str,
    change: impl FnOnce(&mut Namespace, Timestamp) -> Result<T, Refusal>,
) -> Result<T, Failure> {
    let mut tx = cx.store.write().await?;
    let found = rows::lock_by_name(&mut tx, name).await?;
    let mut namespace = found
        .filter(|namespace| sees(cx, actor, namespace))
        .ok_or_else(|| no_such_namespace(name))?;
    cx.policy
        .check(actor, action::METADEFS_WRITE, &Target::cloud())?;
    let answer = change(&mut namespace, cx.now())?;
    rows::update(&mut tx, &namespace)
        .await
        .map_err(|error| name_conflict(error, &namespace.namespace))?;
    tx.commit().await?;
    Ok(answer)
}

pub async fn update(
    cx: &Context,
    actor: &Actor,
    name: &str,
    header: Header,
) -> Result<Namespace, Failure> {
    edit(cx, actor, name, |row, now| {
        let Header {
            namespace,
            display_name,
            description,
            public,
            protected,
            owner,
        } = header;
        row.namespace = namespace;
        row.display_name = display_name;
        row.description = description;
        row.public = public;
        row.protected = protected;
        row.owner = owner.or_else(|| row.owner.take());
        row.updated_at = now;
        Ok(row.clone())
    })
    .await
}

/// Removes a namespace with all it holds.
pub async fn delete(cx: &Context, actor: &Actor, name: &str) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let found = rows::lock_by_name(&mut tx, name).await?;
    let namespace = found
        .filter(|namespace| sees(cx, actor, namespace))
        .ok_or_else(|| no_such_namespace(name))?;
    cx.policy
        .check(actor, action::METADEFS_WRITE, &Target::cloud())?;
    check_unprotected(&namespace)?;
    rows::delete(&mut tx, namespace.id).await?;
    tx.commit().await?;
    Ok(())
}

/// The known kinds of resources: the usual ones and those that a namespace names.
pub async fn resource_types(
    cx: &Context,
    actor: &Actor,
) -> Result<Vec<(String, Option<Timestamp>)>, Failure> {
    let mut known: BTreeMap<String, Option<Timestamp>> = RESOURCE_TYPES
        .into_iter()
        .map(|name| (name.to_owned(), None))
        .collect();
    for association in list(cx, actor)
        .await?
        .into_iter()
        .flat_map(|namespace| namespace.resource_types)
    {
        known
            .entry(association.name)
            .or_insert(Some(association.created_at));
    }
    Ok(known.into_iter().collect())
}
