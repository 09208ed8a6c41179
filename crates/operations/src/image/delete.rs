//! The end of an image. Instances made from it keep running: each host has its own copy of the base (K104).

use super::access::changeable;
use super::{STORE, files, state};
use crate::context::Context;
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ImageId;
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::images::{self, Image, ImageStatus};
use corten_store::{Failure, Tx, operations};

/// Removes an image and its bytes. An upload or import that is under way ends without effect.
pub async fn delete(cx: &Context, actor: &Actor, id: ImageId) -> Result<(), Failure> {
    let now = cx.now();
    let mut tx = cx.store.write().await?;
    let image = changeable(&mut tx, cx, actor, id, action::IMAGES_WRITE).await?;
    if image.protected {
        return Err(Refusal::forbidden(format!(
            "Image {id} is protected and cannot be deleted: set 'protected' to false first."
        ))
        .into());
    }
    operations::supersede(
        &mut tx,
        state::SUBJECT,
        &id.to_string(),
        "The image was deleted.",
        now,
    )
    .await?;
    remove_row(&mut tx, &image, "delete", &actor.origin(), now).await?;
    tx.commit().await?;
    // A crash before this leaves files without a row, which the next start removes.
    files::remove_all_of(cx, &image).await
}

/// Removes an image's row and logs that it is gone. Its files are the caller's to remove.
pub(crate) async fn remove_row(
    tx: &mut Tx,
    image: &Image,
    why: &str,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), corten_store::Error> {
    images::delete(tx, image.id).await?;
    let from = Some((image.status, image.status_since));
    state::log(
        tx,
        image,
        from,
        ImageStatus::Deleted.as_str(),
        why,
        origin,
        now,
    )
    .await
}

/// Removes an image's bytes from one of several stores. There is one store, and the last copy stays.
pub async fn delete_from_store(
    cx: &Context,
    actor: &Actor,
    store: &str,
    id: ImageId,
) -> Result<(), Failure> {
    cx.policy
        .check(actor, action::STORES_ADMINISTER, &Target::cloud())?;
    if store != STORE {
        return Err(Refusal::conflict(format!(
            "The selected store {store} is not available on this node; the stores are: {STORE}."
        ))
        .into());
    }
    let image = super::get(cx, actor, id).await?;
    if image.status != ImageStatus::Active {
        return Err(Refusal::conflict(format!(
            "Image {id} is {}; its data can be removed from a store only while it is active.",
            image.status
        ))
        .into());
    }
    Err(Refusal::forbidden(
        "Cannot delete image data from the only store containing it. Consider deleting the image instead.",
    )
    .into())
}
