//! What an image is beneath its compression, raw or qcow2, and its pieces in the order in which they come.

use super::compression::Plain;
use super::qcow2::Qcow2;
use super::{Put, WriteError};
use std::io::{self, Read};

/// How much of a raw image is handled at once; zeroes in such a piece are not written but left to the disk.
const PIECE_BYTES: usize = 1 << 20;
/// Enough to know a format by.
const PROBE_BYTES: usize = 512;

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("the image is said to be {declared}, but it is {found}: correct its disk_format")]
    NotAsDeclared {
        declared: String,
        found: &'static str,
    },
    #[error(
        "the image is in the format {0}, of which the ramdisk knows nothing: convert it with 'qemu-img convert -O qcow2'"
    )]
    Unknown(&'static str),
    #[error("the qcow2 image {0}")]
    Qcow2(String),
    #[error("the image is empty")]
    Empty,
}

/// An image on its way.
pub enum Layout<R: Read> {
    Raw {
        first: Vec<u8>,
        rest: Plain<R>,
        length: Option<u64>,
    },
    Qcow2(Box<Qcow2<Plain<R>>>),
}

impl<R: Read> Layout<R> {
    /// Reads the first bytes and knows the format by them.
    pub fn detect(
        mut plain: Plain<R>,
        length: Option<u64>,
        declared: Option<&str>,
    ) -> Result<Self, WriteError> {
        let mut first = Vec::new();
        plain
            .by_ref()
            .take(PROBE_BYTES as u64)
            .read_to_end(&mut first)
            .map_err(WriteError::Read)?;
        let found = format(&first)?;
        // Ironic says `raw` of whatever was converted for it, and of nothing else.
        if let Some(declared) = declared.filter(|declared| *declared != found) {
            return Err(LayoutError::NotAsDeclared {
                declared: declared.to_owned(),
                found,
            }
            .into());
        }
        if found == "qcow2" {
            return Ok(Self::Qcow2(Box::new(Qcow2::open(first, plain)?)));
        }
        Ok(Self::Raw {
            first,
            rest: plain,
            length,
        })
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Raw { .. } => "raw",
            Self::Qcow2(_) => "qcow2",
        }
    }

    /// The size of the disk that the image describes, as far as it is known beforehand.
    pub fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::Raw { length, .. } => *length,
            Self::Qcow2(image) => Some(image.size_bytes()),
        }
    }

    /// Hands out all pieces that are not zero, and returns the size of the image.
    pub fn copy(&mut self, put: &mut Put<'_>) -> Result<u64, WriteError> {
        match self {
            Self::Raw {
                first,
                rest,
                length,
            } => {
                let copied = copy_raw(&mut first.as_slice().chain(rest), put)?;
                match *length {
                    Some(length) if length != copied => Err(WriteError::Read(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("{copied} bytes came of {length}"),
                    ))),
                    _ => Ok(copied),
                }
            }
            Self::Qcow2(image) => {
                image.copy(put)?;
                Ok(image.size_bytes())
            }
        }
    }

    pub fn into_source(self) -> Plain<R> {
        match self {
            Self::Raw { rest, .. } => rest,
            Self::Qcow2(image) => image.into_source(),
        }
    }
}

fn format(first: &[u8]) -> Result<&'static str, LayoutError> {
    match first {
        [] => Err(LayoutError::Empty),
        [b'Q', b'F', b'I', 0xfb, ..] => Ok("qcow2"),
        [b'K', b'D', b'M', b'V', ..] => Err(LayoutError::Unknown("VMDK")),
        [b'v', b'h', b'd', b'x', ..] => Err(LayoutError::Unknown("VHDX")),
        [b'c', b'o', b'n', b'e', b'c', b't', b'i', b'x', ..] => Err(LayoutError::Unknown("VHD")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(LayoutError::Unknown("xz")),
        [b'B', b'Z', b'h', ..] => Err(LayoutError::Unknown("bzip2")),
        _ => Ok("raw"),
    }
}

fn copy_raw(source: &mut dyn Read, put: &mut Put<'_>) -> Result<u64, WriteError> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match source.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(WriteError::Read(error)),
            }
        }
        if filled == 0 {
            return Ok(offset);
        }
        let bytes = &piece[..filled];
        if bytes.iter().any(|byte| *byte != 0) {
            put(offset, bytes)?;
        }
        offset += filled as u64;
    }
}
