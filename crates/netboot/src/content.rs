//! What goes out over the wire: pieces of memory and of files, told as one whole that was never copied together.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use std::fs::Metadata;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes with a length and a tag. A clone shares everything.
#[derive(Debug, Clone)]
pub struct Content {
    pieces: Vec<Piece>,
    length: u64,
    tag: String,
}

#[derive(Debug, Clone)]
struct Piece {
    source: Source,
    length: u64,
    tag: String,
}

#[derive(Debug, Clone)]
enum Source {
    Memory(Bytes),
    File(PathBuf),
}

impl Content {
    pub fn memory(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::whole(vec![Piece {
            length: bytes.len() as u64,
            tag: hex::encode(Sha256::digest(&bytes)),
            source: Source::Memory(bytes),
        }])
    }

    /// A file that is read when it goes out, and that must not have changed by then.
    pub async fn file(path: &Path) -> io::Result<Self> {
        let metadata = tokio::fs::metadata(path).await?;
        Ok(Self::whole(vec![Piece {
            length: metadata.len(),
            tag: identity(&metadata),
            source: Source::File(path.to_owned()),
        }]))
    }

    /// One after the other.
    pub fn joined(parts: impl IntoIterator<Item = Content>) -> Self {
        Self::whole(parts.into_iter().flat_map(|part| part.pieces).collect())
    }

    fn whole(pieces: Vec<Piece>) -> Self {
        let mut hash = Sha256::new();
        for piece in &pieces {
            hash.update(&piece.tag);
        }
        Self {
            length: pieces.iter().map(|piece| piece.length).sum(),
            tag: hex::encode(&hash.finalize()[..16]),
            pieces,
        }
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Equal for equal content, as long as its files stay as they are.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The bytes of a range, which must lie within.
    pub fn stream(
        &self,
        range: Range<u64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let mut start = 0;
        let mut parts = Vec::new();
        for piece in &self.pieces {
            let from = range.start.max(start);
            let to = range.end.min(start + piece.length);
            if from < to {
                parts.push((piece.clone(), from - start..to - start));
            }
            start += piece.length;
        }
        stream::iter(parts)
            .then(|(piece, range)| piece.open(range))
            .try_flatten()
    }

    pub async fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut stream = std::pin::pin!(self.stream(0..self.length));
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    }
}

impl Piece {
    async fn open(self, range: Range<u64>) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
        match self.source {
            Source::Memory(bytes) => {
                let part = bytes.slice(range.start as usize..range.end as usize);
                Ok(stream::once(async move { Ok(part) }).boxed())
            }
            Source::File(path) => {
                let mut file = tokio::fs::File::open(&path).await?;
                if identity(&file.metadata().await?) != self.tag {
                    let what = format!("{} has changed while it was being sent", path.display());
                    return Err(io::Error::other(what));
                }
                file.seek(io::SeekFrom::Start(range.start)).await?;
                let part = file.take(range.end - range.start);
                Ok(ReaderStream::with_capacity(part, CHUNK_BYTES).boxed())
            }
        }
    }
}

/// What tells a file from another, and from itself before it was written to.
fn identity(metadata: &Metadata) -> String {
    let (device, inode) = (metadata.dev(), metadata.ino());
    let (secs, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    format!("{device}-{inode}-{secs}.{nanos}-{}", metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn part(content: &Content, range: Range<u64>) -> io::Result<Vec<u8>> {
        let chunks: Vec<Bytes> = content.stream(range).try_collect().await?;
        Ok(chunks.concat())
    }

    #[tokio::test]
    async fn any_range_is_what_the_joined_bytes_hold() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"defgh").unwrap();
        let file = Content::file(&path).await.unwrap();
        let content = Content::joined([
            Content::memory("abc"),
            file,
            Content::memory(""),
            Content::memory("ij"),
        ]);
        assert_eq!(content.length(), 10);
        for start in 0..=10 {
            for end in start..=10 {
                let read = part(&content, start..end).await.unwrap();
                assert_eq!(read, b"abcdefghij"[start as usize..end as usize]);
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_changed_is_not_sent_under_its_old_tag() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"old").unwrap();
        let content = Content::file(&path).await.unwrap();
        std::fs::write(&path, b"newer").unwrap();
        assert!(part(&content, 0..3).await.is_err());
        assert_ne!(content.tag(), Content::file(&path).await.unwrap().tag());
    }
}
