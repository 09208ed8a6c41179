//! What a request for an instance names, found and checked: flavor, image, key pair, availability zone, server group.

use crate::context::Context;
use crate::{flavor, image};
use corten_iam::actor::Actor;
use corten_model::ids::{FlavorId, ImageId, ProjectId, ServerGroupId, UserId};
use corten_model::lifecycle::InstanceClass;
use corten_model::refusal::{Reason, Refusal};
use corten_store::flavors::Flavor;
use corten_store::images::Image;
use corten_store::instances::{self, Key};
use corten_store::keypairs::KeyPair;
use corten_store::server_groups::ServerGroup;
use corten_store::{Failure, Tx, aggregates, record};
use serde_json::Value;
use std::collections::BTreeMap;

/// A flavor that an instance can get now, and the class of what it makes.
pub async fn usable_flavor(
    cx: &Context,
    tx: &mut Tx,
    actor: &Actor,
    id: &FlavorId,
) -> Result<(instances::Flavor, InstanceClass), Failure> {
    let flavor = flavor::visible(cx, tx, actor, id)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(_) => {
                Refusal::invalid(format!("Flavor {id} could not be found.")).into()
            }
            trouble => trouble,
        })?;
    if flavor.disabled {
        return Err(Refusal::invalid(format!("Flavor {id} is disabled: choose another.")).into());
    }
    let class = flavor.class;
    Ok((flavor_row(flavor), class))
}

/// A flavor that a virtual machine can get now.
pub async fn vm_flavor(
    cx: &Context,
    tx: &mut Tx,
    actor: &Actor,
    id: &FlavorId,
) -> Result<instances::Flavor, Failure> {
    let (flavor, class) = usable_flavor(cx, tx, actor, id).await?;
    if class == InstanceClass::Metal {
        return Err(Refusal::invalid(format!(
            "Flavor {id} is for whole bare-metal servers: choose a flavor for virtual machines."
        ))
        .into());
    }
    Ok(flavor)
}

/// The flavor as an instance keeps it.
pub fn flavor_row(flavor: Flavor) -> instances::Flavor {
    instances::Flavor {
        id: flavor.id,
        name: flavor.name,
        vcpus: flavor.vcpus.into(),
        memory_mib: flavor.memory_mib.into(),
        root_gib: flavor.disk_gib.into(),
        ephemeral_gib: flavor.ephemeral_gib.into(),
        swap_mib: flavor.swap_mib.into(),
        extra_specs: flavor.extra_specs,
    }
}

/// The image as an instance keeps it.
pub fn image_row(image: Image) -> instances::Image {
    instances::Image {
        id: image.id,
        sha512: image
            .content
            .map(|content| content.sha512)
            .unwrap_or_default(),
        disk_format: image.disk_format.unwrap_or_default(),
        min_disk_gib: image.min_disk_gib,
        min_ram_mib: image.min_ram_mib,
        properties: image.properties,
    }
}

/// The image that a request names. One that is not there is a wrong request here, not a missing page.
pub async fn bootable_image(cx: &Context, actor: &Actor, id: ImageId) -> Result<Image, Failure> {
    image::get_usable(cx, actor, id)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(refusal) if refusal.reason == Reason::NotFound => {
                Refusal::invalid(format!("Can not find requested image: {}", refusal.message))
                    .into()
            }
            other => other,
        })
}

/// An image that `actor` may boot from.
pub async fn image_of(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
) -> Result<instances::Image, Failure> {
    Ok(image_row(image::get_usable(cx, actor, id).await?))
}

/// The image's own demands on the flavor (K89).
pub fn check_image_fits(image: &Image, flavor: &instances::Flavor) -> Result<(), Refusal> {
    if flavor.memory_mib < image.min_ram_mib {
        return Err(Refusal::invalid(format!(
            "Flavor's memory is too small for requested image. Image {} needs {} MiB, flavor {} has {} MiB.",
            image.id, image.min_ram_mib, flavor.name, flavor.memory_mib
        )));
    }
    if flavor.root_gib == 0 {
        return Ok(());
    }
    let gib = |bytes: i64| (bytes + (1 << 30) - 1) >> 30;
    let content_gib = image.content.as_ref().map_or(0, |content| {
        gib(content.virtual_size_bytes.unwrap_or(content.size_bytes))
    });
    let needed = content_gib.max(image.min_disk_gib);
    if flavor.root_gib < needed {
        return Err(Refusal::invalid(format!(
            "Flavor's disk is too small for requested image. Flavor disk is {} GiB, image {} needs {needed} GiB.",
            flavor.root_gib, image.id
        )));
    }
    Ok(())
}

/// A user's key pair, as an instance keeps it.
pub async fn key_of(cx: &Context, user: &UserId, name: &str) -> Result<Key, Failure> {
    let mut tx = cx.store.read().await?;
    let found: Option<KeyPair> = record::get(&mut tx, KeyPair::key(user, name)).await?;
    let pair = found.ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid key_name provided: key pair '{name}' could not be found."
        ))
    })?;
    Ok(Key {
        name: pair.name,
        kind: pair.kind.as_str().to_owned(),
        public_key: pair.public_key,
    })
}

/// An availability zone that there is.
pub async fn check_zone(cx: &Context, tx: &mut Tx, zone: Option<&str>) -> Result<(), Failure> {
    let Some(zone) = zone else { return Ok(()) };
    let known = zone == cx.settings.compute.default_availability_zone
        || aggregates::zones(tx)
            .await?
            .values()
            .any(|known| known == zone);
    if known {
        Ok(())
    } else {
        Err(Refusal::invalid(format!(
            "The requested availability zone '{zone}' is not available"
        ))
        .into())
    }
}

/// The server group that a hint names.
pub async fn group_of(
    tx: &mut Tx,
    project: &ProjectId,
    hints: &BTreeMap<String, Value>,
) -> Result<Option<ServerGroup>, Failure> {
    let Some(hint) = hints.get("group") else {
        return Ok(None);
    };
    let refused = || {
        Refusal::invalid(format!(
            "Server group {hint} could not be found. The hint 'group' is the id of one."
        ))
    };
    let id: ServerGroupId = hint
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(refused)?;
    let group: Option<ServerGroup> = record::get(tx, id).await?;
    let group = group
        .filter(|group| group.project_id == *project)
        .ok_or_else(refused)?;
    Ok(Some(group))
}
