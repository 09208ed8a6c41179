//! Reads the checksum files that vendors publish beside their images, in GNU and in BSD style.

use std::fmt;

use sha2::{Digest, Sha256, Sha512};

/// A published or computed checksum. Weaker algorithms than SHA-256 prove nothing and are not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checksum {
    Sha256(String),
    Sha512(String),
}

impl Checksum {
    /// A checksum of hexadecimal digits, its algorithm known by its length.
    fn of_digits(digits: &str) -> Option<Self> {
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let digits = digits.to_ascii_lowercase();
        match digits.len() {
            64 => Some(Self::Sha256(digits)),
            128 => Some(Self::Sha512(digits)),
            _ => None,
        }
    }

    /// A computation of the same algorithm, from the beginning.
    pub fn hasher(&self) -> Hasher {
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

/// A checksum being computed.
pub enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Checksum {
        match self {
            Self::Sha256(hasher) => Checksum::Sha256(hex::encode(hasher.finalize())),
            Self::Sha512(hasher) => Checksum::Sha512(hex::encode(hasher.finalize())),
        }
    }
}

/// The strongest checksum that `text` gives for a file. Comments, signatures and other files are passed over.
pub fn find(text: &str, file_name: &str) -> Option<Checksum> {
    text.lines()
        .filter_map(|line| parse_bsd(line).or_else(|| parse_gnu(line)))
        .filter(|(name, _)| name.strip_prefix("./").unwrap_or(name) == file_name)
        .map(|(_, checksum)| checksum)
        .max()
}

/// `SHA256 (name) = digits`
fn parse_bsd(line: &str) -> Option<(&str, Checksum)> {
    let (algorithm, rest) = line.trim().split_once(" (")?;
    let (name, digits) = rest.rsplit_once(") = ")?;
    let checksum = Checksum::of_digits(digits.trim())?;
    match (algorithm, &checksum) {
        ("SHA256", Checksum::Sha256(_)) | ("SHA512", Checksum::Sha512(_)) => Some((name, checksum)),
        _ => None,
    }
}

/// `digits  name`, or `digits *name` for a file read as binary
fn parse_gnu(line: &str) -> Option<(&str, Checksum)> {
    let (digits, name) = line.trim_end().split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    Some((name, Checksum::of_digits(digits)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gnu_lines_in_text_and_binary_mode() {
        let digits = "a".repeat(64);
        let text = format!(
            "# a comment\n{digits} *jammy.img\n{}  ./noble.img\n",
            "B".repeat(128)
        );
        assert_eq!(find(&text, "jammy.img"), Some(Checksum::Sha256(digits)));
        assert_eq!(
            find(&text, "noble.img"),
            Some(Checksum::Sha512("b".repeat(128)))
        );
        assert_eq!(find(&text, "img"), None);
    }

    #[test]
    fn bsd_lines_inside_a_signed_message() {
        let digits = "0123456789abcdef".repeat(4);
        let text = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# Rocky (9).qcow2: 600 bytes\nSHA256 (Rocky (9).qcow2) = {digits}\n"
        );
        assert_eq!(
            find(&text, "Rocky (9).qcow2"),
            Some(Checksum::Sha256(digits))
        );
    }

    #[test]
    fn the_strongest_wins_and_weak_or_mislabelled_ones_do_not_count() {
        let text = format!(
            "MD5 (x) = {}\nSHA256 (x) = {}\nSHA512 (x) = {}\nSHA256 (y) = {}\nMD5 (z) = {}\n",
            "1".repeat(32),
            "2".repeat(64),
            "3".repeat(128),
            "4".repeat(128),
            "5".repeat(64)
        );
        assert_eq!(find(&text, "x"), Some(Checksum::Sha512("3".repeat(128))));
        assert_eq!(find(&text, "y"), None);
        assert_eq!(find(&text, "z"), None);
    }
}
