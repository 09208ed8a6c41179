//! Changes that need no host: name, description, metadata, tags, lock.

use super::capability::{self, decide};
use super::history::{self, Deed};
use super::{command, new, ports, query};
use crate::context::Context;
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::InstanceId;
use corten_model::lifecycle::Command;
use corten_model::refusal::Refusal;
use corten_store::instances::{self, Instance, Lock};
use corten_store::{Failure, Tx};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// At most this many tags on a server. Nova, "Server tags".
pub const MAX_TAGS: usize = 50;

/// What `PUT /servers/{id}` can change; `None` leaves a thing as it is.
#[derive(Debug, Clone, Default)]
pub struct Update {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub hostname: Option<String>,
    pub disk_config: Option<String>,
    /// An empty text takes the address away.
    pub access_ip_v4: Option<String>,
    pub access_ip_v6: Option<String>,
}

/// Whether a lock keeps a thing as it is. Nova guards metadata so, but neither names nor tags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    HeedsLock,
    Free,
}

/// Opens an instance for a change, applies it and commits.
async fn edit<T>(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    guard: Guard,
    change: impl AsyncFnOnce(&mut Tx, &mut Instance) -> Result<T, Failure>,
) -> Result<(Instance, T), Failure> {
    let mut tx = cx.store.write().await?;
    let mut instance = query::lock(cx, &mut tx, actor, id, compute::SERVERS_WRITE).await?;
    if guard == Guard::HeedsLock {
        command::refuse_if_locked(cx, actor, &instance)?;
    }
    let outcome = change(&mut tx, &mut instance).await?;
    instances::update(&mut tx, &mut instance, cx.now()).await?;
    tx.commit().await?;
    Ok((instance, outcome))
}

pub async fn update(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    change: Update,
) -> Result<Instance, Failure> {
    let Update {
        name,
        description,
        hostname,
        disk_config,
        access_ip_v4,
        access_ip_v6,
    } = change;
    let (instance, ()) = edit(cx, actor, id, Guard::Free, async |tx, instance| {
        capability::check_update(instance, hostname.as_deref(), disk_config.as_deref())?;
        if let Some(hostname) = hostname {
            ports::rename(tx, cx, instance, hostname, &actor.origin()).await?;
        }
        let intent = &mut instance.intent;
        if let Some(name) = name {
            intent.name = name;
        }
        if let Some(description) = description {
            intent.description = description;
        }
        if let Some(disk_config) = disk_config {
            intent.disk_config = disk_config;
        }
        if let Some(address) = access_ip_v4 {
            intent.access_ip_v4 = address;
        }
        if let Some(address) = access_ip_v6 {
            intent.access_ip_v6 = address;
        }
        Ok(())
    })
    .await?;
    Ok(instance)
}

fn allowed(instance: &Instance, command: Command) -> Result<(), Refusal> {
    match decide(instance.class, instance.state, command) {
        Ok(_) => Ok(()),
        Err(illegal) => Err(Refusal::conflict(illegal.message(instance.id))),
    }
}

/// Replaces the metadata, or adds to it.
pub async fn set_metadata(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    items: BTreeMap<String, String>,
    replace: bool,
) -> Result<BTreeMap<String, String>, Failure> {
    let (instance, ()) = edit(cx, actor, id, Guard::HeedsLock, async |tx, instance| {
        allowed(instance, Command::UpdateMetadata)?;
        let mut metadata = if replace {
            BTreeMap::new()
        } else {
            std::mem::take(&mut instance.intent.metadata)
        };
        metadata.extend(items);
        new::check_metadata(cx, tx, &instance.project_id, &metadata).await?;
        instance.intent.metadata = metadata;
        Ok(())
    })
    .await?;
    Ok(instance.intent.metadata)
}

/// The guest may post another password for its owner.
pub async fn clear_guest_password(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
) -> Result<(), Failure> {
    let cleared = edit(cx, actor, id, Guard::Free, async |_, instance| {
        instance.guest_password = None;
        Ok(())
    });
    cleared.await.map(drop)
}

/// The 404 for a metadata key.
pub fn no_metadata_item() -> Refusal {
    Refusal::not_found("Metadata item was not found")
}

pub async fn delete_metadata(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    key: &str,
) -> Result<(), Failure> {
    edit(cx, actor, id, Guard::HeedsLock, async |_, instance| {
        allowed(instance, Command::DeleteMetadata)?;
        instance
            .intent
            .metadata
            .remove(key)
            .ok_or_else(no_metadata_item)?;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Replaces all tags.
pub async fn set_tags(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    tags: BTreeSet<String>,
) -> Result<BTreeSet<String>, Failure> {
    let (instance, ()) = edit(cx, actor, id, Guard::Free, async |_, instance| {
        allowed(instance, Command::UpdateTags)?;
        instance.intent.tags = tags;
        Ok(())
    })
    .await?;
    Ok(instance.intent.tags)
}

/// Adds a tag; true if it is new.
pub async fn add_tag(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    tag: String,
) -> Result<bool, Failure> {
    let (_, added) = edit(cx, actor, id, Guard::Free, async |_, instance| {
        allowed(instance, Command::UpdateTags)?;
        let tags = &mut instance.intent.tags;
        let full = tags.len() >= MAX_TAGS && !tags.contains(&tag);
        if full {
            return Err(Refusal::invalid(format!(
                "The number of tags exceeded the per-server limit {MAX_TAGS}"
            ))
            .into());
        }
        Ok(tags.insert(tag))
    })
    .await?;
    Ok(added)
}

/// The 404 for a tag.
pub fn no_tag(id: InstanceId, tag: &str) -> Refusal {
    Refusal::not_found(format!("Server {id} has no tag '{tag}'"))
}

pub async fn delete_tag(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    tag: &str,
) -> Result<(), Failure> {
    edit(cx, actor, id, Guard::Free, async |_, instance| {
        allowed(instance, Command::UpdateTags)?;
        if instance.intent.tags.remove(tag) {
            Ok(())
        } else {
            Err(no_tag(id, tag).into())
        }
    })
    .await?;
    Ok(())
}

/// Locks an instance against everyone but who may unlock it.
pub async fn lock(
    cx: &Context,
    actor: &Actor,
    id: InstanceId,
    reason: Option<String>,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut instance = query::lock(cx, &mut tx, actor, id, compute::SERVERS_WRITE).await?;
    let by_admin = actor.is_admin() && actor.project_id() != Some(&instance.project_id);
    instance.intent.locked = Some(Lock { by_admin, reason });
    instances::update(&mut tx, &mut instance, cx.now()).await?;
    history::keep(&mut tx, cx, actor, &instance, Deed::Lock, None).await?;
    tx.commit().await?;
    Ok(())
}

/// Unlocks an instance. What an administrator locked, only one unlocks.
pub async fn unlock(cx: &Context, actor: &Actor, id: InstanceId) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut instance = query::lock(cx, &mut tx, actor, id, compute::SERVERS_WRITE).await?;
    if instance
        .intent
        .locked
        .as_ref()
        .is_some_and(|lock| lock.by_admin)
    {
        query::permit(cx, actor, &instance, compute::SERVERS_UNLOCK_OTHERS)?;
    }
    instance.intent.locked = None;
    instances::update(&mut tx, &mut instance, cx.now()).await?;
    history::keep(&mut tx, cx, actor, &instance, Deed::Unlock, None).await?;
    tx.commit().await?;
    Ok(())
}
