//! What a start does after a crash: uploads that died with their process are undone, and files that belong to no
//! image are removed. Imports need nothing here: they are operations, and go on.

use super::state::{SUBJECT, move_to};
use super::{file_path, files, metadefs};
use crate::context::Context;
use corten_model::origin::Origin;
use corten_store::images::{self, Image, ImageStatus, Import};
use corten_store::{Failure, operations};
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

pub async fn recover(cx: &Context) -> Result<(), Failure> {
    let open = [
        ImageStatus::Saving,
        ImageStatus::Uploading,
        ImageStatus::Importing,
    ];
    let unfinished = images::in_status(&mut cx.store.read().await?, &open).await?;
    for image in unfinished {
        if is_abandoned(cx, &image).await? {
            put_back(cx, &image).await?;
        }
    }
    sweep(cx).await?;
    metadefs::load_preset(cx).await
}

/// Nobody will finish what this image waits for.
async fn is_abandoned(cx: &Context, image: &Image) -> Result<bool, Failure> {
    if image.status == ImageStatus::Importing {
        let mut tx = cx.store.read().await?;
        return Ok(
            operations::running_on(&mut tx, SUBJECT, &image.id.to_string())
                .await?
                .is_none(),
        );
    }
    let Some(part) = &image.incoming else {
        return Ok(image.staged.is_none());
    };
    let paths = [files::part_path(cx, part), file_path(cx, image.id)];
    Ok(!paths.iter().any(|path| files::is_being_written(path)))
}

async fn put_back(cx: &Context, seen: &Image) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    let Some(mut image) = images::lock(&mut tx, seen.id).await? else {
        return Ok(());
    };
    if image.status != seen.status || image.incoming != seen.incoming {
        return Ok(());
    }
    image.incoming = None;
    image.staged = None;
    if image.status == ImageStatus::Importing {
        image.import = Some(Import {
            operation: None,
            running: false,
            failed: true,
        });
    }
    let why = "the process that received its data ended";
    move_to(
        &mut tx,
        &mut image,
        ImageStatus::Queued,
        why,
        &Origin::system(),
        cx.now(),
    )
    .await?;
    tx.commit().await?;
    tracing::info!(image = %image.id, "an upload did not survive the last stop; the image is queued again");
    Ok(())
}

/// Removes the files that no row refers to.
async fn sweep(cx: &Context) -> Result<(), Failure> {
    let directory = cx.image_dir.clone();
    let names = files::in_background(move || names_in(directory)).await?;
    let mut orphans = Vec::new();
    for name in names {
        let Ok(id) = files::owner_of(&name) else {
            continue;
        };
        let image = images::get(&mut cx.store.read().await?, id).await?;
        let path = files::part_path(cx, &name);
        if !image.as_ref().is_some_and(|image| refers_to(image, &name))
            && !files::is_being_written(&path)
        {
            tracing::info!(
                file = name,
                "removing an image file that belongs to no image"
            );
            orphans.push(path);
        }
    }
    files::remove(orphans).await
}

fn names_in(directory: PathBuf) -> Result<HashSet<String>, Failure> {
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        other => other.map_err(|error| Failure::outside("reading the image directory", error))?,
    };
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect())
}

fn refers_to(image: &Image, name: &str) -> bool {
    let staged = image
        .staged
        .as_ref()
        .is_some_and(|staged| staged.file == name);
    let incoming = image.incoming.as_deref() == Some(name);
    let published = name == image.id.to_string()
        && (image.content.is_some() || image.status == ImageStatus::Importing);
    staged || incoming || published
}
