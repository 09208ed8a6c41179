//! Importing an image: bytes that were staged, or that are fetched from the web, become an image's own.
//!
//! ```text
//!  Fetch ──▶ Verify ──▶ Publish ──▶ done (active)
//!    └──────────┴──────────┴──────▶ failed (queued again)
//! ```
//!
//! Each step can be done again: a fetch writes a file of its own and only its commit makes that the staged one; the
//! checks only read; the file that is published keeps its bytes whatever its name.

use crate::context::Context;
use crate::error_text;
use crate::image::files::{self, Received, Writer, new_part, part_path};
use crate::image::{
    self, ImportMethod, OutOfReach, Reach, Resolver, move_to, no_such_image, uri_refusal,
};
use async_trait::async_trait;
use corten_engine::{Committed, GiveUp, Place, StepCx, StepError, Workflow};
use corten_model::ids::ImageId;
use corten_store::identity::endpoint::Endpoint;
use corten_store::identity::service::Service;
use corten_store::images::{self, Image, ImageStatus, Import, Staged, Viewer};
use corten_store::{Failure, Query, Tx};
use futures_util::StreamExt;
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A server that does not answer is asked so often.
const MAX_TRIES: i64 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence in the middle of a download.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// What the names of properties start with that describe the bytes. Glance's default of `glance_download_properties`.
const COPIED_PROPERTIES: [&str; 5] = ["hw_", "trait:", "os_distro", "os_secure_boot", "os_type"];
const MAX_REDIRECTS: usize = 10;

pub struct ImportImage(pub Arc<Context>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Input {
    pub method: ImportMethod,
    /// The image was made for this import, and goes with it if it fails.
    pub made_image: bool,
    /// How far it may reach, by who asked for it.
    #[serde(default)]
    pub reach: Reach,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// The bytes are taken from the web and staged.
    Fetch,
    /// The staged bytes are what the image says they are.
    Verify,
    /// The staged bytes become the image's.
    Publish { virtual_size_bytes: Option<i64> },
}

#[async_trait]
impl Workflow for ImportImage {
    type Step = Step;
    type Input = Input;

    fn kind(&self) -> &'static str {
        "import_image"
    }

    fn budget(&self, step: &Step) -> Duration {
        match step {
            Step::Fetch => Duration::from_secs(12 * 3600),
            Step::Verify => Duration::from_secs(1800),
            Step::Publish { .. } => Duration::from_secs(300),
        }
    }

    async fn run(&self, step: Step, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        match step {
            Step::Fetch => self.fetch(input, cx).await,
            Step::Verify => self.verify(cx).await,
            Step::Publish { virtual_size_bytes } => self.publish(virtual_size_bytes, cx).await,
        }
    }

    /// What was staged is dropped, and the image waits for its bytes again, or goes if it was made for this.
    async fn give_up(
        &self,
        why: GiveUp,
        input: &Input,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let cause = why.to_string();
        let mut tx = cx.commit().await?;
        let mut staged = None;
        if let Some(mut image) = images::lock(&mut tx, subject(cx)?).await? {
            staged = image.staged.take();
            image.import = Some(Import {
                operation: Some(cx.operation().id),
                running: false,
                failed: true,
            });
            let note = format!("import failed: {cause}");
            if input.made_image {
                image::remove_row(&mut tx, &image, &note, &cx.origin(), cx.now()).await?;
            } else {
                move_to(
                    &mut tx,
                    &mut image,
                    ImageStatus::Queued,
                    &note,
                    &cx.origin(),
                    cx.now(),
                )
                .await?;
            }
        }
        let committed = tx.given_up(&why).await?;
        // A crash before this leaves a file that no row refers to, which the next start removes.
        if let Some(staged) = staged
            && let Err(error) = files::remove(vec![part_path(&self.0, &staged.file)]).await
        {
            tracing::warn!(error = error_text(&error), "cannot remove what was staged");
        }
        Ok(committed)
    }
}

fn subject(cx: &StepCx) -> Result<ImageId, StepError> {
    cx.operation()
        .subject_id
        .parse()
        .map_err(|error| StepError::Fail(format!("{error}")))
}

async fn lock(tx: &mut Tx, id: ImageId) -> Result<Image, StepError> {
    images::lock(tx, id)
        .await?
        .ok_or_else(|| StepError::Fail(no_such_image(id).message))
}

/// Trouble is tried again a few times; then the importer learns of it.
fn try_again_at_first(cx: &StepCx, trouble: String) -> StepError {
    if cx.operation().attempt + 1 < MAX_TRIES {
        StepError::Retry(trouble)
    } else {
        StepError::Fail(trouble)
    }
}

fn classify(cx: &StepCx, failure: Failure) -> StepError {
    match failure {
        Failure::Outside { .. } => try_again_at_first(cx, error_text(&failure)),
        other => other.into(),
    }
}

/// Takes over what a copied image says about its bytes.
fn describe_like(image: &mut Image, source: Image) {
    image.disk_format = source.disk_format;
    image.container_format = source.container_format;
    let copied = source.properties.into_iter().filter(|(name, _)| {
        COPIED_PROPERTIES
            .iter()
            .any(|prefix| name.starts_with(prefix))
    });
    image.properties.extend(copied);
}

impl ImportImage {
    async fn fetch(&self, input: &Input, cx: &StepCx) -> Result<Committed, StepError> {
        let part = new_part(subject(cx)?);
        let (received, source) = match &input.method {
            ImportMethod::WebDownload { uri } => {
                (self.download(uri, input.reach, &part, cx).await?, None)
            }
            ImportMethod::GlanceDownload {
                glance_image_id,
                glance_region,
                glance_service_interface,
            } => {
                self.check_region(glance_region, glance_service_interface, cx)
                    .await?;
                let source = self.source(*glance_image_id, cx).await?;
                let path = image::file_path(&self.0, source.id);
                let received = image::copy_in(&self.0, &part, &path)
                    .await
                    .map_err(|failure| classify(cx, failure))?;
                (received, Some(source))
            }
            ImportMethod::GlanceDirect | ImportMethod::CopyImage => {
                return Err(StepError::Fail("This method fetches nothing.".to_owned()));
            }
        };
        let mut tx = cx.commit().await?;
        let mut image = lock(&mut tx, subject(cx)?).await?;
        image.staged = Some(Staged {
            file: part,
            content: received.content.clone(),
        });
        if let Some(source) = source {
            describe_like(&mut image, source);
        }
        images::update(&mut tx, &image).await?;
        let outcome = tx.next(Place::Control, Step::Verify).await;
        image::keep_if_referred(&self.0, subject(cx)?, received).await;
        outcome
    }

    /// The image service of `region` must be this one: there is no way to another cloud's.
    async fn check_region(
        &self,
        region: &str,
        interface: &str,
        cx: &StepCx,
    ) -> Result<(), StepError> {
        let mut tx = cx.read().await?;
        let services = Query::<Service>::new()
            .equals("kind", "image")
            .all(&mut tx)
            .await?;
        let endpoints = Query::<Endpoint>::new()
            .any_of(
                "service_id",
                services.iter().map(|service| service.id.as_str()),
            )
            .equals("interface", interface)
            .all(&mut tx)
            .await?;
        let regions: HashSet<_> = endpoints
            .iter()
            .filter_map(|endpoint| endpoint.region_id.as_deref())
            .collect();
        if regions == HashSet::from([region]) {
            return Ok(());
        }
        Err(StepError::Fail(format!(
            "Region '{region}' has no {interface} image service that is this one; images of other clouds are imported \
             by web-download."
        )))
    }

    /// The image to copy, if the project of the new one sees it.
    async fn source(&self, id: ImageId, cx: &StepCx) -> Result<Image, StepError> {
        let missing = || StepError::Fail(no_such_image(id).message);
        let project = cx.operation().project_id.clone().ok_or_else(missing)?;
        let mut tx = cx.read().await?;
        let image = images::get(&mut tx, id).await?.ok_or_else(missing)?;
        if !image::sees(&mut tx, &Viewer::Project(project), &image).await? {
            return Err(missing());
        }
        if image.status != ImageStatus::Active {
            return Err(StepError::Fail(format!(
                "Image {id} is {}, not active.",
                image.status
            )));
        }
        Ok(image)
    }

    async fn download(
        &self,
        uri: &str,
        reach: Reach,
        part: &str,
        cx: &StepCx,
    ) -> Result<Received, StepError> {
        let answer = self.request(uri, reach, cx).await?;
        let expected_bytes = answer.content_length();
        let mut writer = Writer::create(&self.0, part, expected_bytes)
            .await
            .map_err(|failure| classify(cx, failure))?;
        let mut body = answer.bytes_stream();
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|error| {
                try_again_at_first(
                    cx,
                    format!("The download of {uri} broke off: {}", error_text(&error)),
                )
            })?;
            writer
                .write(bytes)
                .await
                .map_err(|failure| classify(cx, failure))?;
        }
        writer
            .finish()
            .await
            .map_err(|failure| classify(cx, failure))
    }

    async fn request(
        &self,
        uri: &str,
        reach: Reach,
        cx: &StepCx,
    ) -> Result<reqwest::Response, StepError> {
        let client = client(&self.0, reach)
            .map_err(|error| StepError::Fail(format!("No HTTP client: {}", error_text(&error))))?;
        let trouble = |error: reqwest::Error| {
            let text = format!("Cannot fetch {uri}: {}", error_text(&error));
            if error.is_redirect() || error.is_builder() || is_out_of_reach(&error) {
                StepError::Fail(text)
            } else {
                try_again_at_first(cx, text)
            }
        };
        let answer = client.get(uri).send().await.map_err(trouble)?;
        let status = answer.status();
        if status.is_client_error() {
            return Err(StepError::Fail(format!(
                "Cannot fetch {uri}: the server answered {status}."
            )));
        }
        answer.error_for_status().map_err(trouble)
    }

    async fn verify(&self, cx: &StepCx) -> Result<Committed, StepError> {
        let id = subject(cx)?;
        let image = images::get(&mut cx.read().await?, id).await?;
        let image = image.ok_or_else(|| StepError::Fail(no_such_image(id).message))?;
        let Some(staged) = &image.staged else {
            return Err(StepError::Fail(format!(
                "Image {id} has no staged data: stage it again."
            )));
        };
        let path = part_path(&self.0, &staged.file);
        let virtual_size_bytes = image::inspected_size(&self.0, &image, &path)
            .await
            .map_err(|failure| classify(cx, failure))?;
        let tx = cx.commit().await?;
        tx.next(Place::Control, Step::Publish { virtual_size_bytes })
            .await
    }

    async fn publish(
        &self,
        virtual_size_bytes: Option<i64>,
        cx: &StepCx,
    ) -> Result<Committed, StepError> {
        let mut tx = cx.commit().await?;
        let mut image = lock(&mut tx, subject(cx)?).await?;
        let Some(mut staged) = image.staged.take() else {
            return Err(StepError::Fail(format!(
                "Image {} has no staged data: stage it again.",
                image.id
            )));
        };
        files::promote(&self.0, &staged.file, image.id)
            .await
            .map_err(|failure| classify(cx, failure))?;
        staged.content.virtual_size_bytes = virtual_size_bytes;
        image.content = Some(staged.content);
        image.import = Some(Import {
            operation: Some(cx.operation().id),
            running: false,
            failed: false,
        });
        move_to(
            &mut tx,
            &mut image,
            ImageStatus::Active,
            "import",
            &cx.origin(),
            cx.now(),
        )
        .await?;
        tx.done().await
    }
}

/// A client that goes where it may and nowhere else. A proxy would connect in its place, so a tenant's download uses none.
fn client(context: &Context, reach: Reach) -> reqwest::Result<reqwest::Client> {
    let settings = context.settings.images.clone();
    let resolver = Resolver {
        settings: settings.clone(),
        reach,
    };
    let follow = Policy::custom(move |attempt| {
        match uri_refusal(&settings, reach, attempt.url().as_str()) {
            Some(refusal) => attempt.error(refusal),
            None if attempt.previous().len() > MAX_REDIRECTS => attempt.error("too many redirects"),
            None => attempt.follow(),
        }
    });
    let builder = match reach {
        Reach::Outside => reqwest::Client::builder().no_proxy(),
        Reach::Anywhere => reqwest::Client::builder(),
    };
    builder
        .dns_resolver(Arc::new(resolver))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(follow)
        .build()
}

fn is_out_of_reach(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<OutOfReach>() {
            return true;
        }
        cause = error.source();
    }
    false
}
