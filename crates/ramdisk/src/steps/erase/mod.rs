//! Erases disks, each by the best method that it has, and leaves a record of it.
//!
//! ```text
//!   facts ──> choose ──> method 1 ──> verify ──> recorded: erased
//!                           │ fails      │ old bytes are still there
//!                           └────────────┴──> method 2 … ──> none left: recorded: not erased
//! ```
//!
//! No method is believed: after each, places spread over the disk are read and compared with what they held before.

mod ata;
mod blocks;
mod choose;
mod facts;
mod nvme;
mod verify;

pub use choose::methods;
pub use facts::{AtaSecurity, EraseFacts, NvmeAbilities};

use crate::device::{Disk, direct, ioctl};
use crate::protocol::{EraseAttempt, EraseMethod, EraseRecord};
use crate::steps::program::ProgramError;
use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error("the disk {disk} cannot be opened")]
    Open {
        disk: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the disk {disk} cannot be read")]
    Read {
        disk: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the disk cannot be written")]
    Write(#[source] std::io::Error),
    #[error("the kernel refused to {what}")]
    Kernel {
        what: &'static str,
        #[source]
        source: rustix::io::Errno,
    },
    #[error("the NVMe command {what} failed")]
    Nvme {
        what: &'static str,
        #[source]
        source: ioctl::NvmeError,
    },
    #[error("the device reports that the sanitize operation failed (status {status:#x})")]
    Sanitize { status: u8 },
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(
        "of {samples} places, {kept} still hold what they held before, the first at byte {first}"
    )]
    NotErased { samples: u64, kept: u64, first: u64 },
}

pub fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Erases one disk, and counts the bytes that are. `Err`: it could not even be looked at; otherwise the record says how it went.
pub fn erase(disk: &Disk, done: &AtomicU64) -> Result<EraseRecord, EraseError> {
    let file = direct::open_exclusive(&disk.path()).map_err(|source| EraseError::Open {
        disk: disk.name.clone(),
        source,
    })?;
    let facts = EraseFacts::gather(disk, &file);
    let before =
        verify::Samples::take(&file, disk.size_bytes).map_err(|source| EraseError::Read {
            disk: disk.name.clone(),
            source,
        })?;
    let mut record = EraseRecord {
        device: disk.name.clone(),
        model: disk.model.clone(),
        serial: disk.serial.clone(),
        wwn: disk.wwn.clone(),
        size_bytes: disk.size_bytes,
        removable: false,
        attempts: Vec::new(),
        started_at_secs: seconds_now(),
        finished_at_secs: 0,
        verification: None,
    };
    for method in methods(&facts) {
        tracing::info!("erasing {} by {method:?}", disk.name);
        let outcome = apply(method, disk, &file, done).and_then(|()| before.verify(&file, disk));
        let error = match outcome {
            Ok(verification) => {
                record.verification = Some(verification);
                None
            }
            Err(error) => {
                let error = crate::journal::chain(&error);
                tracing::warn!("{} was not erased by {method:?}: {error}", disk.name);
                Some(error)
            }
        };
        record.attempts.push(EraseAttempt { method, error });
        if record.erased() {
            break;
        }
    }
    record.finished_at_secs = seconds_now();
    // The old partitions are gone; that the kernel cannot be told so is of no harm to the proof.
    if let Err(error) = ioctl::reread_partitions(&file) {
        tracing::warn!(
            "{}: the partition table cannot be read anew: {error}",
            disk.name
        );
    }
    Ok(record)
}

fn apply(
    method: EraseMethod,
    disk: &Disk,
    file: &File,
    done: &AtomicU64,
) -> Result<(), EraseError> {
    match method {
        EraseMethod::NvmeSanitizeCrypto => nvme::sanitize(file, nvme::Sanitize::Crypto),
        EraseMethod::NvmeSanitizeBlock => nvme::sanitize(file, nvme::Sanitize::Block),
        EraseMethod::NvmeFormatCrypto => nvme::format(disk, file, nvme::Format::Crypto),
        EraseMethod::NvmeFormat => nvme::format(disk, file, nvme::Format::UserData),
        EraseMethod::AtaSecureEraseEnhanced => ata::secure_erase(disk, true),
        EraseMethod::AtaSecureErase => ata::secure_erase(disk, false),
        EraseMethod::Discard => blocks::discard(disk, file, done),
        EraseMethod::Overwrite => blocks::overwrite(disk, file, done),
    }
}

/// Removes what makes an old system boot or be found: the first and last MiB, as `erase_devices_metadata` does.
pub fn erase_metadata(disk: &Disk) -> Result<(), EraseError> {
    let file = direct::open_exclusive(&disk.path()).map_err(|source| EraseError::Open {
        disk: disk.name.clone(),
        source,
    })?;
    blocks::zero_ends(disk, &file)
}
