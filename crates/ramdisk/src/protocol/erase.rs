//! The record of a wipe: the proof that no path from one tenant to the next goes without.

use serde::{Deserialize, Serialize};

/// A way to erase a disk, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraseMethod {
    /// NVMe sanitize: the key of all data is forgotten, spare cells too.
    NvmeSanitizeCrypto,
    /// NVMe sanitize: all cells are erased, spare ones too.
    NvmeSanitizeBlock,
    /// NVMe format: the key of the namespace's data is forgotten.
    NvmeFormatCrypto,
    /// NVMe format: the namespace's data is erased.
    NvmeFormat,
    /// ATA security erase, in its enhanced mode: vendor's pattern, remapped sectors too.
    AtaSecureEraseEnhanced,
    /// ATA security erase.
    AtaSecureErase,
    /// The blocks are given back to the device and then set to zero by it.
    Discard,
    /// Zeroes are written to each block.
    Overwrite,
}

/// What was done to one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseRecord {
    /// The kernel's name, such as `nvme0n1`; it may change with the next boot.
    pub device: String,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub wwn: Option<String>,
    pub size_bytes: u64,
    /// It can be taken out, and need not be there the next time.
    #[serde(default)]
    pub removable: bool,
    /// Each method that was tried, in order; the last one did it, or none did.
    pub attempts: Vec<EraseAttempt>,
    pub started_at_secs: u64,
    pub finished_at_secs: u64,
    /// What was read back. `None`: the disk is not erased.
    pub verification: Option<Verification>,
}

impl EraseRecord {
    pub fn erased(&self) -> bool {
        self.verification.is_some()
    }
}

/// One method's try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseAttempt {
    pub method: EraseMethod,
    /// `None`: it succeeded, and was verified.
    pub error: Option<String>,
}

/// Places spread over the whole disk, first and last ones included, were read and held nothing of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    pub samples: u64,
    pub bytes: u64,
}
