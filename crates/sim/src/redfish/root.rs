//! The service root, and OData's list of what is below it.

use super::Service;
use super::refusal::BASE;
use super::resource::{Resource, document, link};
use super::shape::Shape;
use serde_json::{Value, json};

const ROOT: &str = "/redfish/v1/";

/// What lies below the root: OData's name and the path.
const SERVICES: &[(&str, &str)] = &[
    ("Systems", "/redfish/v1/Systems"),
    ("Managers", "/redfish/v1/Managers"),
    ("Chassis", "/redfish/v1/Chassis"),
    ("Tasks", "/redfish/v1/TaskService"),
    ("SessionService", "/redfish/v1/SessionService"),
    ("AccountService", "/redfish/v1/AccountService"),
    ("EventService", "/redfish/v1/EventService"),
    ("UpdateService", "/redfish/v1/UpdateService"),
    ("Registries", "/redfish/v1/Registries"),
];

pub(super) fn root(service: &Service) -> Resource {
    // As the BMCs are: of one maker, or of nobody's.
    let shape = match service.shapes().as_slice() {
        [shape] => *shape,
        _ => Shape::standard(),
    };
    let mut rest = json!({
        "RedfishVersion": "1.18.0",
        "UUID": "5d0d6d7c-6a55-4f57-8f0a-6f2f0f8f3c11",
        "Links": {"Sessions": link("/redfish/v1/SessionService/Sessions")},
        "ProtocolFeaturesSupported": {
            "ExcerptQuery": false, "FilterQuery": false, "OnlyMemberQuery": false, "SelectQuery": false,
            "ExpandQuery": {"ExpandAll": false, "Levels": false, "Links": false, "NoLinks": false},
        },
    });
    for (name, path) in SERVICES {
        rest[*name] = link(path);
    }
    let data = shape.data();
    for (key, value) in [("Vendor", &data.vendor), ("Product", &data.product)] {
        if let Some(value) = value {
            rest[key] = json!(value);
        }
    }
    let mut document = document(ROOT, "ServiceRoot", "RootService", "Root service", rest);
    shape.bend(&mut document);
    Resource::of(document)
}

/// The document at `/redfish/v1/odata`.
pub(super) fn odata() -> Value {
    let services = [("Service", ROOT)]
        .into_iter()
        .chain(SERVICES.iter().copied());
    let services: Vec<Value> = services
        .map(|(name, url)| json!({"name": name, "kind": "Singleton", "url": url}))
        .collect();
    json!({"@odata.context": "/redfish/v1/$metadata", "value": services})
}

/// The language and version of messages.
pub(super) fn base_registry() -> &'static str {
    BASE
}
