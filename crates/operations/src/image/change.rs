//! Changes of what an image says about itself: attributes, properties and tags.

use super::access::{changeable, target};
use super::{MAX_PROPERTIES, MAX_TAGS, too_many};
use crate::context::Context;
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ImageId, ProjectId};
use corten_model::refusal::Refusal;
use corten_store::Failure;
use corten_store::images::{self, Image, ImageStatus, Visibility};
use std::collections::BTreeSet;

/// An attribute that every image has and that can be changed, with a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Name(Option<String>),
    Visibility(Visibility),
    Owner(Option<ProjectId>),
    Protected(bool),
    Hidden(bool),
    DiskFormat(Option<String>),
    ContainerFormat(Option<String>),
    MinDiskGib(i64),
    MinRamMib(i64),
    Tags(BTreeSet<String>),
}

/// One change of a patch.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Set(Attribute),
    /// Gives a property its value, new or not.
    SetProperty {
        name: String,
        value: String,
    },
    /// Refused if the image has the property.
    AddProperty {
        name: String,
        value: String,
    },
    /// Refused if the image does not have the property.
    ReplaceProperty {
        name: String,
        value: String,
    },
    RemoveProperty {
        name: String,
    },
}

/// Makes all changes of a patch, or none.
pub async fn update(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
    changes: Vec<Change>,
) -> Result<Image, Failure> {
    let mut tx = cx.store.write().await?;
    let mut image = changeable(&mut tx, cx, actor, id, action::IMAGES_WRITE).await?;
    if changes.is_empty() {
        return Ok(image);
    }
    for change in changes {
        apply(cx, actor, &mut image, change)?;
    }
    if image.properties.len() > MAX_PROPERTIES {
        return Err(too_many("properties", image.properties.len(), MAX_PROPERTIES).into());
    }
    if image.tags.len() > MAX_TAGS {
        return Err(too_many("tags", image.tags.len(), MAX_TAGS).into());
    }
    image.updated_at = cx.now();
    images::update(&mut tx, &image).await?;
    tx.commit().await?;
    Ok(image)
}

fn apply(cx: &Context, actor: &Actor, image: &mut Image, change: Change) -> Result<(), Refusal> {
    match change {
        Change::Set(attribute) => set(cx, actor, image, attribute)?,
        Change::SetProperty { name, value } => {
            image.properties.insert(name, value);
        }
        Change::AddProperty { name, value } => {
            if image.properties.contains_key(&name) {
                return Err(Refusal::conflict(format!(
                    "Property {name} already present: replace it instead."
                )));
            }
            image.properties.insert(name, value);
        }
        Change::ReplaceProperty { name, value } => match image.properties.get_mut(&name) {
            Some(old) => *old = value,
            None => return Err(no_such_property(&name)),
        },
        Change::RemoveProperty { name } => {
            image
                .properties
                .remove(&name)
                .ok_or_else(|| no_such_property(&name))?;
        }
    }
    Ok(())
}

fn no_such_property(name: &str) -> Refusal {
    Refusal::conflict(format!("Property {name} does not exist: add it first."))
}

fn set(
    cx: &Context,
    actor: &Actor,
    image: &mut Image,
    attribute: Attribute,
) -> Result<(), Refusal> {
    match attribute {
        Attribute::Name(name) => image.name = name,
        Attribute::Visibility(visibility) => {
            if visibility != image.visibility {
                check_visibility(cx, actor, visibility, &target(image))?;
            }
            image.visibility = visibility;
        }
        Attribute::Owner(owner) => {
            cx.policy
                .check(actor, action::IMAGES_PUBLISH, &Target::cloud())
                .map_err(|_| {
                    Refusal::forbidden(
                        "Owner can't be updated by non admin: ask an administrator of the cloud.",
                    )
                })?;
            image.owner = Some(owner.ok_or_else(|| {
                Refusal::invalid("Invalid input for 'owner': null. An image belongs to a project.")
            })?);
        }
        Attribute::Protected(protected) => image.protected = protected,
        Attribute::Hidden(hidden) => image.hidden = hidden,
        Attribute::DiskFormat(format) => {
            check_queued(image, "disk_format", &image.disk_format, &format)?;
            image.disk_format = format;
        }
        Attribute::ContainerFormat(format) => {
            check_queued(image, "container_format", &image.container_format, &format)?;
            image.container_format = format;
        }
        Attribute::MinDiskGib(gib) => image.min_disk_gib = gib,
        Attribute::MinRamMib(mib) => image.min_ram_mib = mib,
        Attribute::Tags(tags) => image.tags = tags,
    }
    Ok(())
}

/// Formats say what the bytes are, so they are fixed once there are bytes.
fn check_queued(
    image: &Image,
    attribute: &str,
    old: &Option<String>,
    new: &Option<String>,
) -> Result<(), Refusal> {
    if image.status == ImageStatus::Queued || old == new {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "Attribute {attribute} can be only replaced for a queued image; image {} is {}.",
        image.id, image.status
    )))
}

/// May the actor show an image to this many?
pub(super) fn check_visibility(
    cx: &Context,
    actor: &Actor,
    visibility: Visibility,
    target: &Target,
) -> Result<(), Refusal> {
    match visibility {
        Visibility::Public => cx
            .policy
            .check(actor, action::IMAGES_PUBLISH, &Target::cloud()),
        Visibility::Community => cx.policy.check(actor, action::IMAGES_COMMUNITY, target),
        Visibility::Shared | Visibility::Private => Ok(()),
    }
}

/// Adds a tag; one that is there stays.
pub async fn add_tag(cx: &Context, actor: &Actor, id: ImageId, tag: String) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut image = changeable(&mut tx, cx, actor, id, action::IMAGES_WRITE).await?;
    if !image.tags.insert(tag) {
        return Ok(());
    }
    if image.tags.len() > MAX_TAGS {
        return Err(too_many("tags", image.tags.len(), MAX_TAGS).into());
    }
    image.updated_at = cx.now();
    images::update(&mut tx, &image).await?;
    tx.commit().await?;
    Ok(())
}

pub async fn remove_tag(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
    tag: &str,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut image = changeable(&mut tx, cx, actor, id, action::IMAGES_WRITE).await?;
    if !image.tags.remove(tag) {
        return Err(Refusal::not_found(format!("Image {id} has no tag '{tag}'.")).into());
    }
    image.updated_at = cx.now();
    images::update(&mut tx, &image).await?;
    tx.commit().await?;
    Ok(())
}
