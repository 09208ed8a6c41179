//! A new image: a name that waits for its bytes.

use super::access::own_project;
use super::change::check_visibility;
use super::{MAX_PROPERTIES, MAX_TAGS, state, too_many};
use crate::context::Context;
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ImageId, ProjectId};
use corten_model::refusal::Refusal;
use corten_store::images::{self, Image, ImageStatus, Visibility};
use corten_store::{Error, Failure, Tx, transitions};
use std::collections::{BTreeMap, BTreeSet};

/// What an image starts with.
#[derive(Debug, Clone, Default)]
pub struct NewImage {
    pub id: Option<ImageId>,
    pub name: Option<String>,
    /// Shared, if not given.
    pub visibility: Option<Visibility>,
    /// The actor's project, if not given.
    pub owner: Option<ProjectId>,
    pub protected: bool,
    pub hidden: bool,
    pub disk_format: Option<String>,
    pub container_format: Option<String>,
    pub min_disk_gib: i64,
    pub min_ram_mib: i64,
    pub tags: BTreeSet<String>,
    pub properties: BTreeMap<String, String>,
}

pub async fn create(cx: &Context, actor: &Actor, new: NewImage) -> Result<Image, Failure> {
    let mut tx = cx.store.write().await?;
    let image = create_in(&mut tx, cx, actor, new).await?;
    tx.commit().await?;
    Ok(image)
}

/// Adds the image in a transaction that does more.
pub async fn create_in(
    tx: &mut Tx,
    cx: &Context,
    actor: &Actor,
    new: NewImage,
) -> Result<Image, Failure> {
    let NewImage {
        id,
        name,
        visibility,
        owner,
        protected,
        hidden,
        disk_format,
        container_format,
        min_disk_gib,
        min_ram_mib,
        tags,
        properties,
    } = new;
    let target = owner
        .as_ref()
        .map_or_else(|| own_project(actor), Target::project);
    cx.policy.check(actor, action::IMAGES_CREATE, &target)?;
    let owner = owner.or_else(|| actor.project_id().cloned()).ok_or_else(|| {
        Refusal::invalid("An image belongs to a project: name one as 'owner', or use a token that is scoped to one.")
    })?;
    let visibility = visibility.unwrap_or(Visibility::Shared);
    check_visibility(cx, actor, visibility, &target)?;
    if properties.len() > MAX_PROPERTIES {
        return Err(too_many("properties", properties.len(), MAX_PROPERTIES).into());
    }
    if tags.len() > MAX_TAGS {
        return Err(too_many("tags", tags.len(), MAX_TAGS).into());
    }
    let id = match id {
        Some(id) => unused(tx, id).await?,
        None => ImageId::random(),
    };
    let now = cx.now();
    let image = Image {
        id,
        name,
        status: ImageStatus::Queued,
        visibility,
        owner: Some(owner),
        protected,
        hidden,
        disk_format,
        container_format,
        content: None,
        min_disk_gib,
        min_ram_mib,
        tags,
        properties,
        incoming: None,
        staged: None,
        import: None,
        created_at: now,
        updated_at: now,
        status_since: now,
    };
    images::insert(tx, &image)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => Failure::Refused(taken(id)),
            other => other.into(),
        })?;
    state::log(
        tx,
        &image,
        None,
        ImageStatus::Queued.as_str(),
        "create",
        &actor.origin(),
        now,
    )
    .await?;
    Ok(image)
}

fn taken(id: ImageId) -> Refusal {
    Refusal::conflict(format!(
        "Image ID {id} already exists: choose another id, or none to get one."
    ))
}

/// An id names one image for ever, so that a file left by a deleted one can never be taken for the new one's.
async fn unused(tx: &mut Tx, id: ImageId) -> Result<ImageId, Failure> {
    if transitions::of_subject(tx, state::SUBJECT, &id.to_string())
        .await?
        .is_empty()
    {
        Ok(id)
    } else {
        Err(taken(id).into())
    }
}
