//! BIOS settings: what holds now, and what waits for the next boot.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

pub type Attributes = BTreeMap<String, AttributeValue>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    /// A password or a setting that does not apply.
    Unset,
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::Unset => f.write_str("unset"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct BiosSettings {
    pub current: Attributes,
    /// Those that will differ after the next boot.
    pub pending: Attributes,
    /// The registry that says which values are legal.
    pub registry: Option<String>,
}
