//! The config drive of an instance on metal: what a request gave, packed as the ramdisk writes it to the disk.

use crate::context::Context;
use crate::metal::machine;
use crate::metal::provision::CONFIG_DRIVE;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_engine::StepError;
use corten_model::refusal::Refusal;
use corten_netboot::data_disc;
use corten_store::metal::node::Node;
use serde_json::{Map, Value};
use std::io::Write as _;

/// As cloud-init looks for it.
const LABEL: &str = "config-2";
/// Where cloud-init finds the newest version of each file.
const FOLDER: &str = "openstack/latest";

/// The parts that a described config drive may have, and the files they become.
const PARTS: [(&str, &str); 4] = [
    ("meta_data", "meta_data.json"),
    ("network_data", "network_data.json"),
    ("vendor_data", "vendor_data.json"),
    ("user_data", "user_data"),
];

/// Refuses what cannot become a config drive: a description with other parts, or a URL.
pub fn check(wish: &Value) -> Result<(), Refusal> {
    match wish {
        Value::Object(parts) => {
            let known = |part: &&String| PARTS.iter().any(|(name, _)| name == part);
            match parts.keys().find(|part| !known(part)) {
                Some(other) => Err(Refusal::invalid(format!(
                    "The configdrive has the part '{other}': it may have meta_data, network_data, vendor_data and user_data."
                ))),
                None => Ok(()),
            }
        }
        Value::String(text) if text.starts_with("http://") || text.starts_with("https://") => {
            Err(Refusal::invalid(
                "The configdrive is a URL, which is not fetched: give the gzipped ISO in base64, or an object with meta_data, \
                 network_data, vendor_data and user_data.",
            ))
        }
        Value::String(text) if STANDARD.decode(text.trim()).is_err() => Err(Refusal::invalid(
            "The configdrive is not base64: give a gzipped ISO in base64, or an object.",
        )),
        Value::String(_) => Ok(()),
        _ => Err(Refusal::invalid(
            "The configdrive is neither text nor an object.",
        )),
    }
}

/// A node's config drive, an ISO image, gzipped, in base64; `None` if its instance has none.
pub async fn of_node(cx: &Context, node: &Node) -> Result<Option<String>, StepError> {
    let wish = machine::secret(cx, node, CONFIG_DRIVE)
        .map_err(|refusal| StepError::Fail(refusal.message))?;
    match wish {
        Some(wish) => Ok(Some(packed(&wish).await?)),
        None => Ok(None),
    }
}

/// What is packed already stays as it is; a described one becomes a disc.
async fn packed(wish: &str) -> Result<String, StepError> {
    let Ok(Value::Object(parts)) = serde_json::from_str(wish) else {
        return Ok(wish.to_owned());
    };
    let files = files(&parts).map(|(file, content)| (format!("{FOLDER}/{file}"), content));
    pack(files.collect()).await
}

/// A config drive with these files, by path: an ISO image, gzipped, in base64.
pub async fn pack(files: Vec<(String, Vec<u8>)>) -> Result<String, StepError> {
    let files = files
        .iter()
        .map(|(path, content)| (path.as_str(), content.clone()));
    let failed = |error: &dyn std::error::Error| {
        StepError::Fail(format!("The config drive cannot be packed: {error}"))
    };
    let disc = data_disc(LABEL, files)
        .await
        .map_err(|error| failed(&error))?;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&disc).map_err(|error| failed(&error))?;
    let zipped = encoder.finish().map_err(|error| failed(&error))?;
    Ok(STANDARD.encode(zipped))
}

/// Each part as a file; user data that is a text is written as it is.
fn files(parts: &Map<String, Value>) -> impl Iterator<Item = (&'static str, Vec<u8>)> + '_ {
    PARTS.iter().filter_map(|(part, file)| {
        let content = match parts.get(*part)? {
            Value::Null => return None,
            Value::String(text) => text.clone().into_bytes(),
            other => other.to_string().into_bytes(),
        };
        Some((*file, content))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Read as _;

    #[tokio::test]
    async fn what_is_packed_stays_and_a_description_becomes_a_disc() {
        let given = STANDARD.encode(b"an iso");
        assert_eq!(packed(&given).await.unwrap(), given);
        let described = json!({"meta_data": {"uuid": "u-1"}, "user_data": "#!/bin/sh\n"});
        let zipped = STANDARD
            .decode(packed(&described.to_string()).await.unwrap())
            .unwrap();
        let mut disc = Vec::new();
        flate2::read::GzDecoder::new(zipped.as_slice())
            .read_to_end(&mut disc)
            .unwrap();
        let holds = |text: &[u8]| disc.windows(text.len()).any(|window| window == text);
        assert!(disc[16 * 2048..].starts_with(b"\x01CD001"));
        assert!(holds(b"config-2 ") && holds(br#"{"uuid":"u-1"}"#) && holds(b"#!/bin/sh\n"));
        assert!(holds(b"meta_data.json") && !holds(b"vendor_data.json"));
    }

    #[test]
    fn what_cannot_become_a_config_drive_is_refused() {
        for good in [
            json!("YWJj"),
            json!({"meta_data": {}, "network_data": null}),
        ] {
            check(&good).unwrap();
        }
        for bad in [
            json!("http://x/y"),
            json!("not base64!"),
            json!({"files": {}}),
            json!(7),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
    }
}
