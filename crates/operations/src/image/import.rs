//! Starting an import. The work is the operation [`ImportImage`].

use super::access::changeable;
use super::state::{SUBJECT, move_to};
use super::web::{Reach, uri_refusal};
use super::{NewImage, STORE, create_in};
use crate::context::Context;
use crate::import_image::{ImportImage, Input, Step};
use corten_engine::{Place, Subject, Submission, submit};
use corten_iam::action::image as action;
use corten_iam::actor::Actor;
use corten_iam::policy::Target;
use corten_model::ids::{ImageId, OperationId};
use corten_model::lifecycle::image::{ImageCommand, decide};
use corten_model::refusal::Refusal;
use corten_store::images::{self, Image, ImageStatus, ImageTask, Import, TaskKind};
use corten_store::{Error, Failure, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// What `/v2/info/import` lists.
pub const METHODS: [&str; 4] = [
    "glance-direct",
    "web-download",
    "glance-download",
    "copy-image",
];

/// Where the bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum ImportMethod {
    /// What was staged before.
    GlanceDirect,
    WebDownload {
        uri: String,
    },
    /// Another image of the same cloud, with the properties that describe its bytes.
    GlanceDownload {
        glance_image_id: ImageId,
        glance_region: String,
        /// `public`, `internal` or `admin`.
        glance_service_interface: String,
    },
    /// More copies of an active image, in other stores.
    CopyImage,
}

/// The request as it was understood; also what the task shows as its input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRequest {
    pub method: ImportMethod,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
    #[serde(default)]
    pub all_stores: bool,
    #[serde(default)]
    pub all_stores_must_succeed: bool,
}

/// Begins an import; the image is `importing` when this returns, or, for `copy-image`, as it was.
pub async fn import(
    cx: &Arc<Context>,
    actor: &Actor,
    id: ImageId,
    request: ImportRequest,
) -> Result<(), Failure> {
    check_stores(&request)?;
    if let ImportMethod::WebDownload { uri } = &request.method
        && let Some(refusal) = uri_refusal(&cx.settings.images, Reach::of(actor), uri)
    {
        return Err(refusal.into());
    }
    let mut tx = cx.store.write().await?;
    let mut image = changeable(&mut tx, cx, actor, id, action::IMAGES_WRITE).await?;
    match &request.method {
        ImportMethod::CopyImage => copy(&mut tx, cx, actor, &mut image, &request).await?,
        ImportMethod::GlanceDirect
        | ImportMethod::WebDownload { .. }
        | ImportMethod::GlanceDownload { .. } => {
            let method = request.method.clone();
            let asked = Asked {
                kind: TaskKind::ApiImageImport,
                input: json!({"image_id": id, "import_req": request, "backend": [STORE]}),
            };
            start(&mut tx, cx, actor, &mut image, method, asked).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Creates an image and begins its download, as the task `import` of Glance asks for.
pub async fn import_new(
    cx: &Arc<Context>,
    actor: &Actor,
    new: NewImage,
    uri: &str,
    sent: Value,
) -> Result<OperationId, Failure> {
    cx.policy
        .check(actor, action::TASKS_WRITE, &Target::cloud())?;
    if let Some(refusal) = uri_refusal(&cx.settings.images, Reach::of(actor), uri) {
        return Err(refusal.into());
    }
    let mut tx = cx.store.write().await?;
    let mut image = create_in(&mut tx, cx, actor, new).await?;
    let asked = Asked {
        kind: TaskKind::Import,
        input: sent,
    };
    let method = ImportMethod::WebDownload {
        uri: uri.to_owned(),
    };
    let operation = start(&mut tx, cx, actor, &mut image, method, asked).await?;
    tx.commit().await?;
    Ok(operation)
}

/// What a task shows of its request.
struct Asked {
    kind: TaskKind,
    input: Value,
}

async fn start(
    tx: &mut Tx,
    cx: &Arc<Context>,
    actor: &Actor,
    image: &mut Image,
    method: ImportMethod,
    asked: Asked,
) -> Result<OperationId, Failure> {
    let (command, step) = match &method {
        ImportMethod::GlanceDirect => (ImageCommand::ImportStaged, Step::Verify),
        ImportMethod::WebDownload { .. }
        | ImportMethod::GlanceDownload { .. }
        | ImportMethod::CopyImage => (ImageCommand::ImportRemote, Step::Fetch),
    };
    check_ready(image, command)?;
    let to = decide(image.status, command).map_err(Refusal::conflict)?;
    let now = cx.now();
    let origin = actor.origin();
    let submission = Submission {
        workflow: &ImportImage(cx.clone()),
        subject: Subject {
            kind: SUBJECT,
            id: image.id.to_string(),
            project_id: image.owner.clone(),
        },
        origin: origin.clone(),
        place: Place::Control,
        step,
        input: Input {
            method,
            made_image: asked.kind == TaskKind::Import,
            reach: Reach::of(actor),
        },
    };
    let operation = submit(tx, now, submission)
        .await
        .map_err(|error| match error {
            Error::Exists { .. } => Failure::Refused(Refusal::conflict(format!(
                "Image {} has active task: wait for it to end, or delete the image.",
                image.id
            ))),
            other => other.into(),
        })?;
    let Asked { kind, input } = asked;
    let task = ImageTask {
        id: operation,
        image_id: image.id,
        kind,
        input,
        created_at: now,
    };
    images::tasks::insert(tx, &task).await?;
    image.import = Some(Import {
        operation: Some(operation),
        running: true,
        failed: false,
    });
    move_to(tx, image, to, "import", &origin.through(operation), now).await?;
    Ok(operation)
}

fn check_ready(image: &Image, command: ImageCommand) -> Result<(), Refusal> {
    let id = image.id;
    if image.status == ImageStatus::Active {
        return Err(Refusal::conflict(format!(
            "Image {id} with status active cannot be target for import."
        )));
    }
    if command == ImageCommand::ImportStaged && image.staged.is_none() {
        return Err(Refusal::conflict(format!(
            "Image {id} is {}; it needs to be staged before 'glance-direct' method can be used: PUT its data to \
             /v2/images/{id}/stage.",
            image.status
        )));
    }
    for (name, value) in [
        ("container_format", &image.container_format),
        ("disk_format", &image.disk_format),
    ] {
        if value.is_none() {
            return Err(Refusal::conflict(format!(
                "'{name}' needs to be set before import of image {id}."
            )));
        }
    }
    Ok(())
}

fn check_stores(request: &ImportRequest) -> Result<(), Refusal> {
    match request.stores.iter().find(|store| *store != STORE) {
        Some(unknown) => Err(Refusal::conflict(format!(
            "Store '{unknown}' is not available; the stores are: {STORE}."
        ))),
        None => Ok(()),
    }
}

/// There is one store, so a copy into all stores has nothing left to do.
async fn copy(
    tx: &mut Tx,
    cx: &Context,
    actor: &Actor,
    image: &mut Image,
    request: &ImportRequest,
) -> Result<(), Failure> {
    cx.policy
        .check(actor, action::STORES_ADMINISTER, &Target::cloud())?;
    if image.status != ImageStatus::Active {
        return Err(Refusal::conflict(format!(
            "Only images with status active can be targeted for copying; image {} is {}.",
            image.id, image.status
        ))
        .into());
    }
    if !request.all_stores {
        return Err(
            Refusal::invalid(format!("Image is already present at store '{STORE}'.")).into(),
        );
    }
    image.import = Some(Import {
        operation: None,
        running: false,
        failed: false,
    });
    images::update(tx, image).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_it_was_read() {
        let text = r#"{"method":{"name":"web-download","uri":"http://h/x"},"all_stores":false,"all_stores_must_succeed":true}"#;
        let request: ImportRequest = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
    }
}
