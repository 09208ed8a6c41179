//! What is sent and shown of definitions, and its rules.

use corten_model::refusal::Refusal;
use corten_operations::image::metadefs::{
    Association, Contents, Header, Namespace, NewAssociation, NewObject, Object, Property, Tag,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const MAX_NAME: usize = 80;
const MAX_DESCRIPTION: usize = 500;

const PROPERTY_FIELDS: [&str; 18] = [
    "title",
    "description",
    "operators",
    "type",
    "required",
    "minimum",
    "maximum",
    "maxLength",
    "minLength",
    "pattern",
    "enum",
    "readonly",
    "default",
    "items",
    "maxItems",
    "minItems",
    "uniqueItems",
    "additionalItems",
];
const PROPERTY_TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Refuses fields that only the service writes.
pub fn check_fields(body: &Map<String, Value>, read_only: &[&str]) -> Result<(), Refusal> {
    match read_only.iter().find(|name| body.contains_key(**name)) {
        Some(name) => Err(Refusal::forbidden(format!(
            "Attribute '{name}' is read-only."
        ))),
        None => Ok(()),
    }
}

/// Reads the checked body.
pub fn read<T: serde::de::DeserializeOwned>(body: Map<String, Value>) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(Value::Object(body)).map_err(|error| {
        Refusal::invalid(format!(
            "Provided object does not match schema: {}: {}",
            error.path(),
            error.inner()
        ))
    })
}

fn at_most(field: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    let length = text.chars().count();
    if length <= limit {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "'{field}' has {length} characters; at most {limit} are allowed."
    )))
}

/// A name of anything that is defined.
pub fn name(field: &str, text: String) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(Refusal::invalid(format!(
            "'{field}' is empty; it has 1 to {MAX_NAME} characters."
        )));
    }
    at_most(field, &text, MAX_NAME)?;
    Ok(text)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceBody {
    namespace: String,
    display_name: Option<String>,
    description: Option<String>,
    visibility: Option<String>,
    protected: Option<bool>,
    owner: Option<String>,
    #[serde(default)]
    resource_type_associations: Vec<AssociationBody>,
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    objects: Vec<ObjectBody>,
    #[serde(default)]
    tags: Vec<TagBody>,
}

impl NamespaceBody {
    pub fn split(self) -> Result<(Header, Contents), Refusal> {
        let Self {
            namespace,
            display_name,
            description,
            visibility,
            protected,
            owner,
            resource_type_associations,
            properties,
            objects,
            tags,
        } = self;
        at_most(
            "display_name",
            display_name.as_deref().unwrap_or_default(),
            MAX_NAME,
        )?;
        at_most(
            "description",
            description.as_deref().unwrap_or_default(),
            MAX_DESCRIPTION,
        )?;
        at_most("owner", owner.as_deref().unwrap_or_default(), 255)?;
        let public = match visibility.as_deref() {
            None | Some("private") => false,
            Some("public") => true,
            Some(other) => {
                return Err(Refusal::invalid(format!(
                    "Invalid visibility value: {other}. It is public or private."
                )));
            }
        };
        let header = Header {
            namespace: name("namespace", namespace)?,
            display_name,
            description,
            public,
            protected: protected.unwrap_or(false),
            owner: owner.map(Into::into),
        };
        let contents = Contents {
            resource_types: resource_type_associations
                .into_iter()
                .map(AssociationBody::into_new)
                .collect::<Result<_, _>>()?,
            properties: properties
                .into_iter()
                .map(|(name, schema)| property(name, schema))
                .collect::<Result<_, _>>()?,
            objects: objects
                .into_iter()
                .map(ObjectBody::into_new)
                .collect::<Result<_, _>>()?,
            tags: tags
                .into_iter()
                .map(|tag| name("name", tag.name))
                .collect::<Result<_, _>>()?,
        };
        Ok((header, contents))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssociationBody {
    name: String,
    prefix: Option<String>,
    properties_target: Option<String>,
}

impl AssociationBody {
    pub fn into_new(self) -> Result<NewAssociation, Refusal> {
        let Self {
            name: kind,
            prefix,
            properties_target,
        } = self;
        at_most("prefix", prefix.as_deref().unwrap_or_default(), MAX_NAME)?;
        at_most(
            "properties_target",
            properties_target.as_deref().unwrap_or_default(),
            MAX_NAME,
        )?;
        Ok(NewAssociation {
            name: name("name", kind)?,
            prefix,
            properties_target,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectBody {
    name: String,
    description: Option<String>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    properties: Map<String, Value>,
}

impl ObjectBody {
    pub fn into_new(self) -> Result<NewObject, Refusal> {
        let Self {
            name: object,
            description,
            required,
            properties,
        } = self;
        for (name, schema) in &properties {
            property(name.clone(), schema.clone())?;
        }
        Ok(NewObject {
            name: name("name", object)?,
            description,
            required,
            properties,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagBody {
    pub name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagsBody {
    pub tags: Vec<TagBody>,
}

/// A property by its name and schema.
pub fn property(property_name: String, schema: Value) -> Result<Property, Refusal> {
    let property_name = name("name", property_name)?;
    let Value::Object(mut schema) = schema else {
        return Err(Refusal::invalid(format!(
            "The property '{property_name}' must be a JSON object."
        )));
    };
    schema.remove("name");
    if let Some(unknown) = schema
        .keys()
        .find(|field| !PROPERTY_FIELDS.contains(&field.as_str()))
    {
        return Err(Refusal::invalid(format!(
            "The property '{property_name}' has an unknown field '{unknown}'."
        )));
    }
    if !schema.get("title").is_some_and(Value::is_string) {
        return Err(Refusal::invalid(format!(
            "The property '{property_name}' needs a 'title', which is a string."
        )));
    }
    let kind = schema
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !PROPERTY_TYPES.contains(&kind) {
        return Err(Refusal::invalid(format!(
            "The property '{property_name}' needs a 'type', which is one of: {}.",
            PROPERTY_TYPES.join(", ")
        )));
    }
    Ok(Property {
        name: property_name,
        schema,
    })
}

/// Adds fields that are shown only if they hold something.
fn with_optional(mut view: Value, fields: [(&str, Option<&str>); 2]) -> Value {
    for (name, value) in fields {
        if let Some(value) = value {
            view[name] = json!(value);
        }
    }
    view
}

pub fn render_association(row: &Association) -> Value {
    let Association {
        name,
        prefix,
        properties_target,
        created_at,
        updated_at,
    } = row;
    let view = json!({"name": name, "created_at": created_at.seconds_z(), "updated_at": updated_at.seconds_z()});
    with_optional(
        view,
        [
            ("prefix", prefix.as_deref()),
            ("properties_target", properties_target.as_deref()),
        ],
    )
}

pub fn render_property(row: &Property) -> Value {
    let mut view = row.schema.clone();
    view.insert("name".to_owned(), json!(row.name));
    Value::Object(view)
}

pub fn render_properties(rows: &[Property]) -> Value {
    rows.iter()
        .map(|row| (row.name.clone(), Value::Object(row.schema.clone())))
        .collect::<Map<_, _>>()
        .into()
}

pub fn render_object(namespace: &str, row: &Object) -> Value {
    let Object {
        name,
        description,
        required,
        properties,
        created_at,
        updated_at,
    } = row;
    let view = json!({
        "name": name,
        "required": required,
        "properties": properties,
        "created_at": created_at.seconds_z(),
        "updated_at": updated_at.seconds_z(),
        "self": format!("/v2/metadefs/namespaces/{namespace}/objects/{name}"),
        "schema": "/v2/schemas/metadefs/object",
    });
    with_optional(view, [("description", description.as_deref()), ("", None)])
}

pub fn render_tag(row: &Tag) -> Value {
    let Tag {
        name,
        created_at,
        updated_at,
    } = row;
    json!({"name": name, "created_at": created_at.seconds_z(), "updated_at": updated_at.seconds_z()})
}

/// A namespace without what it holds, but for the resources it is for: as lists show it.
pub fn render_header(row: &Namespace) -> Value {
    let view = json!({
        "namespace": row.namespace,
        "visibility": if row.public { "public" } else { "private" },
        "protected": row.protected,
        "created_at": row.created_at.seconds_z(),
        "updated_at": row.updated_at.seconds_z(),
        "self": format!("/v2/metadefs/namespaces/{}", row.namespace),
        "schema": "/v2/schemas/metadefs/namespace",
    });
    let view = with_optional(
        view,
        [
            ("display_name", row.display_name.as_deref()),
            ("description", row.description.as_deref()),
        ],
    );
    let mut view = with_optional(
        view,
        [
            ("owner", row.owner.as_ref().map(|owner| owner.as_str())),
            ("", None),
        ],
    );
    if !row.resource_types.is_empty() {
        view["resource_type_associations"] =
            row.resource_types.iter().map(render_association).collect();
    }
    view
}

/// A namespace with all it holds.
pub fn render_namespace(row: &Namespace) -> Value {
    let mut view = render_header(row);
    if !row.properties.is_empty() {
        view["properties"] = render_properties(&row.properties);
    }
    if !row.objects.is_empty() {
        view["objects"] = row
            .objects
            .iter()
            .map(|object| render_object(&row.namespace, object))
            .collect();
    }
    if !row.tags.is_empty() {
        view["tags"] = row
            .tags
            .iter()
            .map(|tag| json!({"name": tag.name}))
            .collect();
    }
    view
}
