//! Changes of status, each with its row in the transition log; deactivation and its end.

use super::access::changeable;
use crate::context::Context;
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_model::ids::{ImageId, TransitionId};
use corten_model::lifecycle::image::{ImageCommand, decide};
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_model::time::Timestamp;
use corten_store::images::{self, Image, ImageStatus};
use corten_store::transitions::{self, Transition};
use corten_store::{Failure, Result, Tx};

/// What the transition log and operations call an image.
pub(crate) const SUBJECT: &str = "image";

/// Gives the image a status and writes it, with everything else that was changed in it.
pub(crate) async fn move_to(
    tx: &mut Tx,
    image: &mut Image,
    to: ImageStatus,
    why: &str,
    origin: &Origin,
    now: Timestamp,
) -> Result<()> {
    let from = Some((image.status, image.status_since));
    image.status = to;
    image.status_since = now;
    image.updated_at = now;
    images::update(tx, image).await?;
    log(tx, image, from, to.as_str(), why, origin, now).await
}

/// Appends to the transition log. `from` is the status it had and since when; none for a new image.
pub(super) async fn log(
    tx: &mut Tx,
    image: &Image,
    from: Option<(ImageStatus, Timestamp)>,
    to: &str,
    why: &str,
    origin: &Origin,
    now: Timestamp,
) -> Result<()> {
    let transition = Transition {
        id: TransitionId::next(),
        at: now,
        subject_kind: SUBJECT.to_owned(),
        subject_id: image.id.to_string(),
        project_id: image.owner.clone(),
        from: from.map(|(status, _)| status.to_string()),
        to: to.to_owned(),
        why: why.to_owned(),
        origin: origin.clone(),
        lasted_micros: from.map_or(0, |(_, since)| now.since(since).as_micros() as i64),
    };
    transitions::append(tx, &transition).await
}

/// Forbids the use and the download of an image; its bytes stay.
pub async fn deactivate(cx: &Context, actor: &Actor, id: ImageId) -> Result<(), Failure> {
    switch(cx, actor, id, ImageCommand::Deactivate).await
}

pub async fn reactivate(cx: &Context, actor: &Actor, id: ImageId) -> Result<(), Failure> {
    switch(cx, actor, id, ImageCommand::Reactivate).await
}

/// Obeys a command that is done at once; Glance answers 403, not 409, where it is illegal.
async fn switch(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
    command: ImageCommand,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let mut image = changeable(&mut tx, cx, actor, id, action::IMAGES_DEACTIVATE).await?;
    let to = decide(image.status, command).map_err(Refusal::forbidden)?;
    if image.status == to {
        return Ok(());
    }
    move_to(
        &mut tx,
        &mut image,
        to,
        command.as_str(),
        &actor.origin(),
        cx.now(),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}
