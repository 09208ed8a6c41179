//! From an instance to what a host needs: the guest's shape and its config drive.
//!
//! The config drive follows "Metadata service / config drive" of Nova's user guide: `openstack/latest/meta_data.json`,
//! `user_data`, `network_data.json`, `vendor_data.json`, and the EC2 form of the metadata.

use crate::context::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_host::{ConfigDrive, ConfigDriveFile, DiskFormat, Firmware, GuestSpec, ImageRef, Shape};
use corten_model::refusal::Refusal;
use corten_store::instances::{Flavor, Image, Instance};
use serde_json::json;
use std::collections::BTreeMap;

/// The guest of an instance. `admin_pass` goes to the config drive and nowhere else.
pub fn guest(
    cx: &Context,
    instance: &Instance,
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
        nics: Vec::new(),
        disks: Vec::new(),
        config_drive: intent
            .config_drive
            .then(|| config_drive(instance, admin_pass)),
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
pub fn config_drive(instance: &Instance, admin_pass: Option<&str>) -> ConfigDrive {
    let intent = &instance.intent;
    let mut files = Vec::new();
    let mut add = |path: String, content: Vec<u8>| files.push(ConfigDriveFile { path, content });
    let mut meta_data = json!({
        "uuid": instance.id,
        "name": intent.name,
        "hostname": intent.hostname,
        "availability_zone": intent.availability_zone,
        "launch_index": instance.launch_index,
        "project_id": instance.project_id,
        "meta": intent.metadata,
        "devices": [],
        "dedicated_cpus": [],
    });
    if let Some(key) = &intent.key {
        meta_data["public_keys"] = json!({ &key.name: key.public_key });
        meta_data["keys"] = json!([{"name": key.name, "type": key.kind, "data": key.public_key}]);
    }
    if let Some(password) = admin_pass {
        meta_data["admin_pass"] = json!(password);
    }
    let mut listed = Vec::new();
    for (index, (path, content)) in intent.personality.iter().enumerate() {
        let content_path = format!("/content/{index:04}");
        listed.push(json!({"path": path, "content_path": content_path}));
        add(
            format!("openstack{content_path}"),
            STANDARD.decode(content).unwrap_or_default(),
        );
    }
    if !listed.is_empty() {
        meta_data["files"] = json!(listed);
    }
    let ec2 = json!({
        "instance-id": format!("i-{}", &instance.id.0.simple().to_string()[..8]),
        "hostname": intent.hostname,
        "local-hostname": intent.hostname,
        "instance-type": intent.flavor.name,
        "placement": {"availability-zone": intent.availability_zone},
        "reservation-id": instance.reservation_id,
        "ami-launch-index": instance.launch_index,
        "public-keys": intent.key.as_ref().map(|key| json!({"0": {"openssh-key": key.public_key}})),
    });
    add(
        "openstack/latest/meta_data.json".to_owned(),
        meta_data.to_string().into_bytes(),
    );
    add(
        "openstack/latest/network_data.json".to_owned(),
        json!({"links": [], "networks": [], "services": []})
            .to_string()
            .into_bytes(),
    );
    add(
        "openstack/latest/vendor_data.json".to_owned(),
        b"{}".to_vec(),
    );
    add(
        "openstack/latest/vendor_data2.json".to_owned(),
        b"{}".to_vec(),
    );
    add(
        "ec2/latest/meta-data.json".to_owned(),
        ec2.to_string().into_bytes(),
    );
    if let Some(user_data) = intent
        .user_data
        .as_ref()
        .and_then(|text| STANDARD.decode(text).ok())
    {
        add("openstack/latest/user_data".to_owned(), user_data.clone());
        add("ec2/latest/user-data".to_owned(), user_data);
    }
    ConfigDrive { files }
}
