//! What a BMC that was found tells of its servers, whatever it speaks.

use super::manifest::Server;
use corten_bmc::Identity;
use serde_json::{Map, Value};

/// The servers of one BMC, each with what it is for people. `Err(None)`: nobody is there who speaks its language.
pub type Told = Result<Vec<(Server, String)>, Option<anyhow::Error>>;

/// By its serial number, or another name where it tells none.
pub fn name_of(identity: &Identity, other: &str) -> String {
    let serial = identity
        .serial_number
        .as_deref()
        .or(identity.uuid.as_deref());
    let named = serial.filter(|serial| !serial.trim().is_empty());
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = named.unwrap_or(other).chars().map(plain).collect();
    format!("bm-{name}")
}

pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
