//! JSON values as they are read into request bodies: an object stands where an object is expected, and nowhere else.
//!
//! What serde derives for a struct takes a list for it, too, field after field in the order of the declaration. No
//! OpenStack API does, so [`Strict`] refuses a list there, at every depth.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// A value that structs are read from by name only.
pub struct Strict(pub Value);

fn no_object(name: &str) -> Error {
    Error::custom(format!(
        "invalid type: a list, where an object is expected ({name})"
    ))
}

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(fields) => visitor.visit_map(Fields::of(fields)),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(no_object(name)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(fields) if fields.len() == 1 => {
                visitor.visit_enum(Variant(fields.into_iter().next().unwrap_or_default()))
            }
            // A word, or what serde_json says about anything else.
            other => other.deserialize_enum(name, variants, visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0
            .next()
            .map(|item| seed.deserialize(Strict(item)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Fields {
    rest: serde_json::map::IntoIter,
    value: Option<Value>,
}

impl Fields {
    fn of(fields: Map<String, Value>) -> Self {
        Self {
            rest: fields.into_iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().unwrap_or_default();
        seed.deserialize(Strict(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// An enum's variant with what it holds: `{"name": …}`.
struct Variant((String, Value));

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content), Error> {
        let (name, value) = self.0;
        Ok((seed.deserialize(name.into_deserializer())?, Content(value)))
    }
}

struct Content(Value);

impl<'de> VariantAccess<'de> for Content {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        serde::Deserialize::deserialize(Strict(self.0))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Strict(self.0))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        Strict(self.0).deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Strict(self.0).deserialize_struct("variant", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Port {
        uuid: String,
        #[serde(default)]
        vlan: Option<u16>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Wanted {
        Auto,
        Port(Port),
        Pair(u8, u8),
        Named { name: String },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(transparent)]
    struct Wrapped(Port);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Server {
        ports: Vec<Port>,
        by_name: BTreeMap<String, Port>,
        wanted: Wanted,
        wrapped: Wrapped,
        ratio: f64,
        size: i64,
    }

    fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
        let value: Value = serde_json::from_str(text).unwrap();
        T::deserialize(Strict(value)).map_err(|error| error.to_string())
    }

    fn server(port: &str, other: &str) -> String {
        format!(
            r#"{{"ports": [{port}], "by_name": {{"a": {port}}}, "wanted": {other}, "wrapped": {port}, "ratio": 1,
                "size": -7}}"#
        )
    }

    #[test]
    fn what_is_in_order_reads_as_with_serde_json() {
        for wanted in [
            r#""auto""#,
            r#"{"port": {"uuid": "x", "vlan": 3}}"#,
            r#"{"pair": [1, 2]}"#,
            r#"{"named": {"name": "n"}}"#,
        ] {
            let text = server(r#"{"uuid": "x"}"#, wanted);
            let expected: Server = serde_json::from_str(&text).unwrap();
            assert_eq!(read::<Server>(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_list_is_no_object_at_any_depth() {
        let list = r#"["x", null]"#;
        assert!(serde_json::from_str::<Port>(list).is_ok(), "serde takes it");
        let refused = read::<Port>(list).unwrap_err();
        assert!(
            refused.contains("an object is expected (Port)"),
            "{refused}"
        );
        let good = r#"{"uuid": "x"}"#;
        for text in [
            server(list, r#""auto""#),
            server(good, r#"{"port": ["x", null]}"#),
            server(good, r#"{"named": ["n"]}"#),
            server(good, r#""auto""#)
                .replace(r#""wrapped": {"uuid": "x"}"#, r#""wrapped": ["x", null]"#),
        ] {
            assert!(
                serde_json::from_str::<Server>(&text).is_ok(),
                "serde takes {text}"
            );
            let refused = read::<Server>(&text).unwrap_err();
            assert!(
                refused.contains("a list, where an object is expected"),
                "{text}: {refused}"
            );
        }
    }

    #[test]
    fn a_wrong_type_is_told_as_before() {
        assert!(
            read::<Port>("7")
                .unwrap_err()
                .contains("invalid type: integer `7`")
        );
        assert!(
            read::<Wanted>(r#""other""#)
                .unwrap_err()
                .contains("unknown variant")
        );
        assert!(
            read::<Port>("{}")
                .unwrap_err()
                .contains("missing field `uuid`")
        );
    }
}
