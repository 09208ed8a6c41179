//! The actions `createImage` and `createBackup`.

use super::actions::Action;
use super::fields;
use crate::openstack::compute::input::{self, Whole};
use crate::problem::Answer;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use corten_model::ids::ImageId;
use corten_operations::instance::capture::{self, NewCapture};
use corten_operations::snapshot_instance::Backup;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateImage {
    name: String,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBackup {
    name: String,
    backup_type: String,
    rotation: Whole,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
}

pub(super) async fn image(action: &Action<'_>) -> Answer<Response> {
    let CreateImage { name, metadata } = action.arguments()?;
    let id = take(action, name, metadata, None).await?;
    Ok(accepted(
        action,
        id,
        Some(format!("{}/image/v2/images/{id}", action.base)),
    ))
}

pub(super) async fn backup(action: &Action<'_>) -> Answer<Response> {
    let CreateBackup {
        name,
        backup_type,
        rotation,
        metadata,
    } = action.arguments()?;
    let rotation = rotation.size("rotation", 0)?;
    let id = take(
        action,
        name,
        metadata,
        Some(Backup {
            backup_type,
            rotation,
        }),
    )
    .await?;
    // With a rotation of 0 the image will be gone soon.
    let location = (rotation > 0).then(|| format!("{}/compute/v2.1/images/{id}", action.base));
    Ok(accepted(action, id, location))
}

async fn take(
    action: &Action<'_>,
    name: String,
    metadata: BTreeMap<String, Value>,
    backup: Option<Backup>,
) -> Answer<ImageId> {
    let new = NewCapture {
        name: input::name("name", &name)?,
        metadata: fields::metadata(metadata)?,
        backup,
        metadata_has_quota: !action.mv.at_least(39),
    };
    Ok(capture::create_image(&action.app.cx, action.actor, action.id, new).await?)
}

/// The id stands in the body from 2.45 on, before that in the address of the image.
fn accepted(action: &Action<'_>, id: ImageId, location: Option<String>) -> Response {
    if action.mv.at_least(45) {
        return (StatusCode::ACCEPTED, Json(json!({"image_id": id}))).into_response();
    }
    match location {
        Some(location) => (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response(),
        None => StatusCode::ACCEPTED.into_response(),
    }
}
