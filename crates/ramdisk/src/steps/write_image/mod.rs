//! Writes an image to a disk while it is being downloaded.
//!
//! ```text
//!   download ──> checksum ──> decompress ──> raw or qcow2 ──> sink ──> disk
//! ```
//!
//! Nothing is kept in memory but what is on its way. What can be refused before the first byte is written is refused then;
//! for what shows only later, a wrong checksum above all, see [`sink`].

mod checksum;
mod compression;
mod layout;
mod mbr;
mod partitions;
mod qcow2;
mod sink;

pub use checksum::{Checksum, ChecksumError};
pub use compression::Compression;
pub use layout::LayoutError;
pub use partitions::{Finish, PartitionError, finish};

use crate::device::{Disk, direct};
use crate::protocol::{ImageInfo, WriteRecord};
use checksum::HashingReader;
use compression::Plain;
use layout::Layout;
use sink::Sink;
use std::fs::File;
use std::io::{self, Read};

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    #[error(
        "the image does not have the checksum {expected}, but {found}; nothing of it is left on the disk. Upload the image \
         again, or correct its checksum"
    )]
    WrongChecksum { expected: Checksum, found: Checksum },
    #[error(
        "the image needs a disk of at least {image_bytes} bytes, but this one has {disk_bytes}: choose another disk or image"
    )]
    TooLarge { image_bytes: u64, disk_bytes: u64 },
    #[error("the image cannot be read")]
    Read(#[source] io::Error),
    #[error("the disk cannot be written")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(
        "the disk {disk} cannot be opened for this alone; does an array or a file system use it?"
    )]
    Open {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error("the image's type is '{0}', but only whole-disk images are written")]
    ImageType(String),
    #[error(transparent)]
    Partitions(#[from] PartitionError),
}

impl WriteError {
    /// The type of the error, in the stock agent's words: whether the image is at fault, or the disk.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Checksum(_) | Self::WrongChecksum { .. } => "ImageChecksumError",
            Self::TooLarge { .. } | Self::Read(_) | Self::Layout(_) | Self::ImageType(_) => {
                "InvalidImage"
            }
            Self::Partitions(error) if error.is_the_images() => "InvalidImage",
            Self::Write(_) | Self::Open { .. } | Self::Partitions(_) => "ImageWriteError",
        }
    }
}

/// Takes a piece of an image: its place on the disk, and its bytes.
type Put<'a> = dyn FnMut(u64, &[u8]) -> Result<(), WriteError> + 'a;

/// A disk as [`write_stream`] needs it.
pub struct Target {
    pub file: File,
    pub size_bytes: u64,
    pub block_bytes: u64,
}

impl Target {
    pub fn open(disk: &Disk) -> Result<Self, WriteError> {
        let file = direct::open_exclusive(&disk.path()).map_err(|source| WriteError::Open {
            disk: disk.name.clone(),
            source,
        })?;
        Ok(Self {
            file,
            size_bytes: disk.size_bytes,
            block_bytes: disk.logical_block_bytes,
        })
    }
}

/// What was found out about an image while it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    pub format: &'static str,
    pub compression: Compression,
    pub checksum: Checksum,
    pub downloaded_bytes: u64,
    pub image_bytes: u64,
}

/// Refuses, before anything is downloaded, what could not be written.
pub fn check(image: &ImageInfo) -> Result<Checksum, WriteError> {
    if let Some(other) = image
        .image_type
        .as_deref()
        .filter(|kind| *kind != "whole-disk")
    {
        return Err(WriteError::ImageType(other.to_owned()));
    }
    Ok(Checksum::wanted(image)?)
}

/// Writes one image, of `length` bytes as far as is known, to one disk that can be finished as is wanted. On an error nothing of
/// it is on the disk.
pub fn write_stream(
    source: impl Read,
    length: Option<u64>,
    declared_format: Option<&str>,
    expected: &Checksum,
    finish: &Finish,
    target: Target,
) -> Result<Written, WriteError> {
    let (disk_bytes, block_bytes) = (target.size_bytes, target.block_bytes);
    let hashing = HashingReader::new(source, expected);
    let (compression, plain) = Plain::new(hashing).map_err(WriteError::Read)?;
    let length = length.filter(|_| compression == Compression::None);
    let mut layout = Layout::detect(plain, length, declared_format)?;
    if let Some(image_bytes) = layout.size_bytes().filter(|size| *size > disk_bytes) {
        return Err(WriteError::TooLarge {
            image_bytes,
            disk_bytes,
        });
    }
    let mut sink = Sink::begin(target.file, disk_bytes, block_bytes)?;
    let written = fill(&mut layout, &mut sink).and_then(|image_bytes| {
        let format = layout.name();
        let (checksum, downloaded_bytes) = sum(layout)?;
        if checksum != *expected {
            return Err(WriteError::WrongChecksum {
                expected: expected.clone(),
                found: checksum,
            });
        }
        finish.check(sink.head(), disk_bytes, block_bytes)?;
        Ok(Written {
            format,
            compression,
            checksum,
            downloaded_bytes,
            image_bytes,
        })
    });
    match written {
        Ok(written) => {
            sink.commit(written.image_bytes)?;
            Ok(written)
        }
        Err(error) => {
            sink.abandon()?;
            Err(error)
        }
    }
}

fn fill<R: Read>(layout: &mut Layout<R>, sink: &mut Sink) -> Result<u64, WriteError> {
    layout.copy(&mut |offset, bytes| sink.put(offset, bytes))
}

/// The checksum is that of the whole download: what follows the image's end is read too.
fn sum<R: Read>(layout: Layout<HashingReader<R>>) -> Result<(Checksum, u64), WriteError> {
    let plain = layout.into_source();
    let mut source = plain
        .into_source()
        .ok_or_else(|| WriteError::Read(io::Error::other("the compressed stream is broken")))?;
    io::copy(&mut source, &mut io::sink()).map_err(WriteError::Read)?;
    Ok(source.into_inner().finish())
}

/// The record of an image that was written to a disk.
pub fn record(image: &ImageInfo, disk: &Disk, written: Written) -> WriteRecord {
    let Written {
        format,
        compression,
        checksum,
        downloaded_bytes,
        image_bytes,
    } = written;
    WriteRecord {
        image: image.id.clone(),
        device: disk.name.clone(),
        serial: disk.serial.clone(),
        format: format.to_owned(),
        compression: compression.name().map(str::to_owned),
        checksum: checksum.to_string(),
        downloaded_bytes,
        image_bytes,
        growth: None,
    }
}

#[cfg(test)]
mod tests;
