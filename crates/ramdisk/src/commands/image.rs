//! The image that `standby.prepare_image` asks for: fetched, checked and written while it comes.

use super::table::parse;
use super::{Agent, Done, Failure};
use crate::device::Disk;
use crate::journal::chain;
use crate::protocol::ImageInfo;
use crate::steps::write_image::{self, Checksum, Finish, Target, WriteError, Written};
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::io::{StreamReader, SyncIoBridge};

/// As the stock agent calls it.
const DOWNLOAD: &str = "ImageDownloadError";
/// So long is tried to fetch an image.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(2);

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
            expected: write_image::check(&image).map_err(unfit)?,
            finish: Finish::wanted(&image, configdrive.as_deref())?,
            image,
        })
    }

    /// Its name, as the control plane gave it.
    pub fn id(&self) -> &str {
        &self.image.id
    }

    /// Writes it, and tells what was written. A download that breaks off is begun anew, for some minutes without a byte: the control plane, or
    /// the network, may have been started again. `open` gives the disk, each time.
    pub fn write(
        &self,
        agent: &Agent,
        disk: &Disk,
        open: impl Fn() -> Result<Target, Failure>,
    ) -> Result<Done, Failure> {
        let image = &self.image;
        let mut begun = Instant::now();
        let written = loop {
            agent.progress.store(0, Ordering::Relaxed);
            let outcome = self.write_once(agent, disk, open()?);
            if agent.progress.load(Ordering::Relaxed) > 0 {
                begun = Instant::now();
            }
            match outcome {
                Ok(written) => break written,
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Passing(failure)) if begun.elapsed() > PATIENCE => {
                    return Err(failure);
                }
                Err(Trouble::Passing(failure)) => {
                    tracing::warn!("{}; it is fetched again", failure.0.message);
                    agent
                        .runtime
                        .block_on(async { tokio::time::sleep(PAUSE).await });
                }
            }
        };
        let path = disk.path();
        Ok(Done::with(json!({
            "result": format!("prepare_image: image ({}) written to device {}", image.id, path.display()),
            "record": write_image::record(image, disk, written),
        })))
    }
}

impl AskedImage {
    fn write_once(&self, agent: &Agent, disk: &Disk, target: Target) -> Result<Written, Trouble> {
        let image = &self.image;
        let (source, length) = download(agent, image)?;
        tracing::info!("writes the image {} to {}", image.id, disk.name);
        let broke_off = AtomicBool::new(false);
        let source = Counted {
            source,
            done: &agent.progress,
            broke_off: &broke_off,
        };
        let written = write_image::write_stream(
            source,
            length,
            image.disk_format.as_deref(),
            &self.expected,
            &self.finish,
            target,
        );
        written.map_err(|error| {
            let kind = if broke_off.load(Ordering::Relaxed) {
                DOWNLOAD
            } else {
                error.kind()
            };
            let failure = Failure::new(kind, 500, chain(&error));
            if kind == DOWNLOAD {
                Trouble::Passing(failure)
            } else {
                Trouble::Final(failure)
            }
        })
    }
}

fn unfit(error: WriteError) -> Failure {
    Failure::new(error.kind(), 400, chain(&error))
}

/// Why an image is not on the disk.
enum Trouble {
    /// It did not come, and may the next time.
    Passing(Failure),
    /// The disk, the image itself, or whoever has it says no.
    Final(Failure),
}

/// Tells how much of a download has come.
struct Counted<'a, R> {
    source: R,
    done: &'a AtomicU64,
    broke_off: &'a AtomicBool,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self
            .source
            .read(buffer)
            .inspect_err(|_| self.broke_off.store(true, Ordering::Relaxed))?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The first URL that answers, as a reader, and how much it will give.
fn download(
    agent: &Agent,
    image: &ImageInfo,
) -> Result<(impl Read + Send + use<>, Option<u64>), Trouble> {
    let mut tried = Vec::new();
    let mut passes = false;
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
            Err(error) => {
                let is_refused = error
                    .status()
                    .is_some_and(|status| status.is_client_error());
                passes |= !is_refused && !error.is_builder();
                tried.push(chain(&error));
            }
        }
    }
    let failure = Failure::new(
        DOWNLOAD,
        500,
        format!(
            "the image {} cannot be downloaded: {}",
            image.id,
            tried.join("; ")
        ),
    );
    Err(if passes {
        Trouble::Passing(failure)
    } else {
        Trouble::Final(failure)
    })
}
