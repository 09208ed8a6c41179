//! A manifest: the servers that a rack is to have, as TOML.
//!
//! ```toml
//! [[server]]
//! name = "r1-u07"
//! driver = "redfish"
//! resource_class = "bm.small"
//! ports = ["52:54:00:77:00:01"]
//! driver_info = { redfish_address = "https://10.9.0.7", redfish_username = "root" }
//! ```

use anyhow::{Context as _, bail};
use corten_model::mac::Mac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    #[serde(default)]
    pub server: Vec<Server>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub name: String,
    #[serde(default = "redfish")]
    pub driver: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conductor_group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_interface: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect_interface: Option<String>,
    /// MAC addresses, that of the card it boots on first.
    #[serde(default)]
    pub ports: Vec<String>,
    #[serde(default)]
    pub driver_info: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

fn redfish() -> String {
    "redfish".to_owned()
}

impl Manifest {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the manifest {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the manifest {} is not right", path.display()))
    }

    /// Refuses two servers of one name or with one card, before any of them is enrolled.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut manifest: Self = toml::from_str(text)?;
        let (mut names, mut cards) = (BTreeSet::new(), BTreeSet::new());
        for server in &mut manifest.server {
            if !names.insert(server.name.clone()) {
                bail!("two servers have the name {}", server.name);
            }
            for port in &mut server.ports {
                let mac: Mac = port.replace('-', ":").parse()?;
                *port = mac.to_string();
                if !cards.insert(mac) {
                    bail!(
                        "the card {mac} is listed twice; the second time of {}",
                        server.name
                    );
                }
            }
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::Manifest;

    #[test]
    fn a_manifest_is_read_and_what_is_listed_twice_is_refused() {
        let one = "[[server]]\nname = \"a\"\nports = [\"52-54-00-77-00-0A\"]\n";
        let manifest = Manifest::parse(one).unwrap();
        assert_eq!(manifest.server[0].driver, "redfish");
        assert_eq!(manifest.server[0].ports, ["52:54:00:77:00:0a"]);
        let named = Manifest::parse(&format!("{one}{one}")).unwrap_err();
        assert!(named.to_string().contains("the name a"), "{named}");
        let card = Manifest::parse(&format!("{one}{}", one.replace("\"a\"", "\"b\""))).unwrap_err();
        assert!(
            card.to_string()
                .contains("52:54:00:77:00:0a is listed twice"),
            "{card}"
        );
        assert!(Manifest::parse("[[server]]\nname = \"a\"\nbmc = 1\n").is_err());
        assert!(Manifest::parse("[[server]]\nname = \"a\"\nports = [\"eth0\"]\n").is_err());
    }
}
