//! The values of columns, and their JSON (RFC 7047, section 5.1).

use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// One element of a value.
#[derive(Debug, Clone)]
pub enum Atom {
    Integer(i64),
    Real(f64),
    Boolean(bool),
    Text(String),
    /// A row.
    Uuid(Uuid),
    /// A row that the same transaction inserts under this name.
    NamedUuid(String),
}

/// The value of a column. A single value is a set of one, as in the protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Set(BTreeSet<Atom>),
    Map(BTreeMap<Atom, Atom>),
}

impl Atom {
    fn rank(&self) -> u8 {
        match self {
            Self::Integer(_) => 0,
            Self::Real(_) => 1,
            Self::Boolean(_) => 2,
            Self::Text(_) => 3,
            Self::Uuid(_) => 4,
            Self::NamedUuid(_) => 5,
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Integer(number) => json!(number),
            Self::Real(number) => json!(number),
            Self::Boolean(truth) => json!(truth),
            Self::Text(text) => json!(text),
            Self::Uuid(uuid) => json!(["uuid", uuid.hyphenated().to_string()]),
            Self::NamedUuid(name) => json!(["named-uuid", name]),
        }
    }

    fn from_json(json: Json) -> Option<Self> {
        Some(match json {
            Json::Bool(truth) => Self::Boolean(truth),
            Json::String(text) => Self::Text(text),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Real(number.as_f64()?),
            },
            Json::Array(pair) => match pair.as_slice() {
                [Json::String(kind), Json::String(id)] if kind == "uuid" => {
                    Self::Uuid(Uuid::parse_str(id).ok()?)
                }
                [Json::String(kind), Json::String(name)] if kind == "named-uuid" => {
                    Self::NamedUuid(name.clone())
                }
                _ => return None,
            },
            Json::Null | Json::Object(_) => return None,
        })
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_uuid(&self) -> Option<Uuid> {
        match self {
            Self::Uuid(uuid) => Some(*uuid),
            _ => None,
        }
    }
}

impl Ord for Atom {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => a.total_cmp(b),
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) | (Self::NamedUuid(a), Self::NamedUuid(b)) => a.cmp(b),
            (Self::Uuid(a), Self::Uuid(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Atom {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Atom {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Atom {}

impl Value {
    pub fn empty_set() -> Self {
        Self::Set(BTreeSet::new())
    }

    pub fn empty_map() -> Self {
        Self::Map(BTreeMap::new())
    }

    pub fn one(atom: impl Into<Atom>) -> Self {
        Self::Set(BTreeSet::from([atom.into()]))
    }

    /// Empty when there is none.
    pub fn optional(atom: Option<impl Into<Atom>>) -> Self {
        Self::set(atom)
    }

    pub fn set(atoms: impl IntoIterator<Item = impl Into<Atom>>) -> Self {
        Self::Set(atoms.into_iter().map(Into::into).collect())
    }

    pub fn map(pairs: impl IntoIterator<Item = (impl Into<Atom>, impl Into<Atom>)>) -> Self {
        let pairs = pairs.into_iter();
        Self::Map(
            pairs
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }

    /// The value of a column that holds exactly one.
    pub fn only(&self) -> Option<&Atom> {
        match self {
            Self::Set(atoms) if atoms.len() == 1 => atoms.first(),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        self.only()?.as_text()
    }

    pub fn as_integer(&self) -> Option<i64> {
        match self.only()? {
            Atom::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self.only()? {
            Atom::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The elements of a set; none of a map.
    pub fn atoms(&self) -> impl Iterator<Item = &Atom> {
        match self {
            Self::Set(atoms) => Some(atoms.iter()),
            Self::Map(_) => None,
        }
        .into_iter()
        .flatten()
    }

    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.atoms().filter_map(Atom::as_text)
    }

    /// The rows that a set refers to.
    pub fn uuids(&self) -> impl Iterator<Item = Uuid> {
        self.atoms().filter_map(Atom::as_uuid)
    }

    /// What a map of texts has under a key.
    pub fn at(&self, key: &str) -> Option<&str> {
        match self {
            Self::Map(pairs) => pairs.get(&Atom::from(key))?.as_text(),
            Self::Set(_) => None,
        }
    }

    pub fn to_json(&self) -> Json {
        match self {
            Self::Set(atoms) => match self.only() {
                Some(atom) => atom.to_json(),
                None => json!(["set", atoms.iter().map(Atom::to_json).collect::<Vec<_>>()]),
            },
            Self::Map(pairs) => {
                let pairs = pairs.iter();
                let pairs = pairs.map(|(key, value)| json!([key.to_json(), value.to_json()]));
                json!(["map", pairs.collect::<Vec<_>>()])
            }
        }
    }

    /// None for what is not a value of the protocol.
    pub fn from_json(json: Json) -> Option<Self> {
        let Json::Array(mut parts) = json else {
            return Some(Self::one(Atom::from_json(json)?));
        };
        if parts.len() != 2 {
            return None;
        }
        let content = parts.pop()?;
        match (parts.pop()?.as_str()?, content) {
            ("set", Json::Array(atoms)) => {
                let atoms = atoms.into_iter().map(Atom::from_json);
                Some(Self::Set(atoms.collect::<Option<_>>()?))
            }
            ("map", Json::Array(pairs)) => {
                let pairs = pairs.into_iter().map(|pair| {
                    let Json::Array(mut pair) = pair else {
                        return None;
                    };
                    if pair.len() != 2 {
                        return None;
                    }
                    let value = Atom::from_json(pair.pop()?)?;
                    Some((Atom::from_json(pair.pop()?)?, value))
                });
                Some(Self::Map(pairs.collect::<Option<_>>()?))
            }
            (kind, content) => Some(Self::one(Atom::from_json(json!([kind, content]))?)),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

macro_rules! atom_from {
    ($($from:ty => $variant:ident;)*) => {$(
        impl From<$from> for Atom {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

atom_from! {
    i64 => Integer;
    u32 => Integer;
    u16 => Integer;
    f64 => Real;
    bool => Boolean;
    &str => Text;
    String => Text;
    Uuid => Uuid;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_from_their_json() {
        let row = Uuid::new_v4();
        for value in [
            Value::empty_set(),
            Value::empty_map(),
            Value::one("a"),
            Value::one(-7_i64),
            Value::one(true),
            Value::one(1.5),
            Value::one(row),
            Value::one(Atom::NamedUuid("new".to_owned())),
            Value::set(["a", "b"]),
            Value::set([row, Uuid::new_v4()]),
            Value::map([("k", "v"), ("l", "w")]),
            Value::map([(1_i64, row)]),
        ] {
            assert_eq!(Value::from_json(value.to_json()), Some(value));
        }
    }

    #[test]
    fn a_set_of_one_is_its_element() {
        assert_eq!(
            Value::from_json(json!(["set", ["a"]])),
            Some(Value::one("a"))
        );
        assert_eq!(Value::set(["a"]).to_json(), json!("a"));
    }

    #[test]
    fn what_is_no_value_is_not_read() {
        for json in [
            json!(null),
            json!({}),
            json!([]),
            json!(["set"]),
            json!(["uuid", "none"]),
            json!(["map", [["k"]]]),
            json!(["set", [null]]),
        ] {
            assert_eq!(Value::from_json(json.clone()), None, "{json}");
        }
    }
}
