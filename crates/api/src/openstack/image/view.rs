//! An image as Glance shows it.

use corten_operations::image::STORE;
use corten_store::images::Image;
use serde_json::{Map, Value, json};

/// The address of an image, as its answers name it.
pub fn path(image: &Image) -> String {
    format!("/v2/images/{}", image.id)
}

pub fn render(image: &Image) -> Value {
    let Image {
        id,
        name,
        status,
        visibility,
        owner,
        protected,
        hidden,
        disk_format,
        container_format,
        content,
        min_disk_gib,
        min_ram_mib,
        tags,
        properties,
        incoming: _,
        staged: _,
        import,
        created_at,
        updated_at,
        status_since: _,
    } = image;
    let base = json!({
        "id": id,
        "name": name,
        "status": status.as_str(),
        "visibility": visibility.as_str(),
        "owner": owner,
        "protected": protected,
        "os_hidden": hidden,
        "disk_format": disk_format,
        "container_format": container_format,
        "size": image.size_bytes(),
        "virtual_size": content.as_ref().and_then(|content| content.virtual_size_bytes),
        "checksum": content.as_ref().map(|content| content.md5.as_str()),
        "os_hash_algo": content.as_ref().map(|_| "sha512"),
        "os_hash_value": content.as_ref().map(|content| content.sha512.as_str()),
        "min_disk": min_disk_gib,
        "min_ram": min_ram_mib,
        "tags": tags,
        "created_at": created_at.seconds_z(),
        "updated_at": updated_at.seconds_z(),
        "self": path(image),
        "file": format!("{}/file", path(image)),
        "schema": "/v2/schemas/image",
    });
    let mut view: Map<String, Value> = properties
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    if content.is_some() {
        view.insert("stores".to_owned(), json!(STORE));
    }
    if let Some(import) = import {
        let store_if = |yes: bool| json!(if yes { STORE } else { "" });
        view.insert(
            "os_glance_importing_to_stores".to_owned(),
            store_if(import.running),
        );
        view.insert(
            "os_glance_failed_import".to_owned(),
            store_if(import.failed),
        );
        if import.running {
            view.insert("os_glance_import_task".to_owned(), json!(import.operation));
        }
    }
    if let Value::Object(base) = base {
        view.extend(base);
    }
    Value::Object(view)
}
