//! Is an image what its uploader says, and does it stand alone? Asked before anything opens it as a disk.
//!
//! An image is untrusted input to QEMU. A header that names a backing file or an external data file would let a tenant
//! read files of the host, so our own checks read the header first, and only what passes is shown to `qemu-img`, as a
//! confined child, whose view of format and size must agree.

mod others;
mod qcow2;
mod qemu_img;
mod vmdk;

pub(crate) use qemu_img::driver;

use crate::error::HostError;
use crate::spec::DiskFormat;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// What an image proved to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    pub format: DiskFormat,
    /// Bytes of the disk that a guest would see.
    pub virtual_size_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The image must not be used; the reason is for its uploader.
    #[error("{reason}")]
    Refused { reason: String },
    /// The image could not be read.
    #[error(transparent)]
    Failed(#[from] HostError),
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, InspectError> {
    Err(InspectError::Refused {
        reason: reason.into(),
    })
}

/// Reads the header and asks `qemu-img`; both must agree with the declared format.
pub async fn inspect(
    path: &Path,
    declared: DiskFormat,
    qemu_img: &Path,
) -> Result<Inspection, InspectError> {
    let (owned, format) = (path.to_owned(), declared);
    let ours = tokio::task::spawn_blocking(move || inspect_header(&owned, format))
        .await
        .map_err(|error| HostError::Internal {
            doing: "inspect an image".to_owned(),
            reason: error.to_string(),
        })??;
    qemu_img::confirm(path, ours, qemu_img).await
}

/// The header checks alone: pure reading, no child process.
pub fn inspect_header(path: &Path, declared: DiskFormat) -> Result<Inspection, InspectError> {
    let mut image = Image::open(path).map_err(HostError::io("read", path))?;
    let found = image.signature().map_err(HostError::io("read", path))?;
    if let Some(reason) = mismatch(declared, found) {
        return refuse(reason);
    }
    let virtual_size_bytes = match declared {
        DiskFormat::Qcow2 => qcow2::check(&mut image)?,
        DiskFormat::Vmdk => vmdk::check(&mut image)?,
        DiskFormat::Vdi => others::check_vdi(&mut image)?,
        DiskFormat::Vhd => others::check_vhd(&mut image)?,
        DiskFormat::Vhdx => others::check_vhdx(&mut image)?,
        DiskFormat::Ploop => others::check_ploop(&mut image)?,
        DiskFormat::Raw | DiskFormat::Iso | DiskFormat::Ami | DiskFormat::Ari | DiskFormat::Aki => {
            image.length
        }
    };
    if virtual_size_bytes == 0 {
        return refuse(format!("the {declared} image holds a disk of 0 bytes"));
    }
    Ok(Inspection {
        format: declared,
        virtual_size_bytes,
    })
}

/// The virtual size of a qcow2 disk of our own making.
pub(crate) fn qcow2_virtual_size(path: &Path) -> io::Result<u64> {
    Ok(Image::open(path)?.read(0, 72)?.u64_be(24))
}

/// What the bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    Format(DiskFormat),
    /// A format that is no disk format here.
    Foreign(&'static str),
    /// Nothing that we know: a raw disk, or anything.
    Plain,
}

fn mismatch(declared: DiskFormat, found: Signature) -> Option<String> {
    let declared_is_plain = matches!(
        declared,
        DiskFormat::Raw | DiskFormat::Ami | DiskFormat::Ari | DiskFormat::Aki
    );
    match found {
        Signature::Format(format) if format == declared => None,
        // A CD image is also a legal raw disk.
        Signature::Format(DiskFormat::Iso) | Signature::Plain if declared_is_plain => None,
        Signature::Format(format) => Some(format!(
            "the image was declared as {declared}, but its content is {format}: declare it as {format}"
        )),
        Signature::Foreign(name) => Some(format!(
            "the image was declared as {declared}, but its content is {name}"
        )),
        Signature::Plain => Some(format!(
            "the image was declared as {declared}, but it has no {declared} header"
        )),
    }
}

/// An image file with the few ways of reading that header checks need.
struct Image {
    file: File,
    length: u64,
}

impl Image {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        // The length of a block device is where its end is, not what its metadata says.
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, length })
    }

    /// Bytes at an offset; fewer at the end of the file.
    fn read(&mut self, offset: u64, length: u64) -> io::Result<Bytes> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        (&mut self.file).take(length).read_to_end(&mut bytes)?;
        Ok(Bytes(bytes))
    }

    /// Bytes at an offset, all of them; an image that ends before is refused.
    fn header(&mut self, offset: u64, length: u64, what: &str) -> Result<Bytes, InspectError> {
        let bytes = self.read(offset, length).map_err(|error| HostError::Io {
            doing: "read a header in".to_owned(),
            path: "the image".into(),
            reason: error.to_string(),
        })?;
        if (bytes.0.len() as u64) < length {
            return refuse(format!("the image ends inside its {what}: it is truncated"));
        }
        Ok(bytes)
    }

    fn signature(&mut self) -> io::Result<Signature> {
        let head = self.read(0, 512)?;
        let tail = self.read(self.length.saturating_sub(512), 512)?;
        let volume = self.read(32_768, 6)?;
        Ok(if head.has(0, b"QFI\xfb") {
            match head.u32_be(4) {
                2 | 3 => Signature::Format(DiskFormat::Qcow2),
                _ => Signature::Foreign("an old or unknown version of qcow"),
            }
        } else if head.has(0, b"KDMV")
            || head.has(0, b"COWD")
            || head.has(0, b"# Disk DescriptorFile")
        {
            Signature::Format(DiskFormat::Vmdk)
        } else if head.has(0x40, &[0x7f, 0x10, 0xda, 0xbe]) {
            Signature::Format(DiskFormat::Vdi)
        } else if head.has(0, b"vhdxfile") {
            Signature::Format(DiskFormat::Vhdx)
        } else if head.has(0, b"conectix") || tail.has(0, b"conectix") {
            Signature::Format(DiskFormat::Vhd)
        } else if head.has(0, b"WithoutFreeSpace") || head.has(0, b"WithouFreSpacExt") {
            Signature::Format(DiskFormat::Ploop)
        } else if head.has(0, b"QED\0") {
            Signature::Foreign("QED")
        } else if volume.has(1, b"CD001") {
            Signature::Format(DiskFormat::Iso)
        } else {
            Signature::Plain
        })
    }
}

/// A header in memory. Reading beyond its end gives zero bytes, which no check takes for something legal.
struct Bytes(Vec<u8>);

impl Bytes {
    fn has(&self, offset: usize, signature: &[u8]) -> bool {
        self.0.get(offset..offset + signature.len()) == Some(signature)
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.0
            .get(offset..)
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .unwrap_or([0; N])
    }

    fn u16_le(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    fn u32_le(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    fn u64_le(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    fn u32_be(&self, offset: usize) -> u32 {
        u32::from_be_bytes(self.array(offset))
    }

    fn u64_be(&self, offset: usize) -> u64 {
        u64::from_be_bytes(self.array(offset))
    }
}
