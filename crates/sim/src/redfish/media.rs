//! `VirtualMedia`: the drives that a BMC shows its server, by actions or, at some, by PATCH.

use super::RedfishNode;
use super::refusal::Refusal;
use super::resource::{Body, Done, Resource, collection, document, healthy};
use super::shape::{MediaShape, Owner};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn find(node: &Arc<RedfishNode>, of: Owner, rest: &[&str]) -> Option<Resource> {
    let data = node.shape.data();
    if data.media_of != of {
        return None;
    }
    let owner = match of {
        Owner::System => node.system_path(),
        Owner::Manager => node.manager_path(),
    };
    let path = format!("{owner}/VirtualMedia");
    let [id, rest @ ..] = rest else {
        let members: Vec<String> = data
            .media
            .iter()
            .map(|slot| format!("{path}/{}", slot.id))
            .collect();
        return Some(Resource::of(collection(&path, "VirtualMedia", members)));
    };
    let slot = data.media.iter().find(|slot| slot.id == *id)?;
    let path = format!("{path}/{id}");
    let node = Arc::clone(node);
    match rest {
        [] => Some(drive(node, slot, &path)),
        ["Actions", "VirtualMedia.InsertMedia"] if !data.media_by_patch => {
            Some(Resource::action(move |body| {
                Body(body).only(&data.insert_takes)?;
                insert(&node, slot, body)?;
                Ok(Done::Nothing)
            }))
        }
        ["Actions", "VirtualMedia.EjectMedia"] if !data.media_by_patch => {
            Some(Resource::action(move |body| {
                let none: [&str; 0] = [];
                Body(body).only(&none)?;
                node.look(|server| drop(server.media.remove(&slot.id)));
                Ok(Done::Nothing)
            }))
        }
        _ => None,
    }
}

fn drive(node: Arc<RedfishNode>, slot: &'static MediaShape, path: &str) -> Resource {
    let image = node.look(|server| server.media.get(&slot.id).cloned());
    let name = image.as_deref().and_then(|image| image.rsplit('/').next());
    let mut rest = json!({
        "MediaTypes": slot.kinds,
        "Inserted": image.is_some(),
        "Image": image,
        "ImageName": name,
        "ConnectedVia": if image.is_some() { "URI" } else { "NotConnected" },
        "WriteProtected": true,
        "Status": healthy(),
    });
    let by_patch = node.shape.data().media_by_patch;
    if !by_patch {
        let action = |name: &str| json!({"target": format!("{path}/Actions/{name}")});
        rest["Actions"] = json!({
            "#VirtualMedia.InsertMedia": action("VirtualMedia.InsertMedia"),
            "#VirtualMedia.EjectMedia": action("VirtualMedia.EjectMedia"),
        });
    }
    let resource = Resource::of(document(
        path,
        "VirtualMedia",
        &slot.id,
        "Virtual media",
        rest,
    ));
    if !by_patch {
        return resource;
    }
    let writable = &[
        "Image",
        "Inserted",
        "WriteProtected",
        "TransferMethod",
        "TransferProtocolType",
        "UserName",
        "Password",
    ];
    resource.patched(writable, move |body| {
        let asked = Body(body);
        if asked.flag("Inserted")? == Some(false) || asked.get("Image") == Some(&Value::Null) {
            node.look(|server| drop(server.media.remove(&slot.id)));
        } else {
            insert(&node, slot, body)?;
        }
        Ok(Done::Shown)
    })
}

fn insert(node: &RedfishNode, slot: &MediaShape, body: &Value) -> Result<(), Refusal> {
    let body = Body(body);
    let image = body.text("Image")?;
    let image = image.ok_or_else(|| Refusal::missing_parameter("Image", "InsertMedia"))?;
    let (scheme, _) = image.split_once("://").unwrap_or_default();
    if !matches!(scheme, "http" | "https" | "nfs" | "smb") {
        let rule = "it is a URL of http, https, nfs or smb";
        return Err(Refusal::bad_value("Image", image, rule));
    }
    if body.flag("Inserted")? == Some(false) {
        let rule = "an image that is inserted is connected at once";
        return Err(Refusal::bad_value("Inserted", "false", rule));
    }
    if body.flag("WriteProtected")? == Some(false) {
        let rule = "an image is never written to";
        return Err(Refusal::bad_value("WriteProtected", "false", rule));
    }
    body.word("TransferMethod", &["Stream"])?;
    let protocol = body.text("TransferProtocolType")?;
    if protocol.is_some_and(|protocol| !protocol.eq_ignore_ascii_case(scheme)) {
        let rule = "it is that of Image";
        return Err(Refusal::bad_value(
            "TransferProtocolType",
            protocol.unwrap_or_default(),
            rule,
        ));
    }
    node.look(|server| {
        if server.media.contains_key(&slot.id) {
            let told = format!("The drive {} holds an image already.", slot.id);
            return Err(Refusal::in_use(&told, "Eject it first."));
        }
        server.media.insert(slot.id.clone(), image.to_owned());
        Ok(())
    })
}
