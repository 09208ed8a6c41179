//! Sharing an image with other projects (K103): its owner adds members, and only a member says whether it accepts.

use super::access::{changeable, list_viewer, readable};
use super::{MAX_MEMBERS, too_many};
use crate::context::Context;
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ImageId, ProjectId};
use corten_model::refusal::Refusal;
use corten_store::images::members as rows;
use corten_store::images::{Image, ImageMember, MemberStatus, Viewer, Visibility};
use corten_store::{Error, Failure, Tx};

fn check_shared(image: &Image) -> Result<(), Refusal> {
    if image.visibility == Visibility::Shared {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "Only shared images have members; image {} is {}: set its visibility to shared first.",
        image.id, image.visibility
    )))
}

fn no_such_member(id: ImageId, member: &ProjectId) -> Refusal {
    Refusal::not_found(format!(
        "{member} not found in the member list of the image {id}."
    ))
}

/// Offers an image to a project.
pub async fn add_member(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
    member: ProjectId,
) -> Result<ImageMember, Failure> {
    let mut tx = cx.store.write().await?;
    let image = changeable(&mut tx, cx, actor, id, action::MEMBERS_WRITE).await?;
    check_shared(&image)?;
    let count = rows::of_image(&mut tx, id).await?.len() + 1;
    if count > MAX_MEMBERS {
        return Err(too_many("members", count, MAX_MEMBERS).into());
    }
    let now = cx.now();
    let new = ImageMember {
        image_id: id,
        member,
        status: MemberStatus::Pending,
        created_at: now,
        updated_at: now,
    };
    rows::insert(&mut tx, &new)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => Failure::Refused(Refusal::conflict(format!(
                "Image {id} is already shared with project {}.",
                new.member
            ))),
            other => other.into(),
        })?;
    tx.commit().await?;
    Ok(new)
}

/// What the actor sees of an image's members: all as its owner, itself as a member.
async fn visible(
    tx: &mut Tx,
    cx: &Context,
    actor: &Actor,
    image: &Image,
) -> Result<Vec<ImageMember>, Failure> {
    let all = rows::of_image(tx, image.id).await?;
    match list_viewer(cx, actor)? {
        Viewer::Cloud { .. } => Ok(all),
        Viewer::Project(project) if image.is_owned_by(Some(&project)) => Ok(all),
        Viewer::Project(project) => Ok(all
            .into_iter()
            .filter(|row| row.member == project)
            .collect()),
    }
}

pub async fn members(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
) -> Result<Vec<ImageMember>, Failure> {
    let mut tx = cx.store.read().await?;
    let image = readable(&mut tx, cx, actor, id).await?;
    check_shared(&image)?;
    visible(&mut tx, cx, actor, &image).await
}

pub async fn get_member(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
    member: &ProjectId,
) -> Result<ImageMember, Failure> {
    let mut tx = cx.store.read().await?;
    let image = readable(&mut tx, cx, actor, id).await?;
    let rows = visible(&mut tx, cx, actor, &image).await?;
    Ok(rows
        .into_iter()
        .find(|row| &row.member == member)
        .ok_or_else(|| no_such_member(id, member))?)
}

/// Accepts or rejects an image, as the project it is offered to.
pub async fn set_member_status(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
    member: &ProjectId,
    status: MemberStatus,
) -> Result<ImageMember, Failure> {
    let mut tx = cx.store.write().await?;
    let image = readable(&mut tx, cx, actor, id).await?;
    check_shared(&image)?;
    let rows = visible(&mut tx, cx, actor, &image).await?;
    let mut row = rows
        .into_iter()
        .find(|row| &row.member == member)
        .ok_or_else(|| no_such_member(id, member))?;
    cx.policy
        .check(actor, action::MEMBERS_WRITE, &Target::project(member))
        .map_err(|_| {
            Refusal::forbidden(format!(
                "Only a member of project {member} may accept or reject image {id}, not its owner."
            ))
        })?;
    row.status = status;
    row.updated_at = cx.now();
    rows::update(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(row)
}

/// Takes an image away from a project. Instances it made from it keep running.
pub async fn remove_member(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
    member: &ProjectId,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let image = changeable(&mut tx, cx, actor, id, action::MEMBERS_WRITE).await?;
    check_shared(&image)?;
    if !rows::delete(&mut tx, id, member).await? {
        return Err(no_such_member(id, member).into());
    }
    tx.commit().await?;
    Ok(())
}
