//! Virtual media: an image that the BMC shows the server as a drive.

use secrecy::SecretString;
use url::Url;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// CD or DVD.
    Cdrom,
    Floppy,
    /// A USB stick.
    Usb,
}

/// An image to insert, read-only.
#[derive(Debug, Clone)]
pub struct Media {
    pub image: Url,
    /// For the server that the image is fetched from.
    pub username: Option<String>,
    pub password: Option<SecretString>,
}

impl Media {
    pub fn new(image: Url) -> Self {
        Self {
            image,
            username: None,
            password: None,
        }
    }
}

/// A drive that the BMC can fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSlot {
    /// How the BMC names it.
    pub id: String,
    pub kinds: Vec<MediaKind>,
    pub inserted: bool,
    /// As the BMC shows it.
    pub image: Option<String>,
}
