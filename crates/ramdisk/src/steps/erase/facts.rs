//! What a disk can do to be erased, as it says itself.

use super::{ata, nvme};
use crate::device::{Disk, Transport};
use std::fs::File;

/// Everything that the choice of methods depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EraseFacts {
    pub nvme: Option<NvmeAbilities>,
    pub ata: Option<AtaSecurity>,
    pub discard: bool,
}

/// From NVMe's Identify Controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NvmeAbilities {
    pub sanitize_crypto: bool,
    pub sanitize_block: bool,
    pub format: bool,
    pub format_crypto: bool,
}

/// From word 128 of ATA's IDENTIFY DEVICE (ACS-4, 7.13.6.60).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AtaSecurity {
    pub supported: bool,
    pub enabled: bool,
    pub locked: bool,
    /// Until the next power cycle no security command is heeded; many firmwares freeze disks at boot.
    pub frozen: bool,
    pub enhanced: bool,
}

impl EraseFacts {
    /// Asks the disk. What does not answer cannot do it.
    pub fn gather(disk: &Disk, file: &File) -> Self {
        Self {
            nvme: (disk.transport == Transport::Nvme)
                .then(|| nvme::abilities(file))
                .and_then(|asked| {
                    asked
                        .inspect_err(|error| tracing::warn!("{}: {error}", disk.name))
                        .ok()
                }),
            ata: (disk.transport == Transport::Ata)
                .then(|| ata::security(file))
                .flatten(),
            discard: disk.discard_max_bytes > 0,
        }
    }
}
