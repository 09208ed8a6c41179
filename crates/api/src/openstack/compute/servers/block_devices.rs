//! The block devices of a create. There are no volumes yet: a server boots from an image on a local disk.

use super::fields;
use crate::openstack::compute::input::{Truth, Whole, WordOrNumber};
use crate::openstack::compute::microversion::Microversion;
use corten_model::ids::ImageId;
use corten_model::refusal::Refusal;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An entry of `block_device_mapping_v2`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockDevice {
    #[serde(default, deserialize_with = "fields::given")]
    source_type: Option<Source>,
    #[serde(default, deserialize_with = "fields::given")]
    destination_type: Option<Destination>,
    #[serde(default, deserialize_with = "fields::given")]
    uuid: Option<String>,
    #[serde(rename = "image_id", default, deserialize_with = "fields::given")]
    _image_id: Option<ImageId>,
    #[serde(rename = "guest_format", default, deserialize_with = "fields::given")]
    _guest_format: Option<String>,
    #[serde(rename = "device_type", default, deserialize_with = "fields::given")]
    _device_type: Option<String>,
    #[serde(rename = "disk_bus", default, deserialize_with = "fields::given")]
    _disk_bus: Option<String>,
    boot_index: Option<Whole>,
    #[serde(default, deserialize_with = "fields::given")]
    tag: Option<String>,
    #[serde(default)]
    volume_type: Option<String>,
    #[serde(default, deserialize_with = "fields::given")]
    volume_size: Option<Whole>,
    #[serde(default, deserialize_with = "fields::given")]
    device_name: Option<String>,
    #[serde(
        rename = "delete_on_termination",
        default,
        deserialize_with = "fields::given"
    )]
    _delete_on_termination: Option<Truth>,
    #[serde(rename = "virtual_name", default, deserialize_with = "fields::given")]
    _virtual_name: Option<String>,
    #[serde(rename = "volume_id", default, deserialize_with = "fields::given")]
    _volume_id: Option<uuid::Uuid>,
    #[serde(rename = "snapshot_id", default, deserialize_with = "fields::given")]
    _snapshot_id: Option<uuid::Uuid>,
    #[serde(rename = "no_device", default)]
    _no_device: Option<IgnoredAny>,
    #[serde(
        rename = "connection_info",
        default,
        deserialize_with = "fields::given"
    )]
    _connection_info: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Volume,
    Image,
    Snapshot,
    Blank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Destination {
    Local,
    Volume,
}

/// An entry of the older `block_device_mapping`, which is about volumes only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegacyBlockDevice {
    #[serde(rename = "virtual_name", default, deserialize_with = "fields::given")]
    _virtual_name: Option<String>,
    #[serde(rename = "volume_id", default, deserialize_with = "fields::given")]
    _volume_id: Option<uuid::Uuid>,
    #[serde(rename = "snapshot_id", default, deserialize_with = "fields::given")]
    _snapshot_id: Option<uuid::Uuid>,
    #[serde(rename = "volume_size", default, deserialize_with = "fields::given")]
    _volume_size: Option<WordOrNumber>,
    #[serde(rename = "device_name", default, deserialize_with = "fields::given")]
    _device_name: Option<String>,
    #[serde(
        rename = "delete_on_termination",
        default,
        deserialize_with = "fields::given"
    )]
    _delete_on_termination: Option<Truth>,
    #[serde(rename = "no_device", default)]
    _no_device: Option<IgnoredAny>,
    #[serde(
        rename = "connection_info",
        default,
        deserialize_with = "fields::given"
    )]
    _connection_info: Option<String>,
}

impl BlockDevice {
    /// A local disk made from an image, booted from first.
    fn is_local_root(&self) -> bool {
        self.source_type == Some(Source::Image)
            && self.destination_type == Some(Destination::Local)
            && self.boot_index.is_none_or(|Whole(index)| index == 0)
    }
}

fn invalid(rule: &str) -> Refusal {
    Refusal::invalid(format!("Block Device Mapping is Invalid: {rule}"))
}

/// The image of a mapping that only says the obvious: boot from the image on a local disk.
pub fn image(devices: Option<&[BlockDevice]>) -> Result<Option<ImageId>, Refusal> {
    let root = devices
        .into_iter()
        .flatten()
        .find(|device| device.is_local_root());
    match root.and_then(|device| device.uuid.as_deref()) {
        Some(id) => id
            .parse()
            .map(Some)
            .map_err(|_| invalid(&format!("'{id}' is not the id of an image."))),
        None => Ok(None),
    }
}

/// Refuses what is not well formed, then everything but a local root disk.
pub fn check(
    mv: Microversion,
    devices: Option<Vec<BlockDevice>>,
    older: Option<Vec<LegacyBlockDevice>>,
) -> Result<(), Refusal> {
    if devices.is_some() && older.is_some() {
        return Err(Refusal::invalid(
            "Using different block_device_mapping syntaxes is not allowed in the same request.",
        ));
    }
    let devices = devices.unwrap_or_default();
    for device in &devices {
        let has_tag = mv.at_least(42) || mv == Microversion::of(32);
        if device.tag.is_some() && !has_tag {
            return Err(Refusal::invalid(
                "Additional properties are not allowed ('tag' was unexpected)",
            ));
        }
        mv.takes_from(67, "volume_type", device.volume_type.is_some())?;
        if let Some(size) = device.volume_size {
            size.size("volume_size", 1)?;
        }
        if device
            .device_name
            .as_ref()
            .is_some_and(|name| !is_device_name(name))
        {
            return Err(Refusal::invalid(
                "Invalid input for field/attribute device_name. It has 1 to 255 letters, digits and '._/-'",
            ));
        }
    }
    let only_root = devices.len() <= 1 && devices.iter().all(BlockDevice::is_local_root);
    if only_root && older.is_none_or(|older| older.is_empty()) {
        return Ok(());
    }
    Err(invalid(
        "this cloud has no volumes yet. Boot from an image with imageRef.",
    ))
}

fn is_device_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
}
