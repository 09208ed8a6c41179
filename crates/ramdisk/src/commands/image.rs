//! The image that `standby.prepare_image` asks for: fetched, checked and written while it comes.

use super::table::parse;
use super::{Agent, Done, Failure};
use crate::device::Disk;
use crate::journal::chain;
use crate::protocol::ImageInfo;
use crate::steps::write_image::{self, Checksum, Finish, Target};
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::Read;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// What is asked for, and nothing of it is impossible by itself.
pub struct AskedImage {
    image: ImageInfo,
    expected: Checksum,
    /// What is to be done to the disk once the image is on it.
    pub finish: Finish,
}

#[derive(Deserialize)]
struct Params {
    image_info: ImageInfo,
    #[serde(default)]
    configdrive: Option<String>,
}

impl AskedImage {
    pub fn read(params: Map<String, Value>) -> Result<Self, Failure> {
        let Params {
            image_info: image,
            configdrive,
        } = parse(params.into(), "image_info")?;
        Ok(Self {
            expected: write_image::check(&image)?,
            finish: Finish::wanted(&image, configdrive.as_deref())?,
            image,
        })
    }

    /// Its name, as the control plane gave it.
    pub fn id(&self) -> &str {
        &self.image.id
    }

    /// Writes it, and tells what was written.
    pub fn write(&self, agent: &Agent, disk: &Disk, target: Target) -> Result<Done, Failure> {
        let image = &self.image;
        let (source, length) = download(agent, image)?;
        tracing::info!("writes the image {} to {}", image.id, disk.name);
        let written = write_image::write_stream(
            source,
            length,
            image.disk_format.as_deref(),
            &self.expected,
            target,
        )?;
        let path = disk.path();
        Ok(Done::with(json!({
            "result": format!("prepare_image: image ({}) written to device {}", image.id, path.display()),
            "record": write_image::record(image, disk, written),
        })))
    }
}

/// The first URL that answers, as a reader, and how much it will give.
fn download(
    agent: &Agent,
    image: &ImageInfo,
) -> Result<(impl Read + Send + use<>, Option<u64>), Failure> {
    let mut tried = Vec::new();
    for url in &image.urls {
        // Within the runtime from the start: the client sets its timers when the request is made.
        let answer = agent
            .runtime
            .block_on(async { agent.client.get(url).send().await });
        match answer.and_then(reqwest::Response::error_for_status) {
            Ok(response) => {
                let length = response.content_length();
                let stream = response.bytes_stream().map_err(std::io::Error::other);
                let reader = StreamReader::new(stream);
                let bridge = SyncIoBridge::new_with_handle(reader, agent.runtime.clone());
                return Ok((bridge, length));
            }
            Err(error) => tried.push(chain(&error)),
        }
    }
    Err(Failure::new(
        "ImageDownloadError",
        500,
        format!(
            "the image {} cannot be downloaded: {}",
            image.id,
            tried.join("; ")
        ),
    ))
}
