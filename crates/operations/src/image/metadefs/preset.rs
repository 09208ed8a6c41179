//! The definitions that a new cloud starts with.

use super::{Contents, Header, NewAssociation, Property, insert, rows};
use crate::context::Context;
use corten_store::Failure;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A namespace of `preset.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    namespace: String,
    display_name: String,
    description: String,
    resource_types: Vec<PresetAssociation>,
    properties: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetAssociation {
    name: String,
    prefix: Option<String>,
    properties_target: Option<String>,
}

/// Gives a new cloud the usual definitions; does nothing where there are any.
pub async fn load(cx: &Context) -> Result<(), Failure> {
    let mut tx = cx.store.write().await?;
    if rows::count(&mut tx).await? > 0 {
        return Ok(());
    }
    for (header, contents) in preset()? {
        insert(&mut tx, header, contents, None, cx.now()).await?;
    }
    tx.commit().await?;
    Ok(())
}

fn preset() -> Result<Vec<(Header, Contents)>, Failure> {
    let presets: Vec<Preset> = serde_json::from_str(include_str!("preset.json"))
        .map_err(|error| Failure::outside("reading the preset metadata definitions", error))?;
    Ok(presets.into_iter().map(Preset::split).collect())
}

impl Preset {
    fn split(self) -> (Header, Contents) {
        let Self {
            namespace,
            display_name,
            description,
            resource_types,
            properties,
        } = self;
        let header = Header {
            namespace,
            display_name: Some(display_name),
            description: Some(description),
            public: true,
            protected: true,
            owner: None,
        };
        let resource_types = resource_types
            .into_iter()
            .map(
                |PresetAssociation {
                     name,
                     prefix,
                     properties_target,
                 }| NewAssociation {
                    name,
                    prefix,
                    properties_target,
                },
            )
            .collect();
        let properties = properties
            .into_iter()
            .filter_map(|(name, schema)| match schema {
                Value::Object(schema) => Some(Property { name, schema }),
                _ => None,
            })
            .collect();
        (
            header,
            Contents {
                resource_types,
                properties,
                objects: Vec::new(),
                tags: Vec::new(),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::RESOURCE_TYPES;
    use super::*;

    #[test]
    fn the_preset_is_whole() {
        let preset = preset().unwrap();
        assert!(preset.len() >= 4);
        for (header, contents) in preset {
            assert!(
                !contents.properties.is_empty(),
                "{} is empty",
                header.namespace
            );
            for association in &contents.resource_types {
                assert!(
                    RESOURCE_TYPES.contains(&association.name.as_str()),
                    "{}",
                    association.name
                );
            }
            for property in &contents.properties {
                assert!(
                    property.schema.contains_key("title"),
                    "{} has no title",
                    property.name
                );
                assert!(
                    property.schema.contains_key("type"),
                    "{} has no type",
                    property.name
                );
            }
        }
    }
}
