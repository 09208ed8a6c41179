//! The checksum an image must have, and a reader that computes it on the way.

use crate::protocol::ImageInfo;
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use std::io::{self, Read};

/// Weaker sums than SHA-256 prove nothing and are not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    Sha256(String),
    Sha512(String),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChecksumError {
    #[error(
        "the image has no checksum: give os_hash_algo (sha256 or sha512) and os_hash_value, so that what is written can be \
         verified"
    )]
    Missing,
    #[error("the image's checksum is of the kind '{0}': give one of the kind sha256 or sha512")]
    Kind(String),
    #[error("'{digits}' is no {kind} sum: it has {expected} hexadecimal digits")]
    Digits {
        kind: &'static str,
        digits: String,
        expected: usize,
    },
}

impl Checksum {
    /// What the image's description asks for.
    pub fn wanted(image: &ImageInfo) -> Result<Self, ChecksumError> {
        match (&image.os_hash_algo, &image.os_hash_value, &image.checksum) {
            (Some(kind), Some(digits), _) => Self::parse(kind, digits),
            (_, _, Some(digits)) if digits.len() == 128 => Self::parse("sha512", digits),
            (_, _, Some(digits)) if digits.len() == 64 => Self::parse("sha256", digits),
            (_, _, Some(digits)) if digits.len() == 32 => {
                Err(ChecksumError::Kind("md5".to_owned()))
            }
            _ => Err(ChecksumError::Missing),
        }
    }

    fn parse(kind: &str, digits: &str) -> Result<Self, ChecksumError> {
        let digits = digits.trim().to_ascii_lowercase();
        let (kind, expected) = match kind.to_ascii_lowercase().as_str() {
            "sha256" => ("sha256", 64),
            "sha512" => ("sha512", 128),
            other => return Err(ChecksumError::Kind(other.to_owned())),
        };
        if digits.len() != expected || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ChecksumError::Digits {
                kind,
                digits,
                expected,
            });
        }
        Ok(match kind {
            "sha256" => Self::Sha256(digits),
            _ => Self::Sha512(digits),
        })
    }

    fn hasher(&self) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::Sha512(_) => Hasher::Sha512(Sha512::new()),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(formatter, "sha256:{digits}"),
            Self::Sha512(digits) => write!(formatter, "sha512:{digits}"),
        }
    }
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// Passes bytes through, counting and hashing them.
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> HashingReader<R> {
    pub fn new(inner: R, like: &Checksum) -> Self {
        Self {
            inner,
            hasher: like.hasher(),
            bytes: 0,
        }
    }

    /// The sum of all that was read, and how much that was.
    pub fn finish(self) -> (Checksum, u64) {
        let sum = match self.hasher {
            Hasher::Sha256(hasher) => Checksum::Sha256(hex::encode(hasher.finalize())),
            Hasher::Sha512(hasher) => Checksum::Sha512(hex::encode(hasher.finalize())),
        };
        (sum, self.bytes)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(&buffer[..count]),
            Hasher::Sha512(hasher) => hasher.update(&buffer[..count]),
        }
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(fields: serde_json::Value) -> Result<Checksum, ChecksumError> {
        let mut image = serde_json::json!({"id": "i", "urls": []});
        image
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        Checksum::wanted(&serde_json::from_value(image).unwrap())
    }

    #[test]
    fn strong_sums_are_taken_and_weak_missing_or_broken_ones_refused() {
        use serde_json::json;
        let (a, b) = ("a".repeat(64), "b".repeat(128));
        assert_eq!(
            wanted(json!({"os_hash_algo": "sha256", "os_hash_value": a.to_uppercase()})),
            Ok(Checksum::Sha256(a.clone()))
        );
        assert_eq!(wanted(json!({"checksum": b})), Ok(Checksum::Sha512(b)));
        assert_eq!(wanted(json!({})), Err(ChecksumError::Missing));
        assert!(matches!(
            wanted(json!({"checksum": "c".repeat(32)})),
            Err(ChecksumError::Kind(_))
        ));
        assert!(matches!(
            wanted(json!({"os_hash_algo": "sha512", "os_hash_value": a})),
            Err(ChecksumError::Digits { expected: 128, .. })
        ));
    }

    #[test]
    fn what_passes_through_is_summed() {
        let mut reader = HashingReader::new(&b"abc"[..], &Checksum::Sha256(String::new()));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let (sum, bytes) = reader.finish();
        assert_eq!((text.as_str(), bytes), ("abc", 3));
        assert_eq!(
            sum.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
