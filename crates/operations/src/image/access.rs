//! Who sees an image, and who may change it. What an actor does not see does not exist for them.

use super::{STORE, no_such_image};
use crate::context::Context;
use corten_iam::action::{Action, image as action};
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_store::images::{
    self, Condition, Image, ImageStatus, ListQuery, MemberStatus, Viewer, Visibility,
    VisibilityFilter,
};
use corten_store::record::Direction;
use corten_store::{Failure, Tx};
use serde_json::{Value, json};

/// The target of what an actor does in their own project.
pub(super) fn own_project(actor: &Actor) -> Target {
    actor
        .project_id()
        .map_or_else(Target::cloud, Target::project)
}

/// The target of what is done to an image.
pub(super) fn target(image: &Image) -> Target {
    image
        .owner
        .as_ref()
        .map_or_else(Target::cloud, Target::project)
}

/// On whose behalf an actor lists images.
pub(super) fn list_viewer(cx: &Context, actor: &Actor) -> Result<Viewer, Refusal> {
    if cx
        .policy
        .check(actor, action::IMAGES_READ_ALL, &Target::cloud())
        .is_ok()
    {
        return Ok(Viewer::Cloud {
            project: actor.project_id().cloned(),
        });
    }
    cx.policy
        .check(actor, action::IMAGES_READ, &own_project(actor))?;
    let project = actor.project_id().ok_or_else(|| {
        Refusal::forbidden("Images belong to projects: ask with a token that is scoped to one.")
    })?;
    Ok(Viewer::Project(project.clone()))
}

/// Does this viewer see that image, if they name it?
pub(crate) async fn sees(tx: &mut Tx, viewer: &Viewer, image: &Image) -> Result<bool, Failure> {
    let Viewer::Project(project) = viewer else {
        return Ok(true);
    };
    if image.is_owned_by(Some(project)) {
        return Ok(true);
    }
    Ok(match image.visibility {
        Visibility::Public | Visibility::Community => true,
        Visibility::Private => false,
        Visibility::Shared => images::members::get(tx, image.id, project).await?.is_some(),
    })
}

pub(super) async fn readable(
    tx: &mut Tx,
    cx: &Context,
    actor: &Actor,
    id: ImageId,
) -> Result<Image, Failure> {
    let viewer = list_viewer(cx, actor).map_err(|_| no_such_image(id))?;
    match images::get(tx, id).await? {
        Some(image) if sees(tx, &viewer, &image).await? => Ok(image),
        _ => Err(no_such_image(id).into()),
    }
}

/// The image, locked for a change that `action` allows its owner.
pub(super) async fn changeable(
    tx: &mut Tx,
    cx: &Context,
    actor: &Actor,
    id: ImageId,
    action: Action,
) -> Result<Image, Failure> {
    let viewer = list_viewer(cx, actor).map_err(|_| no_such_image(id))?;
    let Some(image) = images::lock(tx, id).await? else {
        return Err(no_such_image(id).into());
    };
    if !sees(tx, &viewer, &image).await? {
        return Err(no_such_image(id).into());
    }
    cx.policy.check(actor, action, &target(&image))?;
    Ok(image)
}

/// An image that the actor sees.
pub async fn get(cx: &Context, actor: &Actor, id: ImageId) -> Result<Image, Failure> {
    readable(&mut cx.store.read().await?, cx, actor, id).await
}

/// What a list of images shows, and how.
pub struct List {
    pub visibility: VisibilityFilter,
    /// Which shared images count as shared with the actor; `None` means any.
    pub member_status: Option<MemberStatus>,
    pub conditions: Vec<Condition>,
    pub order: Vec<(&'static str, Direction)>,
    /// The last image of the page before.
    pub marker: Option<ImageId>,
    pub limit: i64,
}

/// The images that the actor sees, a page of them.
pub async fn list(cx: &Context, actor: &Actor, list: List) -> Result<Vec<Image>, Failure> {
    let List {
        visibility,
        member_status,
        conditions,
        order,
        marker,
        limit,
    } = list;
    let viewer = list_viewer(cx, actor)?;
    let mut tx = cx.store.read().await?;
    let marker = match marker {
        Some(id) => Some(readable(&mut tx, cx, actor, id).await.map_err(
            |failure| match failure {
                Failure::Refused(_) => Failure::Refused(Refusal::invalid(format!(
                    "Invalid marker: image {id} could not be found. Start again without a marker."
                ))),
                other => other,
            },
        )?),
        None => None,
    };
    let query = ListQuery {
        viewer,
        visibility,
        member_status,
        conditions,
        order,
        marker,
        limit,
    };
    Ok(query.run(&mut tx).await?)
}

/// An image that an instance can be made from: visible to the actor, with its bytes, and not deactivated.
pub async fn get_usable(cx: &Context, actor: &Actor, id: ImageId) -> Result<Image, Failure> {
    let image = get(cx, actor, id).await?;
    match image.status {
        ImageStatus::Active => Ok(image),
        ImageStatus::Deactivated => Err(Refusal::invalid(format!(
            "Image {id} is deactivated: an administrator or its owner has to reactivate it first."
        ))
        .into()),
        status => Err(Refusal::invalid(format!(
            "Image {id} is not active but {status}: it can be used once its upload or import is complete."
        ))
        .into()),
    }
}

/// May the actor look after a cache of images?
pub fn check_cache(cx: &Context, actor: &Actor) -> Result<(), Refusal> {
    cx.policy
        .check(actor, action::CACHE_ADMINISTER, &Target::cloud())
}

/// The directory of the store.
pub fn store_directory(cx: &Context, actor: &Actor) -> Result<String, Refusal> {
    cx.policy
        .check(actor, action::STORES_ADMINISTER, &Target::cloud())?;
    Ok(cx.image_dir.display().to_string())
}

/// Where the bytes of an image are, for the administrator of the cloud.
pub async fn locations(cx: &Context, actor: &Actor, id: ImageId) -> Result<Vec<Value>, Failure> {
    let image = get(cx, actor, id).await?;
    let directory = store_directory(cx, actor)?;
    let location =
        || json!({"url": format!("file://{directory}/{id}"), "metadata": {"store": STORE}});
    Ok(image.content.iter().map(|_| location()).collect())
}
