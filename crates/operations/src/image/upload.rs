//! Bytes in: uploads, staging for an import, and files that are already on this machine.
//!
//! An upload goes on in a task of its own. A client that goes away ends its body with an error, and the task puts the
//! image back to `queued` and leaves no file; were it part of the request, it would just stop.

use super::access::changeable;
use super::files::{self, Received, Writer, file_path, new_part, part_path};
use super::{no_such_image, state::move_to};
use crate::context::Context;
use bytes::Bytes;
use corten_host::DiskFormat;
use corten_host::inspect::{InspectError, inspect};
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_model::ids::ImageId;
use corten_model::lifecycle::image::{ImageCommand, decide};
use corten_model::origin::Origin;
use corten_model::refusal::Refusal;
use corten_store::Failure;
use corten_store::images::{self, Image, ImageStatus, Staged};
use futures_util::{Stream, StreamExt};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

/// Containers whose bytes are not a disk in the declared format.
const WRAPPED: [&str; 3] = ["ova", "docker", "compressed"];

/// A body on its way in.
pub struct Incoming<S> {
    /// What its sender promised.
    pub expected_bytes: Option<u64>,
    pub body: S,
}

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Active,
    Staged,
}

/// Gives a queued image its bytes.
pub async fn upload<S, E>(
    cx: Arc<Context>,
    actor: Actor,
    id: ImageId,
    incoming: Incoming<S>,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Display + Send + 'static,
{
    in_own_task(receive(cx, actor, id, incoming, Goal::Active)).await
}

/// Keeps bytes for an import by `glance-direct`.
pub async fn stage<S, E>(
    cx: Arc<Context>,
    actor: Actor,
    id: ImageId,
    incoming: Incoming<S>,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Display + Send + 'static,
{
    in_own_task(receive(cx, actor, id, incoming, Goal::Staged)).await
}

async fn in_own_task(
    work: impl Future<Output = Result<(), Failure>> + Send + 'static,
) -> Result<(), Failure> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|error| Err(Failure::outside("receiving an image", error)))
}

async fn receive<S, E>(
    cx: Arc<Context>,
    actor: Actor,
    id: ImageId,
    incoming: Incoming<S>,
    goal: Goal,
) -> Result<(), Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: Display,
{
    let origin = actor.origin();
    let part = begin(&cx, &actor, id, goal).await?;
    let outcome = async {
        let received = take_in(&cx, &part, incoming).await?;
        finish(&cx, id, &part, received, goal, &origin).await
    }
    .await;
    if let Err(failure) = &outcome {
        put_back(&cx, id, &part, failure, &origin).await?;
    }
    outcome
}

/// Reserves the image for this upload and answers with the name of the file to write.
async fn begin(cx: &Context, actor: &Actor, id: ImageId, goal: Goal) -> Result<String, Failure> {
    let mut tx = cx.store.write().await?;
    let mut image = changeable(&mut tx, cx, actor, id, action::IMAGES_WRITE).await?;
    let command = match goal {
        Goal::Active => ImageCommand::Upload,
        Goal::Staged => ImageCommand::Stage,
    };
    let to = decide(image.status, command).map_err(Refusal::conflict)?;
    if goal == Goal::Active {
        check_formats(&image)?;
    }
    let part = new_part(id);
    image.incoming = Some(part.clone());
    image.import = None;
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
    Ok(part)
}

fn check_formats(image: &Image) -> Result<(), Refusal> {
    let unset: Vec<_> = [
        ("disk_format", &image.disk_format),
        ("container_format", &image.container_format),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.is_none().then_some(name))
    .collect();
    if unset.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Properties {} must be set prior to saving data.",
        unset.join(", ")
    )))
}

async fn take_in<S, E>(cx: &Context, part: &str, incoming: Incoming<S>) -> Result<Received, Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: Display,
{
    let Incoming {
        expected_bytes,
        mut body,
    } = incoming;
    let mut writer = Writer::create(cx, part, expected_bytes).await?;
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|error| {
            Refusal::invalid(format!(
                "The upload ended after {} bytes ({error}); nothing was kept. Upload the whole image again.",
                writer.taken_bytes
            ))
        })?;
        writer.write(bytes).await?;
    }
    if let Some(expected) = expected_bytes
        && expected != writer.taken_bytes
    {
        return Err(Refusal::invalid(format!(
            "Size mismatch: the request promised {expected} bytes and brought {}; nothing was kept. Upload the whole \
             image again.",
            writer.taken_bytes
        ))
        .into());
    }
    writer.finish().await
}

async fn finish(
    cx: &Context,
    id: ImageId,
    part: &str,
    received: Received,
    goal: Goal,
    origin: &Origin,
) -> Result<(), Failure> {
    let mut content = received.content.clone();
    if goal == Goal::Active {
        let image = images::get(&mut cx.store.read().await?, id)
            .await?
            .ok_or_else(|| gone(id))?;
        content.virtual_size_bytes = inspected_size(cx, &image, received.path()).await?;
    }
    let mut tx = cx.store.write().await?;
    let mut image = images::lock(&mut tx, id).await?.ok_or_else(|| gone(id))?;
    if image.incoming.as_deref() != Some(part) {
        return Err(gone(id).into());
    }
    image.incoming = None;
    match goal {
        Goal::Staged => {
            image.staged = Some(Staged {
                file: part.to_owned(),
                content,
            });
            image.updated_at = cx.now();
            images::update(&mut tx, &image).await?;
        }
        Goal::Active => {
            files::promote(cx, part, id).await?;
            image.content = Some(content);
            move_to(
                &mut tx,
                &mut image,
                ImageStatus::Active,
                "upload",
                origin,
                cx.now(),
            )
            .await?;
        }
    }
    let outcome = tx.commit().await;
    keep_if_referred(cx, id, received).await;
    Ok(outcome?)
}

/// After a commit: the file stays if the row refers to it, and goes if not. A commit that reports an error may have
/// been done all the same, so the row is asked; if it does not answer, the file is left for the next start to judge.
pub(crate) async fn keep_if_referred(cx: &Context, id: ImageId, received: Received) {
    let row = async { images::get(&mut cx.store.read().await?, id).await }.await;
    let name = received
        .path()
        .file_name()
        .and_then(|name| name.to_str())
        .map(str::to_owned);
    let refers = |image: &Image| image.staged.as_ref().map(|staged| &staged.file) == name.as_ref();
    match row {
        Ok(Some(image)) if image.content.is_none() && !refers(&image) => {}
        Ok(None) => {}
        Ok(Some(_)) | Err(_) => received.keep(),
    }
}

fn gone(id: ImageId) -> Refusal {
    Refusal::gone(format!(
        "Image {id} could not be found after upload. The image may have been deleted during the upload; its data was \
         removed."
    ))
}

/// An upload failed: the image waits for its bytes again.
async fn put_back(
    cx: &Context,
    id: ImageId,
    part: &str,
    failure: &Failure,
    origin: &Origin,
) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let Some(mut image) = images::lock(&mut tx, id).await? else {
        return Ok(());
    };
    if image.incoming.as_deref() != Some(part) {
        return Ok(());
    }
    image.incoming = None;
    let why = format!("upload failed: {failure}");
    move_to(
        &mut tx,
        &mut image,
        ImageStatus::Queued,
        &why,
        origin,
        cx.now(),
    )
    .await?;
    tx.commit().await?;
    files::remove(vec![part_path(cx, part), file_path(cx, id)]).await
}

/// Refuses bytes that are not what the image says, and tells the size of the disk in them. Without
/// `images.inspect`, and for containers that wrap a disk, everything passes and the size is unknown.
pub(crate) async fn inspected_size(
    cx: &Context,
    image: &Image,
    path: &Path,
) -> Result<Option<i64>, Failure> {
    let wrapped = image
        .container_format
        .as_deref()
        .is_some_and(|format| WRAPPED.contains(&format));
    if !cx.settings.images.inspect || wrapped {
        return Ok(None);
    }
    let declared = image.disk_format.as_deref().unwrap_or_default();
    let Some(format) = DiskFormat::parse(declared) else {
        return Err(Refusal::unsupported_media(format!(
            "Image {} cannot be inspected: its disk_format is '{declared}'.",
            image.id
        ))
        .into());
    };
    match inspect(path, format, Path::new("qemu-img")).await {
        Ok(inspection) => Ok(i64::try_from(inspection.virtual_size_bytes).ok()),
        Err(InspectError::Refused { reason }) => Err(Refusal::unsupported_media(format!(
            "The data of image {} is refused: {reason}.",
            image.id
        ))
        .into()),
        Err(InspectError::Failed(error)) => Err(Failure::outside("inspecting an image", error)),
    }
}

/// Gives a queued image the bytes of a file of this machine, which stays as it is. Done again, it changes nothing.
pub async fn store_from_file(
    cx: &Context,
    origin: &Origin,
    id: ImageId,
    source: &Path,
) -> Result<Image, Failure> {
    let part = new_part(id);
    let mut tx = cx.store.write().await?;
    let mut image = images::lock(&mut tx, id)
        .await?
        .ok_or_else(|| no_such_image(id))?;
    if image.status == ImageStatus::Active {
        return Ok(image);
    }
    image.incoming = Some(part.clone());
    move_to(
        &mut tx,
        &mut image,
        ImageStatus::Saving,
        "upload",
        origin,
        cx.now(),
    )
    .await?;
    tx.commit().await?;
    let outcome = async {
        let received = copy_in(cx, &part, source).await?;
        finish(cx, id, &part, received, Goal::Active, origin).await
    }
    .await;
    if let Err(failure) = outcome {
        put_back(cx, id, &part, &failure, origin).await?;
        return Err(failure);
    }
    let image = images::get(&mut cx.store.read().await?, id).await?;
    Ok(image.ok_or_else(|| no_such_image(id))?)
}

/// Takes in a file of this machine.
pub(crate) async fn copy_in(cx: &Context, part: &str, source: &Path) -> Result<Received, Failure> {
    use tokio::io::AsyncReadExt as _;
    let reading = |error| Failure::outside(format!("reading {}", source.display()), error);
    let mut file = tokio::fs::File::open(source).await.map_err(reading)?;
    let expected_bytes = file.metadata().await.map_err(reading)?.len();
    let mut writer = Writer::create(cx, part, Some(expected_bytes)).await?;
    loop {
        let mut buffer = bytes::BytesMut::with_capacity(1 << 20);
        if file.read_buf(&mut buffer).await.map_err(reading)? == 0 {
            return writer.finish().await;
        }
        writer.write(buffer.freeze()).await?;
    }
}
