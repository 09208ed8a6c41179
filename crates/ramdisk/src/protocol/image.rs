//! Images: what is to be written to which disk, and the record of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `image_info` of `standby.prepare_image`. Fields of the stock agent that are not here have no effect on whole-disk images.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageInfo {
    pub id: String,
    /// Tried in order until one begins to answer.
    pub urls: Vec<String>,
    /// `sha256` or `sha512`, of the file as it is downloaded.
    #[serde(default)]
    pub os_hash_algo: Option<String>,
    #[serde(default)]
    pub os_hash_value: Option<String>,
    /// A SHA-256 or SHA-512 by its digits, where the two fields above are missing.
    #[serde(default)]
    pub checksum: Option<String>,
    /// What the control plane says the image is; checked against what it is.
    #[serde(default)]
    pub disk_format: Option<String>,
    /// `whole-disk`, or nothing.
    #[serde(default)]
    pub image_type: Option<String>,
    /// An ISO file system, gzipped, in base64; written to a partition of its own.
    #[serde(default)]
    pub configdrive: Option<String>,
    /// Whether the last partition is to reach to the end of the disk, where the image has one that can. Ours; the stock agent
    /// leaves it to the image.
    #[serde(default)]
    pub grow: bool,
}

/// Which disk is the root disk: all that are given must hold. Text may be preceded by `s==`, `s!=`, numbers by `==`, `>=`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootDeviceHints {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hctl: Option<String>,
    /// GiB, a number or text such as `>= 100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<Value>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRecord {
    pub image: String,
    pub device: String,
    pub serial: Option<String>,
    /// `raw` or `qcow2`, after decompression.
    pub format: String,
    /// `gzip`, `zstd` or none.
    pub compression: Option<String>,
    /// `sha256:…` or `sha512:…`, computed over what was downloaded.
    pub checksum: String,
    pub downloaded_bytes: u64,
    /// The size of the disk that the image describes.
    pub image_bytes: u64,
    /// What became of the last partition. `None`: it was not asked to grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
}

/// How the last partition came to reach to the end of the disk, or why it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    Grown { partition: u32, size_bytes: u64 },
    Left { reason: String },
}
