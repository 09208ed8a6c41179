//! `Registries`: where the keys of messages and the attributes of BIOS settings are explained.

use super::find::Asked;
use super::resource::{Resource, collection, document};
use super::root::base_registry;
use corten_bmc::AttributeValue;
use serde_json::{Value, json};

const PATH: &str = "/redfish/v1/Registries";
/// Of the messages of events.
pub(super) const EVENTS: &str = "ResourceEvent.1.3";

/// The file of a registry: DMTF's own are published there, those of attributes are here.
fn file(id: &str, registry: &str, location: Value) -> Resource {
    let rest = json!({
        "Languages": ["en"],
        "Registry": registry,
        "Location": [location],
    });
    let path = format!("{PATH}/{id}");
    Resource::of(document(&path, "MessageRegistryFile", id, id, rest))
}

fn of_dmtf(id: &str, registry: &str) -> Resource {
    let uri = format!("https://redfish.dmtf.org/registries/{registry}.0.json");
    file(
        id,
        registry,
        json!({"Language": "en", "PublicationUri": uri}),
    )
}

pub(super) fn find(asked: &Asked<'_>, rest: &[&str]) -> Option<Resource> {
    let shapes = asked.service.shapes();
    match rest {
        [] => {
            let ids = ["Base".to_owned(), "ResourceEvent".to_owned()];
            let of_bios = shapes.iter().map(|shape| shape.bios_registry());
            let paths = ids
                .into_iter()
                .chain(of_bios)
                .map(|id| format!("{PATH}/{id}"));
            Some(Resource::of(collection(PATH, "MessageRegistryFile", paths)))
        }
        ["Base"] => Some(of_dmtf("Base", base_registry())),
        ["ResourceEvent"] => Some(of_dmtf("ResourceEvent", EVENTS)),
        [id, rest @ ..] => {
            let shape = shapes.iter().find(|shape| shape.bios_registry() == *id)?;
            match rest {
                [] => {
                    let uri = format!("{PATH}/{id}/{id}.json");
                    Some(file(
                        id,
                        &format!("{id}.1.0"),
                        json!({"Language": "en", "Uri": uri}),
                    ))
                }
                [name] if name.strip_suffix(".json") == Some(id) => {
                    Some(Resource::of(attributes(id, &shape.data().bios)))
                }
                _ => None,
            }
        }
    }
}

/// An attribute registry; values are of the type that the attribute has now.
fn attributes(id: &str, bios: &corten_bmc::Attributes) -> Value {
    let attributes = bios.iter().map(|(name, value)| {
        let kind = match value {
            AttributeValue::Flag(_) => "Boolean",
            AttributeValue::Integer(_) | AttributeValue::Number(_) => "Integer",
            AttributeValue::Text(_) => "String",
            AttributeValue::Unset => "Password",
        };
        json!({"AttributeName": name, "DisplayName": name, "Type": kind, "ReadOnly": false, "ResetRequired": true})
    });
    let attributes: Vec<Value> = attributes.collect();
    json!({
        "@odata.type": super::schema::of("AttributeRegistry"),
        "Id": id,
        "Name": "BIOS attributes",
        "Language": "en",
        "OwningEntity": "Corten",
        "RegistryVersion": "1.0.0",
        "RegistryEntries": {"Attributes": attributes},
    })
}
