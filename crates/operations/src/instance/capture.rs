//! Accepting `createImage` and `createBackup`: the image's row and the operation are committed together.

use super::command;
use crate::context::Context;
use crate::image::{self, NewImage};
use crate::quota;
use crate::snapshot_instance::{self, Backup, SnapshotInstance, Step};
use corten_engine::Place;
use corten_iam::action::compute;
use corten_iam::actor::Actor;
use corten_model::ids::{ImageId, InstanceId};
use corten_model::lifecycle::Command;
use corten_model::refusal::Refusal;
use corten_store::images::{ImageMember, MemberStatus, Visibility, members};
use corten_store::instances::Instance;
use corten_store::{Failure, Tx};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an image is to be taken as.
#[derive(Debug, Clone, Default)]
pub struct NewCapture {
    pub name: String,
    /// Becomes properties of the image.
    pub metadata: BTreeMap<String, String>,
    pub backup: Option<Backup>,
    /// Below 2.39 the metadata counts against the quota of servers.
    pub metadata_has_quota: bool,
}

/// Properties that are about the base image and not about what is made from it. Nova,
/// `non_inheritable_image_properties`.
const NOT_INHERITED: [&str; 8] = [
    "cache_in_nova",
    "bittorrent",
    "cinder_encryption_key_id",
    "cinder_encryption_key_deletion_policy",
    "img_signature",
    "img_signature_hash_method",
    "img_signature_key_type",
    "img_signature_certificate_uuid",
];

/// Takes an image of an instance; answers the id that the image has from now on.
pub async fn create_image(
    cx: &Arc<Context>,
    actor: &Actor,
    id: InstanceId,
    new: NewCapture,
) -> Result<ImageId, Failure> {
    let command = if new.backup.is_some() {
        Command::CreateBackup
    } else {
        Command::CreateImage
    };
    let mut accepted = command::accept(cx, actor, id, command, compute::SERVERS_WRITE).await?;
    let instance = &accepted.instance;
    if new.metadata_has_quota {
        let count = new.metadata.len() as i64;
        quota::check_metadata_items(&mut accepted.tx, cx, &instance.project_id, count).await?;
    }
    let backup = new.backup.clone();
    let image = image_of(instance, actor, new)?;
    let image_id = image::create_in(&mut accepted.tx, cx, actor, image)
        .await?
        .id;
    if !is_owner(actor, instance) {
        share(&mut accepted.tx, cx, image_id, instance).await?;
    }
    let input = snapshot_instance::Input {
        instance_id: id,
        image_id,
        backup,
    };
    let workflow = SnapshotInstance {
        cx: cx.clone(),
        command,
    };
    command::go(
        cx,
        actor,
        accepted,
        &workflow,
        (Place::Control, Step::Begin),
        input,
    )
    .await?;
    Ok(image_id)
}

/// The image will be in the instance's own project. Who has no project takes it for the owner.
fn is_owner(actor: &Actor, instance: &Instance) -> bool {
    actor
        .project_id()
        .is_none_or(|project| *project == instance.project_id)
}

pub(super) fn image_of(
    instance: &Instance,
    actor: &Actor,
    new: NewCapture,
) -> Result<NewImage, Refusal> {
    let intent = &instance.intent;
    let base = intent.image.as_ref().ok_or_else(|| {
        Refusal::invalid(format!(
            "Instance {} has no image of its own: take a snapshot of its volume.",
            instance.id
        ))
    })?;
    let inherited = |name: &str| !NOT_INHERITED.contains(&name) && !name.starts_with("os_glance");
    let mut properties: BTreeMap<_, _> = base
        .properties
        .iter()
        .filter(|(name, _)| inherited(name))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let own = is_owner(actor, instance);
    let mut put = |name: &str, value: String| properties.insert(name.to_owned(), value);
    put("base_image_ref", base.id.to_string());
    put(snapshot_instance::INSTANCE_UUID, instance.id.to_string());
    put("user_id", actor.user_id.to_string());
    match &new.backup {
        Some(backup) => {
            put(
                snapshot_instance::IMAGE_TYPE,
                snapshot_instance::BACKUP.to_owned(),
            );
            put(snapshot_instance::BACKUP_TYPE, backup.backup_type.clone());
        }
        None => {
            put(snapshot_instance::IMAGE_TYPE, "snapshot".to_owned());
        }
    }
    if !own {
        put("instance_owner", instance.project_id.to_string());
    }
    properties.extend(new.metadata);
    Ok(NewImage {
        name: Some(new.name),
        owner: own.then(|| instance.project_id.clone()),
        visibility: Some(if own {
            Visibility::Private
        } else {
            Visibility::Shared
        }),
        disk_format: Some(snapshot_instance::FORMAT.as_str().to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk_gib: base.min_disk_gib.max(intent.flavor.root_gib),
        min_ram_mib: base.min_ram_mib,
        properties,
        ..NewImage::default()
    })
}

/// Gives the owner of the instance access to an image that somebody else took of it.
async fn share(
    tx: &mut Tx,
    cx: &Context,
    image_id: ImageId,
    instance: &Instance,
) -> Result<(), Failure> {
    let now = cx.now();
    let member = ImageMember {
        image_id,
        member: instance.project_id.clone(),
        status: MemberStatus::Pending,
        created_at: now,
        updated_at: now,
    };
    Ok(members::insert(tx, &member).await?)
}
