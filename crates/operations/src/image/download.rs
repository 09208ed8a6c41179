//! Bytes out: the whole file of an image or a part of it.

use super::access::{own_project, readable};
use super::file_path;
use crate::context::Context;
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_store::Failure;
use corten_store::images::{Content, ImageStatus};
use tokio::fs::File;

/// The open file of an image.
pub struct Download {
    pub file: File,
    pub content: Content,
}

/// Opens an image's bytes; `None` if it has none yet.
pub async fn download(
    cx: &Context,
    actor: &Actor,
    id: ImageId,
) -> Result<Option<Download>, Failure> {
    let image = readable(&mut cx.store.read().await?, cx, actor, id).await?;
    let is_admin = cx
        .policy
        .check(actor, action::IMAGES_PUBLISH, &Target::cloud())
        .is_ok();
    if !is_admin {
        cx.policy
            .check(actor, action::IMAGES_DOWNLOAD, &own_project(actor))?;
        if image.status == ImageStatus::Deactivated {
            return Err(Refusal::forbidden(
                "The requested image has been deactivated. Image data download is forbidden until it is reactivated.",
            )
            .into());
        }
    }
    let Some(content) = image.content else {
        return Ok(None);
    };
    let path = file_path(cx, id);
    match File::open(&path).await {
        Ok(file) => Ok(Some(Download { file, content })),
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "an active image has no readable file");
            Err(Refusal::unavailable(format!(
                "The data of image {id} cannot be read at the moment; the administrator finds the cause in the log."
            ))
            .into())
        }
    }
}
