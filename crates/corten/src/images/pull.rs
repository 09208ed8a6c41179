//! Fetches a catalogue image from its vendor: streamed, resumed where it broke off, and proved by the published checksum.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt;
use reqwest::header::RANGE;
use reqwest::{Client, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::catalog::{self, Source};
use super::checksums::{self, Checksum, Hasher};
use super::progress::Progress;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Silence on a connection that is taken for its end.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// A checksum file is text of a few lines; nothing longer is read.
const CHECKSUMS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An image that was fetched and found to be what its vendor published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    pub path: PathBuf,
    pub bytes: u64,
    pub checksum: String,
}

impl fmt::Display for PulledImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes, {}", self.bytes, self.checksum)
    }
}

/// Fetches the catalogue's image `name` to the file `output`, which appears only when it is complete and its checksum
/// is right. With `from`, a mirror's URL, image and checksum file are taken from below it, under their usual file names.
pub async fn pull(
    name: &str,
    output: &Path,
    from: Option<&str>,
    progress: &dyn Progress,
) -> anyhow::Result<PulledImage> {
    let image = catalog::find(name)?;
    let (url, checksums) = match &image.source {
        Source::Upstream { url, checksums } => (url, checksums),
        Source::Operator { provide } => bail!("{name} cannot be downloaded. {provide}"),
    };
    let url = mirrored(url, from)?;
    let checksums_url = mirrored(checksums, from)?;
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("the HTTP client cannot be set up")?;

    progress.step(&format!("Fetching {checksums_url}"));
    let published = published_checksum(&client, &checksums_url, file_name(&url)?).await?;
    let mut partial = output.as_os_str().to_owned();
    partial.push(".part");
    let download = Download {
        client,
        url,
        published,
        partial: PathBuf::from(partial),
    };

    progress.step(&format!("Fetching {}", download.url));
    let bytes = download.run(progress).await?;
    tokio::fs::rename(&download.partial, output)
        .await
        .with_context(|| format!("{} cannot be written", output.display()))?;
    Ok(PulledImage {
        path: output.to_owned(),
        bytes,
        checksum: download.published.to_string(),
    })
}

/// The URL, or the same file name below a mirror's.
fn mirrored(url: &str, from: Option<&str>) -> anyhow::Result<String> {
    Ok(match from {
        None => url.to_owned(),
        Some(base) => format!("{}/{}", base.trim_end_matches('/'), file_name(url)?),
    })
}

fn file_name(url: &str) -> anyhow::Result<&str> {
    let name = url.rsplit('/').next().unwrap_or_default();
    ensure!(
        !name.is_empty() && !name.starts_with('.'),
        "{url} does not end in a file name"
    );
    Ok(name)
}

async fn published_checksum(client: &Client, url: &str, name: &str) -> anyhow::Result<Checksum> {
    let response = client
        .get(url)
        .send()
        .await
        .with_context(|| format!("{url} cannot be fetched"))?;
    ensure!(
        response.status().is_success(),
        "{url} answers {}; without the published checksum the image cannot be trusted",
        response.status()
    );
    let mut body = response.bytes_stream();
    let mut text = Vec::new();
    while let Some(chunk) = body.next().await {
        text.extend_from_slice(&chunk.with_context(|| format!("{url} broke off"))?);
        ensure!(
            text.len() <= CHECKSUMS_BYTES_MAX,
            "{url} is too long for a file of checksums"
        );
    }
    checksums::find(&String::from_utf8_lossy(&text), name)
        .with_context(|| format!("{url} has no SHA-256 or SHA-512 checksum of {name}"))
}

/// A download into a partial file.
struct Download {
    client: Client,
    url: String,
    published: Checksum,
    partial: PathBuf,
}

impl Download {
    /// Downloads, from where an earlier try broke off if there was one, and returns the size.
    async fn run(&self, progress: &dyn Progress) -> anyhow::Result<u64> {
        let (size, actual, resumed) = self.fetch(progress).await?;
        if actual == self.published {
            return Ok(size);
        }
        tokio::fs::remove_file(&self.partial).await.ok();
        if !resumed {
            return Err(self.mismatch(&actual));
        }
        // The vendor may have replaced the image since the earlier try.
        progress.step("The earlier part does not belong to this image; starting over");
        let (size, actual, _) = self.fetch(progress).await?;
        if actual == self.published {
            return Ok(size);
        }
        tokio::fs::remove_file(&self.partial).await.ok();
        Err(self.mismatch(&actual))
    }

    fn mismatch(&self, actual: &Checksum) -> anyhow::Error {
        anyhow::anyhow!(
            "{} is not what its vendor published and was discarded: expected {}, got {actual}",
            self.url,
            self.published
        )
    }

    /// One try: the size, the checksum of the whole, and whether a part was there before.
    async fn fetch(&self, progress: &dyn Progress) -> anyhow::Result<(u64, Checksum, bool)> {
        let mut hasher = self.published.hasher();
        let mut size = hash_file(&self.partial, &mut hasher).await?;
        let response = self.request(size).await?;
        let resumed = size > 0;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE && resumed {
            // Nothing is left to fetch: the checksum tells whether the part is the whole.
            return Ok((size, hasher.finish(), resumed));
        }
        ensure!(
            response.status().is_success(),
            "{} answers {}",
            self.url,
            response.status()
        );
        if response.status() != StatusCode::PARTIAL_CONTENT {
            size = 0;
            hasher = self.published.hasher();
        }
        let continued = size > 0;
        let size = self
            .write_body(response, size, &mut hasher, progress)
            .await?;
        Ok((size, hasher.finish(), continued))
    }

    async fn request(&self, from: u64) -> anyhow::Result<Response> {
        let mut request = self.client.get(&self.url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request
            .send()
            .await
            .with_context(|| format!("{} cannot be fetched", self.url))
    }

    /// Appends the body to the first `size` bytes of the partial file and returns the new size.
    async fn write_body(
        &self,
        response: Response,
        mut size: u64,
        hasher: &mut Hasher,
        progress: &dyn Progress,
    ) -> anyhow::Result<u64> {
        let total = response.content_length().map(|rest| size + rest);
        progress.transfer(size, total);
        let cannot_write = || format!("{} cannot be written", self.partial.display());
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.partial)
            .await
            .with_context(cannot_write)?;
        file.set_len(size).await.with_context(cannot_write)?;
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    file.flush().await.with_context(cannot_write)?;
                    let total = total.map_or_else(
                        || "an unknown number of".to_owned(),
                        |total| total.to_string(),
                    );
                    return Err(anyhow::Error::new(error).context(format!(
                        "{} broke off after {size} of {total} bytes; pull it again to continue",
                        self.url
                    )));
                }
            };
            file.write_all(&chunk).await.with_context(cannot_write)?;
            hasher.update(&chunk);
            size += chunk.len() as u64;
            progress.advance(chunk.len() as u64);
        }
        file.flush().await.with_context(cannot_write)?;
        file.sync_all().await.with_context(cannot_write)?;
        Ok(size)
    }
}

/// Adds a file, if it is there, to a checksum and returns its size.
async fn hash_file(path: &Path, hasher: &mut Hasher) -> anyhow::Result<u64> {
    let mut file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    let mut block = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = file
            .read(&mut block)
            .await
            .with_context(|| format!("{} cannot be read", path.display()))?;
        if count == 0 {
            return Ok(size);
        }
        hasher.update(&block[..count]);
        size += count as u64;
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
