//! Where the bytes of images are, and how they get there.
//!
//! | name in `image_dir` | what it holds |
//! | --- | --- |
//! | `ID` | the bytes of image `ID`, whole and unchanging |
//! | `ID.RANDOM.part` | bytes on their way in: an upload, or staged for an import |
//!
//! A writer holds a lock on the file it writes, which ends with its process: so the sweep at a start can tell a file
//! that another process is writing from one that a crash left behind.

use super::no_such_image;
use crate::context::Context;
use crate::settings::Images as Settings;
use bytes::Bytes;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use corten_store::Failure;
use corten_store::images::{Content, Image};
use md5::{Digest, Md5};
use sha2::Sha512;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes are handed to the disk in pieces of at least this size.
const PIECE_BYTES: usize = 1 << 20;
/// The free space is measured anew after this many bytes.
const MEASURE_EVERY_BYTES: u64 = 16 << 20;

/// The file that holds an image's bytes, once it is active.
pub fn file_path(cx: &Context, id: ImageId) -> PathBuf {
    cx.image_dir.join(id.to_string())
}

pub(crate) fn part_path(cx: &Context, part: &str) -> PathBuf {
    cx.image_dir.join(part)
}

/// A new name for bytes on their way in.
pub(crate) fn new_part(id: ImageId) -> String {
    format!("{id}.{}.part", uuid::Uuid::new_v4().simple())
}

/// Runs file work away from the threads that serve requests.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Failure::outside("working on an image file", error)))
}

/// For `map_err`: a full disk is told to the caller, the rest is trouble.
fn io_failure(doing: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(None, 0).into(),
        _ => Failure::outside(doing, error),
    }
}

fn disk_full(needed: Option<u64>, free: u64) -> Refusal {
    let needed = needed.map_or_else(|| "more".to_owned(), |bytes| format!("{bytes} bytes"));
    Refusal::too_large(format!(
        "Image storage media is full: {needed} would be needed, {free} bytes are free for images. Nothing was kept; \
         delete images or ask the administrator for more space, then upload again."
    ))
}

/// How much may be written.
#[derive(Debug, Clone, Copy)]
struct Limits {
    max_bytes: u64,
    keep_free_bytes: u64,
}

impl Limits {
    fn of(settings: &Settings) -> Self {
        Self {
            max_bytes: settings.max_size_bytes,
            keep_free_bytes: settings.keep_free_bytes,
        }
    }

    fn check_size(self, bytes: u64) -> Result<(), Refusal> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        Err(Refusal::too_large(format!(
            "The incoming image is too large: it has at least {bytes} bytes, the limit is {} bytes \
             (images.max_size_bytes).",
            self.max_bytes
        )))
    }

    fn check_space(self, directory: &Path, needed: u64) -> Result<(), Failure> {
        let stat = rustix::fs::statvfs(directory)
            .map_err(|error| io_failure("measuring the image disk")(error.into()))?;
        let free = (stat.f_bavail * stat.f_frsize).saturating_sub(self.keep_free_bytes);
        if needed > free {
            Err(disk_full(Some(needed), free).into())
        } else {
            Ok(())
        }
    }
}

/// A file that goes away with this value, unless it is kept.
struct Part {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Part {
    fn create(path: PathBuf) -> Result<Self, Failure> {
        let doing = "creating an image file";
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
            .map_err(io_failure(doing))?;
        let part = Self {
            file,
            path,
            kept: false,
        };
        part.file.lock().map_err(io_failure(doing))?;
        Ok(part)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove an unfinished image file");
        }
    }
}

/// What the background thread works with.
struct Sink {
    part: Part,
    limits: Limits,
    md5: Md5,
    sha512: Sha512,
    written_bytes: u64,
    measured_bytes: u64,
}

impl Sink {
    fn create(path: PathBuf, limits: Limits, expected_bytes: u64) -> Result<Self, Failure> {
        limits.check_size(expected_bytes)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(io_failure("creating the image directory"))?;
        limits.check_space(directory, expected_bytes)?;
        Ok(Self {
            part: Part::create(path)?,
            limits,
            md5: Md5::new(),
            sha512: Sha512::new(),
            written_bytes: 0,
            measured_bytes: 0,
        })
    }

    fn write(&mut self, pieces: &[Bytes]) -> Result<(), Failure> {
        for piece in pieces {
            self.written_bytes += piece.len() as u64;
            self.limits.check_size(self.written_bytes)?;
            self.md5.update(piece);
            self.sha512.update(piece);
            self.part
                .file
                .write_all(piece)
                .map_err(io_failure("writing an image file"))?;
        }
        if self.written_bytes - self.measured_bytes >= MEASURE_EVERY_BYTES {
            self.measured_bytes = self.written_bytes;
            self.limits
                .check_space(self.part.path.parent().unwrap_or(Path::new(".")), 0)?;
        }
        Ok(())
    }
}

/// Takes bytes in, in constant memory, and hashes them on the way.
pub(crate) struct Writer {
    sink: Option<Sink>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    /// What was handed in so far.
    pub taken_bytes: u64,
}

impl Writer {
    /// Starts a file called `part`. `expected_bytes`, if known, must fit.
    pub async fn create(
        cx: &Context,
        part: &str,
        expected_bytes: Option<u64>,
    ) -> Result<Self, Failure> {
        let (path, limits) = (part_path(cx, part), Limits::of(&cx.settings.images));
        let sink =
            in_background(move || Sink::create(path, limits, expected_bytes.unwrap_or(0))).await?;
        Ok(Self {
            sink: Some(sink),
            pending: Vec::new(),
            pending_bytes: 0,
            taken_bytes: 0,
        })
    }

    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.pending_bytes += bytes.len();
        self.taken_bytes += bytes.len() as u64;
        self.pending.push(bytes);
        if self.pending_bytes >= PIECE_BYTES {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let Some(mut sink) = self.sink.take() else {
            return Err(Failure::outside(
                "writing an image file",
                "an earlier write failed",
            ));
        };
        let pieces = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.sink = Some(
            in_background(move || {
                sink.write(&pieces)?;
                Ok(sink)
            })
            .await?,
        );
        Ok(())
    }

    /// Makes the bytes durable. The file goes away with the result, unless that is [kept](Received::keep).
    pub async fn finish(mut self) -> Result<Received, Failure> {
        self.flush().await?;
        let Some(sink) = self.sink.take() else {
            return Err(Failure::outside("writing an image file", "it has no file"));
        };
        in_background(move || {
            let Sink {
                part,
                md5,
                sha512,
                written_bytes,
                ..
            } = sink;
            part.file
                .sync_all()
                .map_err(io_failure("making an image file durable"))?;
            let content = Content {
                size_bytes: i64::try_from(written_bytes).unwrap_or(i64::MAX),
                virtual_size_bytes: None,
                md5: hex::encode(md5.finalize()),
                sha512: hex::encode(sha512.finalize()),
            };
            Ok(Received { content, part })
        })
        .await
    }
}

/// Bytes that are on the disk.
pub(crate) struct Received {
    pub content: Content,
    part: Part,
}

impl Received {
    pub fn path(&self) -> &Path {
        &self.part.path
    }

    /// The file stays: a row refers to it now.
    pub fn keep(mut self) {
        self.part.kept = true;
    }
}

/// Makes the file `part` the image's. Done again, it changes nothing.
pub(crate) async fn promote(cx: &Context, part: &str, id: ImageId) -> Result<(), Failure> {
    let (from, to) = (part_path(cx, part), file_path(cx, id));
    in_background(move || {
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => {}
            other => other.map_err(io_failure("renaming an image file"))?,
        }
        let directory = to.parent().unwrap_or(Path::new("."));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(io_failure("making an image file durable"))
    })
    .await
}

/// Removes files; those that are not there are fine.
pub(crate) async fn remove(paths: Vec<PathBuf>) -> Result<(), Failure> {
    in_background(move || {
        for path in paths {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::outside(
                        format!("removing {}", path.display()),
                        error,
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    })
    .await
}

/// Removes every file that an image's row refers to.
pub(crate) async fn remove_all_of(cx: &Context, image: &Image) -> Result<(), Failure> {
    let staged = image.staged.as_ref().map(|staged| &staged.file);
    let parts = staged
        .into_iter()
        .chain(&image.incoming)
        .map(|part| part_path(cx, part));
    remove(parts.chain([file_path(cx, image.id)]).collect()).await
}

/// The image that a file in `image_dir` belongs to, by its name.
pub(super) fn owner_of(name: &str) -> Result<ImageId, Refusal> {
    let id = name.split('.').next().unwrap_or_default();
    id.parse().map_err(|_| no_such_image(id))
}

/// Is a process writing this file now?
pub(super) fn is_being_written(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
}
