//! The server's disks: what the kernel tells of them, which is the root disk, and the calls that only disks know.

pub mod arrays;
pub mod direct;
pub mod hints;
pub mod ioctl;
mod sysfs;

pub use sysfs::{LeftAlone, Sysfs, left_alone, list};

use std::path::PathBuf;

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Nvme,
    Ata,
    Scsi,
    Virtio,
    /// A software RAID array.
    Md,
    Other,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Ata => "ata",
            Self::Scsi => "scsi",
            Self::Virtio => "virtio",
            Self::Md => "md",
            Self::Other => "other",
        }
    }
}

/// A whole disk that an operating system may be put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, without `/dev/`.
    pub name: String,
    pub transport: Transport,
    pub size_bytes: u64,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub wwn: Option<String>,
    pub vendor: Option<String>,
    /// Host, channel, target and unit of a SCSI or ATA disk.
    pub hctl: Option<String>,
    pub rotational: bool,
    pub read_only: bool,
    pub logical_block_bytes: u64,
    pub physical_block_bytes: u64,
    /// The most that one discard may take; 0: the disk knows no discard.
    pub discard_max_bytes: u64,
}

impl Disk {
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/dev").join(&self.name)
    }
}
