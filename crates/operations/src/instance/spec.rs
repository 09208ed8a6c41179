//! From an instance to what a host needs: the guest's shape, its network cards and its config drive.

use super::metadata::{Card, Metadata};
use crate::context::Context;
use crate::network::port::mac_of;
use corten_host::{
    ConfigDrive, ConfigDriveFile, DiskFormat, Firmware, GuestSpec, ImageRef, NicSpec, Shape,
};
use corten_model::refusal::Refusal;
use corten_store::instances::{Flavor, Image, Instance};
use std::collections::BTreeMap;

/// The guest of an instance. `admin_pass` goes to the config drive and nowhere else.
pub fn guest(
    cx: &Context,
    instance: &Instance,
    cards: Vec<Card>,
    admin_pass: Option<&str>,
) -> Result<GuestSpec, Refusal> {
    let intent = &instance.intent;
    let Shape {
        vcpus,
        memory_mib,
        root_gib,
        ephemeral_gib,
        swap_mib,
    } = shape(&intent.flavor);
    let properties = intent
        .image
        .as_ref()
        .map(|image| image.properties.clone())
        .unwrap_or_default();
    let firmware = match properties.get("hw_firmware_type").map(String::as_str) {
        Some("uefi") => Firmware::Uefi,
        _ => Firmware::Bios,
    };
    Ok(GuestSpec {
        id: instance.id,
        name: intent.name.clone(),
        vcpus,
        memory_mib,
        root_gib,
        ephemeral_gib,
        swap_mib,
        image: intent
            .image
            .as_ref()
            .map(|image| image_ref(cx, image))
            .transpose()?,
        firmware,
        nics: cards.iter().map(nic).collect::<Result<_, _>>()?,
        disks: Vec::new(),
        config_drive: intent
            .config_drive
            .then(|| config_drive(cx, instance, cards, admin_pass)),
        machine_properties: machine_properties(properties),
    })
}

/// What a flavor makes of a guest.
pub fn shape(flavor: &Flavor) -> Shape {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Shape {
        vcpus: u32::try_from(flavor.vcpus).unwrap_or(1),
        memory_mib: count(flavor.memory_mib),
        root_gib: count(flavor.root_gib),
        ephemeral_gib: count(flavor.ephemeral_gib),
        swap_mib: count(flavor.swap_mib),
    }
}

/// The file of an image, as a host of this machine reads it.
pub fn image_ref(cx: &Context, image: &Image) -> Result<ImageRef, Refusal> {
    let format = DiskFormat::parse(&image.disk_format).ok_or_else(|| {
        Refusal::invalid(format!(
            "Image {} has the disk format '{}', which no host can boot. Use raw or qcow2.",
            image.id, image.disk_format
        ))
    })?;
    Ok(ImageRef {
        id: image.id,
        sha512: image.sha512.clone(),
        format,
        path: crate::image::file_path(cx, image.id),
    })
}

/// The properties that shape the machine; the rest is for the scheduler and the guest.
fn machine_properties(properties: BTreeMap<String, String>) -> BTreeMap<String, String> {
    properties
        .into_iter()
        .filter(|(name, _)| name.starts_with("hw_") && name != "hw_firmware_type")
        .collect()
}

/// The files of an instance's config drive.
pub fn config_drive(
    cx: &Context,
    instance: &Instance,
    cards: Vec<Card>,
    admin_pass: Option<&str>,
) -> ConfigDrive {
    let metadata = Metadata {
        instance: instance.clone(),
        cards,
        admin_pass: admin_pass.map(str::to_owned),
        default_zone: cx.settings.compute.default_availability_zone.clone(),
    };
    let files = metadata.files().into_iter();
    ConfigDrive {
        files: files
            .map(|(path, content)| ConfigDriveFile { path, content })
            .collect(),
    }
}

/// A network card, as a host makes it.
pub fn nic(card: &Card) -> Result<NicSpec, Refusal> {
    Ok(NicSpec {
        port: card.port.id,
        mac: mac_of(&card.port)?,
        mtu: card.network.mtu,
    })
}
