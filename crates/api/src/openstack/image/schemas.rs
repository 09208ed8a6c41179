//! JSON schemas of everything the service shows: `/v2/schemas`.

use crate::app::App;
use crate::auth::Caller;
use crate::problem::Answer;
use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::lifecycle::image::ImageStatus;
use corten_model::refusal::Refusal;
use corten_operations::image::{CONTAINER_FORMATS, DISK_FORMATS};
use serde_json::{Map, Value, json};

const UUID_PATTERN: &str =
    "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$";

pub fn routes() -> Router<App> {
    Router::new()
        .route("/schemas/{name}", get(show))
        .route("/schemas/metadefs/{name}", get(show_metadef))
}

async fn show(Caller(_): Caller, Path(name): Path<String>) -> Answer<Json<Value>> {
    let schema = match name.as_str() {
        "image" => image(),
        "images" => collection("images", image()),
        "member" => member(),
        "members" => collection("members", member()),
        "task" => task(),
        "tasks" => collection("tasks", task_stub()),
        _ => return Err(no_such_schema(&name).into()),
    };
    Ok(Json(schema))
}

async fn show_metadef(Caller(_): Caller, Path(name): Path<String>) -> Answer<Json<Value>> {
    let schema = match name.as_str() {
        "namespace" => namespace(),
        "namespaces" => collection("namespaces", namespace()),
        "resource_type" => resource_type(),
        "resource_types" => collection("resource_type_associations", resource_type()),
        "property" => property(),
        "properties" => dictionary("properties", property_without_name()),
        "object" => object(),
        "objects" => collection("objects", object()),
        "tag" => tag(),
        "tags" => collection("tags", tag()),
        _ => return Err(no_such_schema(&name).into()),
    };
    Ok(Json(schema))
}

fn no_such_schema(name: &str) -> Refusal {
    Refusal::not_found(format!("There is no schema called '{name}'."))
}

fn links(names: &[(&str, &str)]) -> Value {
    names
        .iter()
        .map(|(rel, field)| json!({"rel": rel, "href": format!("{{{field}}}")}))
        .collect()
}

/// Moves the definitions of an item to the list that holds it.
fn hoist(mut list: Value, item: &mut Value) -> Value {
    if let Some(definitions) = item
        .as_object_mut()
        .and_then(|item| item.remove("definitions"))
    {
        list["definitions"] = definitions;
    }
    list
}

fn paged(name: &str, items: Value) -> Value {
    json!({
        "name": name,
        "properties": {
            name: items,
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": links(&[("first", "first"), ("next", "next"), ("describedby", "schema")]),
    })
}

fn collection(name: &str, mut item: Value) -> Value {
    let list = hoist(json!({}), &mut item);
    merged(paged(name, json!({"type": "array", "items": item})), list)
}

fn dictionary(name: &str, mut item: Value) -> Value {
    let list = hoist(json!({}), &mut item);
    merged(
        paged(
            name,
            json!({"type": "object", "additionalProperties": item}),
        ),
        list,
    )
}

fn merged(mut left: Value, right: Value) -> Value {
    if let (Value::Object(left), Value::Object(right)) = (&mut left, right) {
        left.extend(right);
    }
    left
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn limited(description: &str, length: u32) -> Value {
    json!({"type": "string", "description": description, "maxLength": length})
}

fn read_only(mut property: Value) -> Value {
    property["readOnly"] = json!(true);
    property
}

fn nullable(kind: &str, description: &str) -> Value {
    json!({"type": ["null", kind], "description": description})
}

fn choice(description: &str, words: &[&str]) -> Value {
    let mut values = vec![Value::Null];
    values.extend(words.iter().map(|word| json!(word)));
    json!({"type": ["null", "string"], "description": description, "enum": values})
}

fn image() -> Value {
    let statuses: Vec<_> = ImageStatus::ALL
        .iter()
        .map(|status| status.as_str())
        .collect();
    let mut properties = Map::new();
    for (name, property) in [
        (
            "id",
            json!({"type": "string", "description": "An identifier for the image", "pattern": UUID_PATTERN}),
        ),
        (
            "name",
            json!({"type": ["null", "string"], "description": "The image's name", "maxLength": 255}),
        ),
        (
            "status",
            read_only(
                json!({"type": "string", "description": "Where the image stands", "enum": statuses}),
            ),
        ),
        (
            "visibility",
            json!({"type": "string", "description": "Who sees the image",
                "enum": ["community", "public", "private", "shared"]}),
        ),
        (
            "protected",
            json!({"type": "boolean", "description": "The image cannot be deleted"}),
        ),
        (
            "os_hidden",
            json!({"type": "boolean", "description": "The image is left out of default lists"}),
        ),
        (
            "checksum",
            read_only(nullable("string", "MD5 hash of the data")),
        ),
        (
            "os_hash_algo",
            read_only(nullable("string", "Algorithm of os_hash_value")),
        ),
        (
            "os_hash_value",
            read_only(nullable("string", "Hash of the data in hexadecimal digits")),
        ),
        (
            "owner",
            json!({"type": ["null", "string"], "description": "The owning project", "maxLength": 255}),
        ),
        (
            "size",
            read_only(nullable("integer", "Size of the data in bytes")),
        ),
        (
            "virtual_size",
            read_only(nullable("integer", "Size of the disk in the data in bytes")),
        ),
        (
            "container_format",
            choice("Format of the container", &CONTAINER_FORMATS),
        ),
        ("disk_format", choice("Format of the disk", &DISK_FORMATS)),
        (
            "created_at",
            read_only(text("When the image was registered")),
        ),
        (
            "updated_at",
            read_only(text("When the image was last changed")),
        ),
        (
            "tags",
            json!({"type": "array", "description": "Labels of the image",
                "items": {"type": "string", "maxLength": 255}}),
        ),
        (
            "min_ram",
            json!({"type": "integer", "description": "Memory needed to boot, in MiB"}),
        ),
        (
            "min_disk",
            json!({"type": "integer", "description": "Disk needed to boot, in GiB"}),
        ),
        ("self", read_only(text("Address of the image"))),
        ("file", read_only(text("Address of the data"))),
        ("stores", read_only(text("Where the data is kept"))),
        ("schema", read_only(text("Address of this schema"))),
    ] {
        properties.insert(name.to_owned(), property);
    }
    json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": links(&[("self", "self"), ("enclosure", "file"), ("describedby", "schema")]),
    })
}

fn member() -> Value {
    json!({
        "name": "member",
        "properties": {
            "member_id": text("The project that the image is shared with"),
            "image_id": {"type": "string", "description": "The shared image", "pattern": UUID_PATTERN},
            "status": {
                "type": "string",
                "description": "What the project said to it",
                "enum": ["pending", "accepted", "rejected"],
            },
            "created_at": text("When the image was shared"),
            "updated_at": text("When the project last decided"),
            "schema": read_only(text("Address of this schema")),
        },
    })
}

fn task_stub() -> Value {
    json!({
        "name": "task",
        "properties": {
            "id": {"type": "string", "description": "An identifier for the task", "pattern": UUID_PATTERN},
            "type": {"type": "string", "description": "What the task does", "enum": ["import", "api_image_import"]},
            "status": {
                "type": "string",
                "description": "How far the task is",
                "enum": ["pending", "processing", "success", "failure"],
            },
            "owner": text("The project that the task works for"),
            "expires_at": nullable("string", "When the task may be forgotten"),
            "created_at": text("When the task was asked for"),
            "updated_at": text("When the task last made progress"),
            "self": read_only(text("Address of the task")),
            "schema": read_only(text("Address of this schema")),
        },
    })
}

fn task() -> Value {
    let mut task = task_stub();
    for (name, property) in [
        ("input", nullable("object", "What was asked")),
        ("result", nullable("object", "What came of it")),
        ("message", text("Why it failed")),
        ("image_id", text("The image it works on")),
        ("request_id", text("The request that asked for it")),
        ("user_id", text("The user who asked for it")),
    ] {
        task["properties"][name] = property;
    }
    task
}

fn string_array() -> Value {
    json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})
}

fn property_fields() -> Value {
    let kinds = json!([
        "array", "boolean", "integer", "number", "object", "string", null
    ]);
    json!({
        "name": {"type": "string", "maxLength": 80},
        "title": {"type": "string"},
        "description": {"type": "string"},
        "operators": {"type": "array", "items": {"type": "string"}},
        "type": {"type": "string", "enum": kinds},
        "required": {"$ref": "#/definitions/stringArray"},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "maxLength": {"$ref": "#/definitions/positiveInteger"},
        "minLength": {"$ref": "#/definitions/positiveIntegerDefault0"},
        "pattern": {"type": "string", "format": "regex"},
        "enum": {"type": "array"},
        "readonly": {"type": "boolean"},
        "default": {},
        "items": {"type": "object", "properties": {"type": {"type": "string", "enum": kinds}, "enum": {"type": "array"}}},
        "maxItems": {"$ref": "#/definitions/positiveInteger"},
        "minItems": {"$ref": "#/definitions/positiveIntegerDefault0"},
        "uniqueItems": {"type": "boolean", "default": false},
        "additionalItems": {"type": "boolean"},
    })
}

fn definitions() -> Value {
    json!({
        "positiveInteger": {"type": "integer", "minimum": 0},
        "positiveIntegerDefault0": {"allOf": [{"$ref": "#/definitions/positiveInteger"}, {"default": 0}]},
        "stringArray": string_array(),
        "property": {
            "type": "object",
            "additionalProperties": {"type": "object", "required": ["title", "type"], "properties": property_fields()},
        },
    })
}

fn dated(mut properties: Value) -> Value {
    for name in ["created_at", "updated_at"] {
        properties[name] = json!({"type": "string", "readOnly": true, "format": "date-time"});
    }
    properties
}

fn strict(name: &str, properties: Value, required: &[&str]) -> Value {
    json!({"name": name, "properties": properties, "additionalProperties": false, "required": required})
}

fn namespace() -> Value {
    let properties = dated(json!({
        "namespace": limited("The unique name", 80),
        "display_name": limited("The name for people", 80),
        "description": limited("What the namespace is about", 500),
        "visibility": {"type": "string", "description": "Who sees it", "enum": ["public", "private"]},
        "protected": {"type": "boolean", "description": "The namespace cannot be deleted"},
        "owner": limited("The owning project", 255),
        "schema": read_only(text("Address of this schema")),
        "self": read_only(text("Address of the namespace")),
        "resource_type_associations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "prefix": {"type": "string"},
                    "properties_target": {"type": "string"},
                },
            },
        },
        "properties": {"$ref": "#/definitions/property"},
        "objects": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "description": {"type": "string"},
                    "required": {"$ref": "#/definitions/stringArray"},
                    "properties": {"$ref": "#/definitions/property"},
                },
            },
        },
        "tags": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    }));
    merged(
        strict("namespace", properties, &["namespace"]),
        json!({"definitions": definitions()}),
    )
}

fn resource_type() -> Value {
    let properties = dated(json!({
        "name": limited("The kind of resource, by its Heat name", 80),
        "prefix": limited("What the names of the properties start with on this resource", 80),
        "properties_target": limited("Which metadata of the resource the properties are in", 80),
    }));
    strict("resource_type_association", properties, &["name"])
}

fn property() -> Value {
    let property = strict("property", property_fields(), &["type", "title", "name"]);
    merged(property, json!({"definitions": definitions()}))
}

fn property_without_name() -> Value {
    let property = strict("property", property_fields(), &["type", "title"]);
    merged(property, json!({"definitions": definitions()}))
}

fn object() -> Value {
    let properties = dated(json!({
        "name": {"type": "string", "maxLength": 80},
        "description": {"type": "string"},
        "required": {"$ref": "#/definitions/stringArray"},
        "properties": {"$ref": "#/definitions/property"},
        "schema": read_only(text("Address of this schema")),
        "self": read_only(text("Address of the object")),
    }));
    merged(
        strict("object", properties, &["name"]),
        json!({"definitions": definitions()}),
    )
}

fn tag() -> Value {
    strict(
        "tag",
        dated(json!({"name": {"type": "string", "maxLength": 80}})),
        &["name"],
    )
}
