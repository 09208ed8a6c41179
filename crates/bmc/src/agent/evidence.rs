//! What proves a wipe by the stock agent.
//!
//! Its `erase_devices` answers with an empty result for each disk, and gives the same for a disk that it *left out*: a member
//! of a software array, or one whose file system has the label of Ironic's virtual floppy. Tenants make such disks. What it
//! left out it says in its log alone, so the log is read too. Three things must hold:
//!
//! 1. every disk of the inventory, read after the wipe, is in the result;
//! 2. the log holds the end of this very step, so it is the right one and complete up to there;
//! 3. the log tells of no disk that was left out.

use crate::inside::Wiped;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read as _;

/// A log that is longer tells nothing.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// How the agent begins to say that it left out a disk, whatever the reason.
const LEFT_OUT: &str = "Skipping erase of";
/// How it says that a step came to its end; the step follows with all that it was given.
const ENDED: &str = "Clean step completed";

/// The disks that were erased, or why that is not proved.
pub fn wiped(
    result: &Value,
    inventory: &Value,
    logs: &Value,
    mark: &str,
    method: &str,
) -> Result<Vec<Wiped>, String> {
    let erased = result
        .as_object()
        .ok_or("the agent does not say which disks it erased")?;
    let disks = inventory["disks"]
        .as_array()
        .ok_or("its inventory names no disks")?;
    let names: Vec<&str> = disks
        .iter()
        .filter_map(|disk| disk["name"].as_str())
        .collect();
    if names.is_empty() {
        return Err("it finds no disk on the server".to_owned());
    }
    if let Some(other) = names.iter().find(|name| !erased.contains_key(**name)) {
        return Err(format!("the disk {other} is not erased"));
    }
    if let Some(gone) = erased.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("the disk {gone} is gone since it was erased"));
    }
    check_log(&unpacked(logs)?, mark)?;
    disks.iter().map(|disk| record(disk, method)).collect()
}

fn record(disk: &Value, method: &str) -> Result<Wiped, String> {
    let text = |key: &str| disk[key].as_str().filter(|text| !text.is_empty());
    let serial = text("serial").or(text("wwn")).or(text("name"));
    let size = disk["size"].as_u64();
    let (Some(serial), Some(size_bytes)) = (serial, size) else {
        return Err(format!(
            "what its inventory says of a disk is not understood: {disk}"
        ));
    };
    Ok(Wiped {
        serial: serial.to_owned(),
        size_bytes,
        method: method.to_owned(),
        removable: false,
    })
}

/// The files of a log, one after the other, as `log.collect_system_logs` packs them.
fn unpacked(logs: &Value) -> Result<String, String> {
    let packed = logs["system_logs"]
        .as_str()
        .ok_or("the agent gives no log, which alone tells whether it left out a disk")?;
    let packed = STANDARD
        .decode(packed)
        .map_err(|error| format!("its log is not base64: {error}"))?;
    let mut bytes = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(LOG_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("its log is not gzip: {error}"))?;
    if bytes.len() as u64 == LOG_BYTES_MAX {
        return Err("its log is too long to be read".to_owned());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn check_log(log: &str, mark: &str) -> Result<(), String> {
    // Quoted, as Python shows a text: the mark of another piece of the same work may begin alike.
    let mark = format!("'{mark}'");
    if !log
        .lines()
        .any(|line| line.contains(ENDED) && line.contains(&mark))
    {
        return Err(
            "its log does not tell the end of the wipe, so it does not tell either whether a disk was left out".to_owned(),
        );
    }
    match log.find(LEFT_OUT) {
        Some(at) => {
            let line = log[at..].lines().next().unwrap_or_default();
            let line: String = line.escape_debug().take(200).collect();
            Err(format!("it left out a disk: {line}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;
    use std::io::Write as _;

    const MARK: &str = "5f3c/erase";

    fn logs(text: &str) -> Value {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        json!({"system_logs": STANDARD.encode(packed.finish().unwrap())})
    }

    fn inventory() -> Value {
        json!({"disks": [
            {"name": "/dev/vda", "serial": "root-1", "size": 5_u64 << 30},
            {"name": "/dev/vdb", "serial": null, "wwn": "0x5000", "size": 7},
        ]})
    }

    fn ended() -> String {
        format!(
            "INFO Clean step completed: {{'step': 'erase_devices', 'mark': '{MARK}'}}, result: {{}}\n"
        )
    }

    fn judge(result: &Value, logs: &Value) -> Result<Vec<Wiped>, String> {
        wiped(result, &inventory(), logs, MARK, "as it does")
    }

    #[test]
    fn every_disk_of_the_inventory_is_on_record() {
        let both = json!({"/dev/vda": null, "/dev/vdb": null});
        let record = judge(&both, &logs(&ended())).unwrap();
        let serials: Vec<_> = record.iter().map(|disk| disk.serial.as_str()).collect();
        assert_eq!(serials, ["root-1", "0x5000"]);
        assert_eq!(record[0].size_bytes, 5_u64 << 30);
        assert_eq!(record[0].method, "as it does");
    }

    #[test]
    fn what_is_not_proved_is_no_wipe() {
        let both = json!({"/dev/vda": null, "/dev/vdb": null});
        let refused = |result: &Value, logs: &Value| judge(result, logs).unwrap_err();
        let one = refused(&json!({"/dev/vda": null}), &logs(&ended()));
        assert!(one.contains("/dev/vdb is not erased"), "{one}");
        let three = json!({"/dev/vda": null, "/dev/vdb": null, "/dev/vdc": null});
        let gone = refused(&three, &logs(&ended()));
        assert!(gone.contains("/dev/vdc is gone"), "{gone}");
        for result in [json!(null), json!({}), json!([])] {
            refused(&result, &logs(&ended()));
        }
        let nothing = wiped(&json!({}), &json!({"disks": []}), &logs(&ended()), MARK, "");
        assert!(nothing.unwrap_err().contains("no disk"));

        let skipped = format!(
            "INFO Skipping erase of RAID member device /dev/vdb\n{}",
            ended()
        );
        let left = refused(&both, &logs(&skipped));
        assert!(left.contains("RAID member device /dev/vdb"), "{left}");
        for mark in ["another", "5f3c/erase/arrays"] {
            let other = refused(&both, &logs(&ended().replace(MARK, mark)));
            assert!(other.contains("does not tell the end"), "{other}");
        }
        for broken in [
            json!({}),
            json!({"system_logs": "?"}),
            json!({"system_logs": "AAAA"}),
        ] {
            assert!(refused(&both, &broken).contains("log"));
        }
    }
}
