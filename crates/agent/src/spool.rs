//! Where images wait on their way into the host's cache, and captures on their way out.

use axum::body::{Body, BodyDataStream};
use corten_host::HostError;
use corten_model::ids::InstanceId;
use futures_util::TryStreamExt as _;
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::{ReaderStream, StreamReader};

const PIECE: usize = 256 << 10;

pub struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// An empty one: what an earlier process left is asked for again.
    pub async fn open(directory: PathBuf) -> Result<Self, HostError> {
        match fs::remove_dir_all(&directory).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("empty", &directory, &error));
            }
            _ => {}
        }
        let made = fs::create_dir_all(&directory).await;
        made.map_err(|error| failed("make", &directory, &error))?;
        Ok(Self { directory })
    }

    /// `None` for what is no hash.
    pub fn image(&self, sha512: &str) -> Option<PathBuf> {
        let is_hash = sha512.len() == 128 && sha512.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| self.directory.join(sha512))
    }

    pub fn capture(&self, id: InstanceId) -> PathBuf {
        self.directory.join(format!("capture-{id}"))
    }
}

/// Writes what comes to a file, whole or not at all.
pub async fn receive(body: Body, path: &Path) -> Result<(), HostError> {
    receive_stream(body.into_data_stream(), path)
        .await
        .map_err(|error| failed("receive", path, &error))
}

async fn receive_stream(stream: BodyDataStream, path: &Path) -> io::Result<()> {
    // Two may bring the same; each has a file of its own until it is whole.
    let partial = Partial(path.with_extension(format!("{:016x}.part", rand::random::<u64>())));
    let mut reader = StreamReader::new(stream.map_err(io::Error::other));
    let mut file = File::create(&partial.0).await?;
    tokio::io::copy_buf(&mut reader, &mut file).await?;
    file.flush().await?;
    file.sync_all().await?;
    fs::rename(&partial.0, path).await
}

/// A file that goes with whoever writes it, unless it got its name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It is not there any more if it got its name.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The bytes of a file, as they are read.
pub async fn send(path: &Path) -> Result<Body, HostError> {
    let file = File::open(path).await;
    let file = file.map_err(|error| failed("send", path, &error))?;
    Ok(Body::from_stream(ReaderStream::with_capacity(file, PIECE)))
}

pub async fn forget(path: &Path) -> Result<(), HostError> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", path, &error))
        }
        _ => Ok(()),
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> HostError {
    HostError::Io {
        doing: doing.to_owned(),
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
