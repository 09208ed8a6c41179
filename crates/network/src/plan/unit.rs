//! The smallest thing that is applied as a whole.

use corten_model::ids::{AddressGroupId, NetworkId, RouterId, SecurityGroupId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Names one plan. Written as `network/ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Unit {
    Network(NetworkId),
    Router(RouterId),
    SecurityGroup(SecurityGroupId),
    AddressGroup(AddressGroupId),
}

/// A text that names no unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a unit: it is written network/ID, router/ID, security-group/ID or address-group/ID"
)]
pub struct InvalidUnit(String);

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(id) => write!(f, "network/{id}"),
            Self::Router(id) => write!(f, "router/{id}"),
            Self::SecurityGroup(id) => write!(f, "security-group/{id}"),
            Self::AddressGroup(id) => write!(f, "address-group/{id}"),
        }
    }
}

impl FromStr for Unit {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let parsed = text.split_once('/').and_then(|(kind, id)| match kind {
            "network" => id.parse().ok().map(Self::Network),
            "router" => id.parse().ok().map(Self::Router),
            "security-group" => id.parse().ok().map(Self::SecurityGroup),
            "address-group" => id.parse().ok().map(Self::AddressGroup),
            _ => None,
        });
        parsed.ok_or_else(|| InvalidUnit(text.chars().take(80).collect()))
    }
}

impl From<Unit> for String {
    fn from(unit: Unit) -> Self {
        unit.to_string()
    }
}

impl TryFrom<String> for Unit {
    type Error = InvalidUnit;

    fn try_from(text: String) -> Result<Self, InvalidUnit> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read_back_from_its_text() {
        for unit in [
            Unit::Network(NetworkId::random()),
            Unit::Router(RouterId::random()),
            Unit::SecurityGroup(SecurityGroupId::random()),
            Unit::AddressGroup(AddressGroupId::random()),
        ] {
            assert_eq!(unit.to_string().parse::<Unit>().unwrap(), unit);
        }
        assert!("network/".parse::<Unit>().is_err());
        assert!(
            format!("port/{}", NetworkId::random())
                .parse::<Unit>()
                .is_err()
        );
    }
}
