//! What a guest is made of: plain data, as the control plane sends it.

use base64::Engine as _;
use corten_model::ids::{ImageId, InstanceId, PortId};
use corten_network::plan::Mac;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Everything a host needs to make and run a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// Also the UUID that the guest sees in its firmware.
    pub id: InstanceId,
    /// For logs only.
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// Size of the root disk; 0 means the image's own size, or no root disk without an image.
    pub root_gib: u64,
    /// A second disk with an ext4 file system labelled `ephemeral0`; 0 means none.
    pub ephemeral_gib: u64,
    /// A swap disk; 0 means none.
    pub swap_mib: u64,
    /// Without an image the root disk is blank.
    pub image: Option<ImageRef>,
    pub firmware: Firmware,
    pub nics: Vec<NicSpec>,
    pub disks: Vec<DiskSpec>,
    /// Without one the guest has no config drive.
    pub config_drive: Option<ConfigDrive>,
    /// The image's `hw_*` properties, checked by [`Machine::parse`](crate::Machine::parse).
    pub machine_properties: BTreeMap<String, String>,
}

/// What a flavor decides about a guest: the part of its spec that a resize changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub vcpus: u32,
    pub memory_mib: u64,
    pub root_gib: u64,
    pub ephemeral_gib: u64,
    pub swap_mib: u64,
}

impl GuestSpec {
    pub fn shape(&self) -> Shape {
        Shape {
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            root_gib: self.root_gib,
            ephemeral_gib: self.ephemeral_gib,
            swap_mib: self.swap_mib,
        }
    }

    /// The same guest in another shape.
    pub fn reshaped(self, shape: Shape) -> Self {
        let Shape {
            vcpus,
            memory_mib,
            root_gib,
            ephemeral_gib,
            swap_mib,
        } = shape;
        Self {
            vcpus,
            memory_mib,
            root_gib,
            ephemeral_gib,
            swap_mib,
            ..self
        }
    }
}

/// An image file that this host can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    pub id: ImageId,
    /// Hash of the whole file, 128 lower-case hexadecimal digits.
    pub sha512: String,
    pub format: DiskFormat,
    /// Where the file is on this host; only `EnsureImage` reads it.
    pub path: PathBuf,
}

/// Image and disk formats, in Glance's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    Raw,
    Qcow2,
    Vmdk,
    Vdi,
    /// Microsoft's older format, which QEMU calls `vpc`.
    Vhd,
    Vhdx,
    Iso,
    Ploop,
    Ami,
    Ari,
    Aki,
}

impl DiskFormat {
    pub const ALL: [Self; 11] = [
        Self::Raw,
        Self::Qcow2,
        Self::Vmdk,
        Self::Vdi,
        Self::Vhd,
        Self::Vhdx,
        Self::Iso,
        Self::Ploop,
        Self::Ami,
        Self::Ari,
        Self::Aki,
    ];

    /// Glance's word for the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Iso => "iso",
            Self::Ploop => "ploop",
            Self::Ami => "ami",
            Self::Ari => "ari",
            Self::Aki => "aki",
        }
    }

    /// The format of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    #[default]
    Bios,
    Uefi,
}

/// A network card. Its other end is a tap in the host's switch, which names the tap after the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicSpec {
    /// The port of the network that the card is joined to. A guest has one card for a port.
    pub port: PortId,
    pub mac: Mac,
    /// The largest IP packet, in bytes; a virtio card tells its guest.
    pub mtu: u16,
}

/// A disk beside the root disk, for example a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Names the disk to [`Task::DetachDisk`](crate::Task::DetachDisk); the guest sees its first 20 characters as the
    /// disk's serial number. Letters, digits, `-` and `_`, at most 36.
    pub id: String,
    pub path: PathBuf,
    /// Raw or qcow2.
    pub format: DiskFormat,
    pub read_only: bool,
}

/// The files of an OpenStack config drive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigDrive {
    pub files: Vec<ConfigDriveFile>,
}

/// One file, for example `openstack/latest/meta_data.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDriveFile {
    /// Relative, with `/` between its parts.
    pub path: String,
    #[serde(with = "base64_bytes")]
    pub content: Vec<u8>,
}

impl fmt::Debug for ConfigDriveFile {
    /// Without the content, which holds passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path, self.content.len())
    }
}

mod base64_bytes {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD
            .decode(String::deserialize(deserializer)?)
            .map_err(D::Error::custom)
    }
}
