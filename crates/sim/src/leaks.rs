//! What a host still holds.

use corten_model::ids::{InstanceId, PortId};
use std::fmt;

/// Everything a host holds; after the last delete it must be empty, but for the image cache if that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaks {
    pub guests: Vec<InstanceId>,
    /// Guests with a process.
    pub processes: Vec<InstanceId>,
    /// `<guest>/<file>`, by the real host's file names.
    pub disks: Vec<String>,
    /// The port of each tap.
    pub nics: Vec<PortId>,
    /// SHA-512 of each cached image.
    pub images: Vec<String>,
}

impl Leaks {
    /// Nothing at all is left, not even a cached image.
    pub fn is_empty(&self) -> bool {
        self.without_images().images.is_empty() && self.images.is_empty() && self.guests.is_empty()
    }

    /// The same without the image cache, which outlives guests on purpose.
    pub fn without_images(&self) -> Self {
        Self {
            images: Vec::new(),
            ..self.clone()
        }
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} guests {:?}, {} processes, {} disks {:?}, {} taps {:?}, {} images {:?}",
            self.guests.len(),
            self.guests,
            self.processes.len(),
            self.disks.len(),
            self.disks,
            self.nics.len(),
            self.nics,
            self.images.len(),
            self.images
        )
    }
}
